"""Duplicates as data: pictures that lead to the same URL, are the same file, or look the same, each kind in groups.

What a person decides on two pictures is remembered for their URLs. A search can show one of a group.
"""

from clipgres.duplicates.decisions import decide
from clipgres.duplicates.finding import Counts, find_duplicates, has_changed
from clipgres.duplicates.listing import Group, list_groups
from clipgres.duplicates.looking import Rule

__all__ = ["Counts", "Group", "Rule", "decide", "find_duplicates", "has_changed", "list_groups"]
