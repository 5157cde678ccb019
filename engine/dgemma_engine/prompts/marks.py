"""Marks around a part of a prompt: plain text, since control tokens are the template's alone."""

from __future__ import annotations


def marks(name: str, *texts: str) -> tuple[str, str]:
    """An opening and a closing mark that stand in none of the texts: `<name>`, or with a number if need be."""
    own, number = name, 1
    while any(f"<{own}>" in text or f"</{own}>" in text for text in texts):
        number += 1
        own = f"{name}-{number}"
    return f"<{own}>", f"</{own}>"
