"""Configuration of the label printer; edited on Windows, so lines end in CRLF."""

import os

HOST = os.environ.get("PRINTER_HOST", "localhost")
PORT = int(os.environ.get("PRINTER_PORT", "9100"))
TIMEOUT = 30

LABELS = {
    "small": (30, 20),
    "large": (100, 60),



def address():
    return f"{HOST}:{PORT}"
