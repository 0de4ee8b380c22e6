"""`python -m bench NAME [OPTIONS]` runs one benchmark; without a name, each with its defaults."""

from __future__ import annotations

import pkgutil
import sys
from importlib import import_module

import click

import bench


def benchmarks() -> dict[str, click.Command]:
    """The benchmarks by name: every module here that has a command `main`."""
    found = {}
    for module in pkgutil.iter_modules(bench.__path__):
        if module.name != "__main__":
            main = getattr(import_module(f"bench.{module.name}"), "main", None)
            if isinstance(main, click.Command):
                found[module.name] = main
    return found


def run(arguments: list[str]) -> None:
    """Run the benchmark that is named first, with the options that follow."""
    commands = benchmarks()
    if not arguments:
        for name, command in commands.items():
            click.echo(f"\n{name}: {command.get_short_help_str(120)}", err=True)
            command.main([], prog_name=f"python -m bench {name}", standalone_mode=False)
        return
    click.Group("bench", commands, help=__doc__).main(arguments, prog_name="python -m bench")


run(sys.argv[1:])
