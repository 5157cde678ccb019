"""What a client can ask, one request a file: parameters in, plain answer out, everything between in `Suggester`."""
