"""What the project claims, measured: `python -m bench` prints the reach table of the README."""
