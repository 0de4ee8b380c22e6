"""Lists of pictures to add: TSV, CSV, JSONL and Parquet from a file, a stream or a program, read line by line."""

from clipgres.lists.opening import FORMATS, OpenedList, open_list, open_rows, open_stream
from clipgres.lists.plain import ENCODINGS, UTF_8
from clipgres.lists.report import Report, report
from clipgres.lists.rows import Entry, ListRow, RefusedLine, excerpt

__all__ = [
    "ENCODINGS",
    "FORMATS",
    "UTF_8",
    "Entry",
    "ListRow",
    "OpenedList",
    "RefusedLine",
    "Report",
    "excerpt",
    "open_list",
    "open_rows",
    "open_stream",
    "report",
]
