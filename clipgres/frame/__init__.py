"""Search a pandas DataFrame, for people who have no database."""

from clipgres.frame.neighbours import embed, nearest

__all__ = ["embed", "nearest"]
