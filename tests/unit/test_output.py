"""What is printed: strangers' text cannot move the cursor."""

from __future__ import annotations

from io import StringIO

from rich.console import Console

from clipgres.cli import output


def test_text_of_strangers_is_shown_as_it_is() -> None:
    console = Console(width=80, record=True, file=StringIO())
    console.print(output.table(["caption"], [["\x1b[2J[red]cat[/red]"]]))
    text = console.export_text()
    assert "\x1b" not in text
    assert "[red]cat[/red]" in text
