"""`clipgres doctor`: what stands and what does not."""

from __future__ import annotations

import sys
from dataclasses import asdict

import click

from clipgres.cli.output import print_json, stdout, table
from clipgres.cli.tools import Tools
from clipgres.doctor import Health, examine

MARKS = {Health.WELL: "ok", Health.UNUSUAL: "note", Health.BROKEN: "BROKEN"}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def doctor(tools: Tools, as_json: bool) -> None:
    """Look at everything, and say what mends it.

    The database and its indexes, the queue, workers, models and disk. The exit code is 1 when something is broken.
    """
    findings = list(examine(tools.settings, tools.engine, tools.redis, tools.encoders))
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        rows = [(MARKS[found.health], found.subject, found.detail, found.advice) for found in findings]
        stdout().print(table(["", "what", "how it stands", "what to do"], rows))
    sys.exit(any(found.health == Health.BROKEN for found in findings))
