"""`make demo`: the whole system on the bundled gallery, searched for you, then served until Ctrl-C."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import click

from clipgres.cli import main as clipgres
from clipgres.cli.tools import Tools
from clipgres.errors import ClipgresError
from clipgres.servers.stack import Stack, run_stack
from clipgres.settings import Settings, load_settings
from demo.site import GallerySite, gallery_site

SEARCHES = (
    ("search", "a dog", "-k", "4"),
    ("search", "pizza on a blue background", "-k", "4"),
    ("search", "guitar beside a cat", "-k", "4"),
)


@click.command()
@click.option("--port", default=8000, show_default=True, help="Port of the page.")
@click.option("--site-port", default=8799, show_default=True, help="Port on which the gallery plays the web.")
def demo(port: int, site_port: int) -> None:
    """Import a gallery of a thousand pictures, dead links included, search it, and serve the page.

    Without a terminal it stops by itself after the searches.
    """
    settings = demo_settings()
    try:
        with gallery_site(site_port) as site:
            stays = sys.stdin.isatty()
            sys.exit(run_stack(settings, port, on_ready=lambda stack: tour(stack, site, stays=stays), stay=stays))
    except ClipgresError as error:
        click.echo(f"demo: {error}", err=True)
        sys.exit(1)


def demo_settings() -> Settings:
    """The settings of the demo: a home of its own, the bundled model, and loopback allowed, where the gallery is."""
    home = Path("/var/lib/clipgres-demo") if os.geteuid() == 0 else Path(".demo").resolve()
    given = os.environ.get("CLIPGRES_HOME")
    return load_settings(
        home=Path(given) if given else home,
        model="tiny-clip",
        fetch_allow="127.0.0.0/8",
        fetch_per_host=16,
        retry_base_s=1,
    )


def tour(stack: Stack, site: GallerySite, *, stays: bool) -> None:
    """Import the gallery and search it with the very commands that a person would type."""
    path = stack.settings.home / "demo.tsv"
    kinds = site.write_list(path)
    alive, listed = kinds["alive"], sum(kinds.values())
    click.echo(
        f"\nThe gallery's list has {listed:,} lines; {listed - alive:,} of its links are dead, as in real lists."
    )
    tools = Tools(stack.settings)
    for command in (("add", str(path), "--wait"), *SEARCHES, ("status",)):
        click.echo(f"\n$ clipgres {shlex.join(command)}")
        clipgres.main(command, obj=tools, standalone_mode=False)
    like = (
        'Try a picture of your own, "more like this", or a text of your own.'
        if stays
        else "Run it in a terminal to keep it."
    )
    click.echo(f"\nThe page is at {stack.url}. {like}")
    if stays:
        home = shlex.quote(str(stack.settings.home))
        click.echo(f"In another terminal: CLIPGRES_HOME={home} {shlex.quote(sys.prefix)}/bin/clipgres search a cat")
        click.echo(
            "tiny-clip knows drawn scenes only, no photographs: see demo/tiny-clip/README.md. Ctrl-C stops everything."
        )


if __name__ == "__main__":
    demo()
