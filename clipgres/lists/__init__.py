"""Lists of pictures to add: TSV, CSV, JSONL and Parquet from a file, a stream or a program, read line by line."""

from clipgres.lists.opening import FORMATS, OpenedList, open_list, open_rows, open_stream
from clipgres.lists.rows import Entry, ListRow, RefusedLine, excerpt

__all__ = [
    "FORMATS",
    "Entry",
    "ListRow",
    "OpenedList",
    "RefusedLine",
    "excerpt",
    "open_list",
    "open_rows",
    "open_stream",
]
