"""Text of strangers, made fit to be shown."""

from __future__ import annotations


def printable(text: str) -> str:
    """The text, with every character replaced that could move a cursor or end a line."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)
