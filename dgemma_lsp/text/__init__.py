"""Pure text: positions, windows, holes and changes. No IO and nothing of the protocol."""
