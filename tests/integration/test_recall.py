"""Recall on one's own data: what is measured, with which queries and filters, kept, shown and refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from sqlalchemy import Engine, text

from clipgres.cli import main
from clipgres.cli.tools import Tools
from clipgres.collections import Collection
from clipgres.database import transaction
from clipgres.errors import BadRequest, NotFound
from clipgres.filters import Condition
from clipgres.recall.measuring import Measure, measure
from clipgres.recall.queries import Kind, Query, gather
from clipgres.recall.searches import Neighbours, Searches, recall_of
from clipgres.recall.statements import EXACT_SETTINGS_SQL, EXACT_SQL, INDEX_SETTINGS_SQL, INDEX_SQL
from clipgres.settings import Settings
from tests.vectors import Array, build_index, fill, make_collection, nearest, put, small_space

ROWS, DIMENSION = 2_000, 32
CAPTIONS_SQL = (
    "INSERT INTO {captions} (caption_id, image_id, embedding) SELECT id, image_id, embedding FROM {items} LIMIT 40"
)
SEARCH_SQL = text("INSERT INTO clipgres.query_embedding (model, text, embedding) VALUES (:model, :text, :vector)")


def directions(count: int, seed: int = 0) -> Array:
    """Unit vectors in no clusters: hard for an index."""
    vectors = np.random.default_rng(seed).normal(size=(count, DIMENSION))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16).astype(np.float32)


@pytest.fixture
def collection(engine: Engine) -> Collection:
    """A collection of 2,000 rows on ten hosts, with an index and 40 captions; 30 texts were searched before."""
    collection = make_collection(engine, DIMENSION)
    fill(engine, collection, directions(ROWS), with_images=True)
    build_index(engine, collection)
    with transaction(engine) as connection:
        connection.execute(text(CAPTIONS_SQL.format(captions=collection.caption_table, items=collection.item_table)))
        space = small_space()
        for n, vector in enumerate(directions(30, seed=1)):
            model = f"{space.model}@{space.revision}"
            connection.execute(SEARCH_SQL, {"model": model, "text": f"text {n}", "vector": str(vector.tolist())})
        others = {"model": "another@" + "0" * 40, "text": "text", "vector": str([1.0] * DIMENSION)}
        connection.execute(SEARCH_SQL, others)
    return collection


@pytest.fixture
def bare(engine: Engine) -> Collection:
    """A collection of 100 rows without images or an index."""
    collection = make_collection(engine, DIMENSION)
    fill(engine, collection, directions(100))
    return collection


def run(settings: Settings, *arguments: str) -> Result:
    """Type `clipgres recall` and so on."""
    return CliRunner().invoke(main, ["recall", *arguments], obj=Tools(settings), terminal_width=200)


def test_recall_grows_with_ef_search_to_all_there_is(
    engine: Engine, settings: Settings, collection: Collection
) -> None:
    report = measure(engine, collection, Measure(queries=60, ef_search=(10, 1_000)), settings)
    low, high = report.by_ef_search
    texts = low.kinds["searches"]
    assert 0.3 < texts.recall < 0.98 and texts.worst < texts.recall and texts.perfect < 1
    assert low.overall.recall < 0.995 < high.overall.recall and high.overall.perfect > 0.9
    assert 0 < low.overall.p50_ms < high.overall.p50_ms
    assert (report.items, report.k, report.namespace) == (ROWS, 10, "")


def test_queries_are_of_three_kinds(engine: Engine, settings: Settings, collection: Collection) -> None:
    report = measure(engine, collection, Measure(queries=40, ef_search=(40,)), settings)
    [line] = report.by_ef_search
    assert {kind: score.queries for kind, score in line.kinds.items()} == {"items": 40, "captions": 40, "searches": 30}
    assert line.overall.queries == report.as_searched.overall.queries == 110


def test_the_truth_is_that_of_plain_arithmetic(engine: Engine, settings: Settings, collection: Collection) -> None:
    vectors, query = directions(ROWS), directions(1, seed=2)[0]
    searches = Searches(engine, collection, 5, "", settings)
    keys = nearest(vectors, query, 5)
    expected = [1 - float(vectors[int(key)] @ query) for key in keys]
    assert searches.exact(Query(Kind.SEARCHES, query)).distances == pytest.approx(expected, abs=1e-3)


def test_an_item_does_not_find_itself(engine: Engine, settings: Settings, collection: Collection) -> None:
    with transaction(engine) as connection:
        items = [query for query in gather(connection, collection, 5).queries if query.kind is Kind.ITEMS]
    searches = Searches(engine, collection, 3, "", settings)
    for query in items:
        truth = searches.exact(query)
        assert len(truth.distances) == 3 and truth.distances[0] > 0.01
        assert (
            searches.by_index(query, truth, 1_000).recall == searches.as_product(query, Condition(), truth).recall == 1
        )


@pytest.mark.parametrize(
    ("found", "truth", "recall"),
    [
        ([0.1, 0.2], [0.1, 0.2], 1),
        ([0.1, 0.3], [0.1, 0.2], 0.5),
        ([], [0.1, 0.2], 0),
        ([0.2, 0.2], [0.2, 0.2, 0.2, 0.2], 0.5),
        ([0.1, 0.2, 0.2], [0.1, 0.2], 1),
        ([], [], 1),
    ],
)
def test_what_is_as_near_counts_as_found(found: list[float], truth: list[float], recall: float) -> None:
    assert recall_of(Neighbours(found, 1), Neighbours(truth, 1)) == recall


def test_one_search_uses_the_index_and_the_other_does_not(engine: Engine, collection: Collection) -> None:
    plans = {}
    parameters = {"timeout_ms": "1000", "ef_search": "40"}
    for settings_sql, template in ((INDEX_SETTINGS_SQL, INDEX_SQL), (EXACT_SETTINGS_SQL, EXACT_SQL)):
        with transaction(engine) as connection:
            connection.execute(settings_sql, parameters)
            statement = text("EXPLAIN " + template.format(items=collection.item_table, limit=10))
            rows = connection.execute(statement, {"query": str(directions(1)[0].tolist())})
            plans[template] = "\n".join(rows.scalars())
    assert collection.index_name in plans[INDEX_SQL]
    assert collection.index_name not in plans[EXACT_SQL]


def test_filters_are_taken_from_the_data_and_always_answered(
    engine: Engine, settings: Settings, collection: Collection
) -> None:
    report = measure(engine, collection, Measure(queries=10, ef_search=(40,)), settings)
    *hosts, width = (line.filter for line in report.by_filter)
    assert [list(each) for each in hosts] == [["host"], ["host"]] and hosts[0] != hosts[1]
    assert width == {"width": {"$gt": 100 + ROWS // 2 - 1}}
    assert all(line.overall.recall > 0.9 and sum(line.methods.values()) >= 8 for line in report.by_filter)


def test_a_filter_that_is_given_is_measured_instead(engine: Engine, settings: Settings, collection: Collection) -> None:
    wanted = Measure(queries=5, ef_search=(40,), filter={"group": 7})
    [line] = measure(engine, collection, wanted, settings).by_filter
    assert (line.filter, line.name, line.overall.recall) == ({"group": 7}, '{"group": 7}', 1)
    nothing = Measure(queries=5, ef_search=(40,), filter={"group": "none"})
    assert measure(engine, collection, nothing, settings).by_filter[0].overall.recall == 1
    with pytest.raises(BadRequest, match="did you mean"):
        measure(engine, collection, Measure(filter={"width": {"$gtee": 1}}), settings)


def test_searches_stay_in_one_namespace(engine: Engine, settings: Settings, collection: Collection) -> None:
    with transaction(engine) as connection:
        for n, vector in enumerate(directions(50, seed=3)):
            put(connection, collection, str(n), vector.tolist(), namespace="small")
    report = measure(engine, collection, Measure(queries=20, ef_search=(1_000,)), settings)
    assert report.namespace == "" and report.as_searched.overall.recall > 0.95


def test_without_an_index_or_rows_it_says_what_to_do(engine: Engine, settings: Settings, bare: Collection) -> None:
    with pytest.raises(NotFound, match=r"no index yet, so every search is exact: a worker builds one from 5,000"):
        measure(engine, bare, Measure(), settings)
    with pytest.raises(NotFound, match=r'"empty" is empty: `clipgres add` fills it'):
        measure(engine, make_collection(engine, DIMENSION, "empty"), Measure(), settings)


def test_the_command_shows_keeps_and_draws(
    engine: Engine, settings: Settings, collection: Collection, tmp_path: Path
) -> None:
    picture = tmp_path / "recall.png"
    done = run(settings, "--queries", "10", "--ef", "400,40", "--plot", str(picture))
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0] == "Recall@10 of default, 2,000 items"
    assert [line.split("  ")[0] for line in lines if " all " in line][:3] == [
        "ef_search 40",
        "ef_search 400",
        "as searched, no filter",
    ]
    assert "█" * 20 in done.stdout and "exact search takes" in done.stderr
    assert Image.open(picture).size > (500, 200)
    with transaction(engine) as connection:
        kept = connection.execute(text("SELECT * FROM clipgres.quality_sample ORDER BY ef_search")).all()
    assert [(row.collection_id, row.ef_search, row.queries) for row in kept] == [(1, 40, 30), (1, 400, 30)]
    assert kept[1].recall > 0.95
    assert set(kept[0].detail["kinds"]) == {"items", "captions", "searches"}
    assert len(kept[0].detail["by_filter"]) == 3 and kept[0].detail["items"] == ROWS


def test_history_shows_recall_over_time(settings: Settings, collection: Collection, tmp_path: Path) -> None:
    assert "nothing was measured" in run(settings, "--history").stderr
    for ef in ("40", "100"):
        document = json.loads(run(settings, "--queries", "5", "--ef", ef, "--json").stdout)
        assert document["by_ef_search"][0]["ef_search"] == int(ef)
    picture = tmp_path / "history.png"
    done = run(settings, "--history", "--plot", str(picture))
    assert [line.split()[2] for line in done.stdout.splitlines()[1:]] == ["100", "40"]
    assert Image.open(picture).size > (500, 200)
    newest, oldest = json.loads(run(settings, "--history", "--json").stdout)
    assert (newest["ef_search"], oldest["ef_search"]) == (100, 40)


def test_a_login_that_may_not_write_measures_all_the_same(
    engine: Engine, settings: Settings, collection: Collection
) -> None:
    with transaction(engine) as connection:
        connection.execute(text("REVOKE INSERT ON clipgres.quality_sample FROM clipgres_owner"))
    done = run(settings, "--queries", "3", "--ef", "40")
    assert done.exit_code == 0 and "ef_search 40" in done.stdout
    assert "not kept: permission denied for table quality_sample" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--ef", "40,none"], 2, "should be numbers from 1 to 1000"),
        (["--ef", "5"], 2, "--ef 5 is less than -k 10"),
        (["-k", "0"], 2, "0 is not in the range"),
        (["--where", "{"], 1, "--where is not JSON"),
        (["--where", '{"a": NaN}'], 1, "--where is not JSON"),
        (["--where", "[" * 100_000], 1, "--where is JSON of more than 100 levels"),
        (["--where", "[1]"], 1, "filter"),
        (["--collection", "pets"], 1, 'no collection "pets"'),
    ],
)
def test_what_is_wrong_is_said(
    settings: Settings, collection: Collection, arguments: list[str], code: int, said: str
) -> None:
    done = run(settings, *arguments)
    assert (done.exit_code, done.stdout) == (code, "")
    assert said in done.stderr


def test_drawing_needs_an_extra_and_says_so_first(
    settings: Settings, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = run(settings, "--plot", "recall.png")
    assert done.exit_code == 1 and 'pip install "clipgres[notebook]"' in done.stderr
