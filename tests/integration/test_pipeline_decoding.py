"""The pipeline when decoders are lost or cannot be had: one picture pays, or nothing is counted at all."""

from __future__ import annotations

import sys
from dataclasses import replace

import pytest
from sqlalchemy import Engine

from clipgres.decoding.pool import Decoders
from clipgres.errors import SetupError
from clipgres.fetching import Fetched
from clipgres.settings import Settings
from tests.fakes import FakeEncoder
from tests.ingest import add_urls, ends, fetched, make_tools, new_collection, scalar
from tests.pictures import encoded, gradient, jpeg_of_scans
from worker.pipeline import run


def test_a_picture_that_takes_for_ever_costs_no_other(engine: Engine, settings: Settings) -> None:
    good, bad = encoded(gradient()), jpeg_of_scans(20_000)

    def fetch(url: str) -> Fetched:
        return fetched(bad if "bad" in url else good)

    collection = new_collection(engine)
    add_urls(engine, collection, [f"http://example.org/{name}" for name in ("bad", *range(12))])
    with Decoders(settings.model_copy(update={"decode_timeout_s": 1}), processes=2) as decoders:
        written = run(collection, FakeEncoder(), replace(make_tools(engine, settings, fetch), decoders=decoders))
    assert written.ok == 12
    assert ends(engine, collection) == {"ok": 12, "pending decoder_failed": 1}
    assert scalar(engine, "SELECT max(attempts) FROM clipgres.job WHERE status = 'pending'") == 1


def test_without_decoders_every_job_stays_as_it_was(
    engine: Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = new_collection(engine)
    add_urls(engine, collection, [f"http://example.org/{number}" for number in range(12)])
    tools = make_tools(engine, settings, lambda _url: fetched(encoded(gradient())))
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with Decoders(settings) as decoders, pytest.raises(SetupError, match="does not start: exit code 1"):
        run(collection, FakeEncoder(), replace(tools, decoders=decoders))
    assert ends(engine, collection) == {"pending": 12}
    assert scalar(engine, "SELECT max(attempts) FROM clipgres.job") == 0
