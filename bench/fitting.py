"""Fits the constants of the cost model to what exact search and the index take on this machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

import click
import numpy as np
import psycopg
from numpy.typing import NDArray
from pgvector import HalfVector

from bench.search import Vectors
from clipgres.collections import Collection
from clipgres.plans.costs import CANDIDATE_MS, DESCENT_MS, FINDING_UNIT_MS, MATCH_MS

EXACT_SQL = """
    WITH matching AS MATERIALIZED (
        SELECT id, (embedding <=> %(query)s) + 0 AS distance FROM {items} WHERE {condition}
    )
    SELECT id, distance, (SELECT count(*) FROM matching) FROM matching ORDER BY distance, id LIMIT 10
"""
EXPLAIN_SQL = "EXPLAIN (FORMAT JSON) SELECT FROM {items} WHERE {condition}"
INDEX_SQL = "SELECT id FROM {items} ORDER BY embedding <=> %(query)s LIMIT 10"
BY_TAG, BY_NUMBER = "metadata @? %(path)s::jsonpath", "metadata @? %(number)s::jsonpath"
EF_SEARCHES = (40, 100, 160, 250, 400, 600, 1_000)
ROUNDS = 9


def fit(bare: psycopg.Connection[Any], collection: Collection, queries: Vectors, tags: Sequence[str]) -> None:
    """Print the constants beside those that are in use."""
    filters = [(BY_TAG, {"path": f'$."tags" ? (@ == "{tag}")'}) for tag in tags]
    filters += [(BY_NUMBER, {"number": f'$."n" ? (@ < {limit})'}) for limit in (0, 1_000, 10_000)] + [("true", {})]
    exact = [_exact(bare, collection, queries, condition, parameters) for condition, parameters in filters]
    matches, findings, times = (np.array(column) for column in zip(*exact, strict=True))
    match_ms, finding_ms = _fitted(matches, findings, times=times)
    for row in exact:
        click.echo("{:>8,.0f} rows, finding {:>9,.0f}: {:>7.2f} ms".format(*row))
    by_index = []
    for ef_search in EF_SEARCHES:
        bare.execute("SELECT set_config('hnsw.ef_search', %s, false)", (str(ef_search),))
        by_index.append(_p50(bare, INDEX_SQL.format(items=collection.item_table), queries, {}))
        click.echo(f"ef_search {ef_search:>5}: {by_index[-1]:>6.2f} ms")
    descent_ms, candidate_ms = _fitted(np.ones(len(EF_SEARCHES)), np.array(EF_SEARCHES), times=np.array(by_index))
    for name, value, used in (
        ("MATCH_MS", match_ms, MATCH_MS),
        ("FINDING_UNIT_MS", finding_ms, FINDING_UNIT_MS),
        ("DESCENT_MS", descent_ms, DESCENT_MS),
        ("CANDIDATE_MS", candidate_ms, CANDIDATE_MS),
    ):
        click.echo(f"{name} = {value:.5f}, in use {used:.5f}")


def _fitted(*terms: NDArray[Any], times: NDArray[Any]) -> Sequence[float]:
    """The factors of the terms; errors are relative, since a millisecond matters where a search takes two."""
    factors, *_ = np.linalg.lstsq(np.stack(terms, axis=1) / times[:, np.newaxis], np.ones(len(times)), rcond=None)
    return [float(factor) for factor in factors]


def _exact(
    bare: psycopg.Connection[Any],
    collection: Collection,
    queries: Vectors,
    condition: str,
    parameters: Mapping[str, Any],
) -> tuple[float, float, float]:
    names = {"items": collection.item_table, "condition": condition}
    statement = EXACT_SQL.format(**names)
    counted = bare.execute(statement.encode(), {**parameters, "query": HalfVector(queries[0])}).fetchone()
    explained = bare.execute(EXPLAIN_SQL.format(**names).encode(), parameters).fetchone()
    finding = explained[0][0]["Plan"]["Total Cost"] if explained else 0.0
    return counted[2] if counted else 0, finding, _p50(bare, statement, queries, parameters)


def _p50(bare: psycopg.Connection[Any], statement: str, queries: Vectors, parameters: Mapping[str, Any]) -> float:
    times = []
    for round_ in range(ROUNDS):
        bound = {**parameters, "query": HalfVector(queries[round_ % len(queries)])}
        started = time.perf_counter()
        bare.execute(statement.encode(), bound).fetchall()
        times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times)
