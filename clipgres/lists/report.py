"""Refused lines as a file to mend a list by: TSV with the line's number, the reason, and how the line begins."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from clipgres.errors import BadRequest
from clipgres.lists.rows import RefusedLine
from clipgres.plain_text import printable

HEADER = "line\treason\tbegins_with\n"
# What makes a spreadsheet take a cell for a formula, and the quote that it strips from before one; a list of strangers
# may begin with anything.
FORMULA_SIGNS = ("=", "+", "-", "@", '"')


def report(lines: Iterable[RefusedLine]) -> str:
    """The whole report of these lines."""
    return HEADER + "".join(map(_row, lines))


def _row(line: RefusedLine) -> str:
    guard = "'" if line.excerpt.startswith(FORMULA_SIGNS) else ""
    return f"{line.line}\t{printable(line.reason)}\t{guard}{printable(line.excerpt)}\n"


class Report:
    """A report that is written while a list is read: a line stands in the file as soon as it was added."""

    def __init__(self, path: Path) -> None:
        """Open the file, which is left as it is until `begin`.

        Raises:
            BadRequest: it cannot be written.
        """
        self.path = path
        if path.exists() and not path.is_file():
            raise BadRequest(f"{path} cannot be written: it is no file, and could not be taken up again", "refused")
        try:
            self._file = path.open("ab", buffering=0)
        except OSError as error:
            raise BadRequest(f"{path} cannot be written: {error.strerror or error}", "refused") from error

    def begin(self, after: int = 0) -> None:
        """Keep what an earlier run wrote about the lines up to `after`, which are not read again, and nothing else."""
        kept = self._length_up_to(after) if after else 0
        self._file.truncate(kept)
        if not kept:
            self._file.write(HEADER.encode())

    def add(self, line: RefusedLine) -> None:
        """Write one line."""
        self._file.write(_row(line).encode())

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _length_up_to(self, after: int) -> int:
        length = 0
        with self.path.open("rb") as written:
            for row in written:
                number = row.split(b"\t")[0]
                is_kept = row.endswith(b"\n") and (number.isdigit() and int(number) <= after if length else True)
                if not is_kept or (not length and row != HEADER.encode()):
                    break
                length += len(row)
        return length
