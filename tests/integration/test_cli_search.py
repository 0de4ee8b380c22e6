"""`clipgres search` and `clipgres searches` on a real database, with the fake encoder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from PIL import Image
from sqlalchemy import Engine

from clipgres.cli import main
from clipgres.cli.tools import Tools
from clipgres.hits_plot import CELL_INCHES
from clipgres.settings import Settings
from tests.decoding import shared_decoders
from tests.fakes import FakeEncoder
from tests.seed import FixedEncoders, seed_collection, seed_picture
from tests.web import picture, png

COLOURS = ("red", "green", "blue", "white", "black")


class Terminal:
    """Types commands; their models are the fake encoder."""

    def __init__(self, settings: Settings, encoder: FakeEncoder) -> None:
        self._settings, self._encoder = settings, encoder

    def run(self, *arguments: str) -> Result:
        """Run one command to its end."""
        tools = Tools(self._settings)
        tools.encoders = FixedEncoders(self._encoder)
        tools.decoders = shared_decoders()
        return CliRunner().invoke(main, list(arguments), obj=tools, terminal_width=200)

    def out(self, *arguments: str) -> str:
        """Run one that must succeed, and return what it printed as its result."""
        done = self.run(*arguments)
        assert done.exit_code == 0, done.output
        return done.stdout

    def keys(self, *arguments: str) -> list[str]:
        """The keys that a search finds."""
        return [hit["key"] for hit in json.loads(self.out("search", *arguments, "--json"))["hits"]]


@pytest.fixture
def terminal(settings: Settings, engine: Engine) -> Terminal:
    """A terminal before five pictures in plain colours, one in a namespace of its own."""
    encoder = FakeEncoder()
    collection = seed_collection(engine, encoder)
    for place, colour in enumerate(COLOURS):
        url, metadata = f"https://a.example/{colour}.png", {"place": place}
        seed_picture(
            engine, collection, encoder, picture(colour), url=url, captions=[colour], key=colour, metadata=metadata
        )
    return Terminal(settings, encoder)


def test_a_text_is_answered_as_a_table_with_its_plan(terminal: Terminal) -> None:
    done = terminal.run("search", "green", "-k", "2")
    assert done.stdout.splitlines()[0].split() == ["match", "caption", "key", "url"]
    assert done.stdout.splitlines()[1].split()[2:] == ["green", "green", "https://a.example/green.png"]
    assert "Exact search over 5 pictures" in done.stderr


def test_a_mixed_query_goes_through(terminal: Terminal, tmp_path: Path) -> None:
    file = tmp_path / "blue.png"
    file.write_bytes(png("blue"))
    found = terminal.keys("white", "--image", str(file), "--not", "red", "--unlike", "black", "--weights", "image=3")
    assert found[0] == "blue" and "black" not in found


def test_keywords_and_criterion_go_through(terminal: Terminal) -> None:
    answer = json.loads(terminal.out("search", "green", "--criterion", "both", "--keywords", "red", "--json"))
    assert (answer["plan"]["criterion"], "keywords" in answer["plan"]["fused"]) == ("both", True)
    assert "Ranked by pictures and keywords" in terminal.run("search", "green", "--keywords", "red").stderr


def test_a_namespace_is_searched_alone(terminal: Terminal) -> None:
    assert terminal.keys("green", "--namespace", "elsewhere") == []


def test_the_next_page_is_one_command_away(terminal: Terminal) -> None:
    first = terminal.run("search", "green", "-k", "2")
    command = first.stderr.splitlines()[-1].removeprefix("Next page: clipgres ").split()
    second = terminal.keys(*command[1:])
    assert len(second) == 2 and not set(second) & {line.split()[3] for line in first.stdout.splitlines()[1:]}
    assert "Next page" not in terminal.run("search", "green").stderr


def test_a_grid_begins_with_the_query(terminal: Terminal, tmp_path: Path) -> None:
    terminal.out("search", "green", "-k", "2", "--plot", str(tmp_path / "two.png"))
    with Image.open(tmp_path / "two.png") as grid:
        assert grid.width > 2.5 * CELL_INCHES * 100  # three cells


def test_how_far_hits_stand_out_has_a_column(terminal: Terminal, engine: Engine) -> None:
    encoder = FakeEncoder()
    collection = seed_collection(engine, encoder)
    for hue in range(0, 360, 6):
        shade = picture(f"hsl({hue}, 100%, 50%)")
        seed_picture(engine, collection, encoder, shade, url=f"https://a.example/{hue}.png", key=str(hue))
    shown = terminal.out("search", "red", "--min-percentile", "80%")
    assert "stands above" in shown.splitlines()[0] and " 9" in shown.splitlines()[1]
    assert "below the threshold hidden" in terminal.run("search", "red", "--min-percentile", "80").stderr


def test_a_search_is_saved_asked_again_and_deleted(terminal: Terminal) -> None:
    where = '{"place": {"$lt": 3}}'
    done = terminal.run("search", "green", "--where", where, "--not", "blue", "-k", "2", "--save", "greens")
    assert "`clipgres search --saved greens` asks it again" in done.stderr
    assert terminal.keys("--saved", "greens")[0] == "green"
    assert len(terminal.keys("--saved", "greens")) == 2
    assert terminal.keys("red", "--saved", "greens", "-k", "1") == ["red"]
    kept: dict[str, Any] = {"text": "green", "not_text": "blue", "filter": {"place": {"$lt": 3}}, "top_k": 2}
    assert json.loads(terminal.out("searches", "show", "greens")) == kept
    assert "greens" in terminal.out("searches", "list")
    assert json.loads(terminal.out("searches", "list", "--json"))[0]["request"] == kept
    taken = terminal.run("search", "red", "--save", "greens")
    assert (taken.exit_code, "already" in taken.stderr) == (1, True)
    terminal.out("search", "red", "--save", "greens", "--replace")
    assert terminal.out("searches", "delete", "greens") == "Deleted greens.\n"
    assert "Nothing is saved" in terminal.out("searches", "list")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["search", "--not", "a dog"], 2, "say what to search for"),
        (["search", "x", "-k", "10001"], 2, "10001 is not in the range"),
        (["search", "x", "--min-percentile", "101%"], 2, "not a share of the collection"),
        (["search", "x", "--min-percentile", "nan"], 2, "not a share of the collection"),
        (["search", "x", "--min-score", "many"], 2, "not a similarity"),
        (["search", "x", "--criterion", "smell"], 2, "is not one of"),
        (["search", "x", "--weights", "text"], 1, "weights: write them as text=2,like=0.5"),
        (["search", "x", "--weights", "texts=2"], 1, "did you mean text?"),
        (["search", "x", "--where", "{"], 1, "--where is not JSON"),
        (["search", "--image", "\0"], 1, "--image"),
        (["search", "--unlike", "red", "--like", "nothing"], 1, 'no item "nothing"'),
        (["search", "--saved", "nothing"], 1, 'no saved search "nothing"'),
        (["search", "x", "--save", "No Name"], 1, "saved search's name"),
        (["search", "--cursor", "nonsense"], 1, "search again"),
        (["searches", "show", "nothing"], 1, "no saved search"),
        (["searches", "delete", "nothing"], 1, "no saved search"),
    ],
)
def test_what_is_wrong_is_one_line(terminal: Terminal, arguments: list[str], code: int, said: str) -> None:
    done = terminal.run(*arguments)
    assert (done.exit_code, done.stdout) == (code, "")
    assert said in done.stderr
    assert code == 2 or done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", [["search"], ["searches"], ["searches", "list"], ["searches", "show"]])
def test_help_teaches(terminal: Terminal, command: list[str]) -> None:
    assert "\n  clipgres search" in terminal.out(*command, "--help")
