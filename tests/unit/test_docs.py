"""The reference is held to the program: every command, setting, reason, field and route is in it."""

from __future__ import annotations

import re
from dataclasses import Field, fields
from pathlib import Path

import pytest

from clipgres.answer import Answer, Hit, Plan
from clipgres.cli import main
from clipgres.plans import Method
from clipgres.reasons import Reason
from clipgres.request import SearchRequest, Weights
from clipgres.settings import PREFIX, Settings
from tests.web import offline_site
from webapp.params_page import NAMES

ROOT = Path(__file__).parents[2]
REFERENCE = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_documented(name: str) -> None:
    assert f"`{PREFIX}{name.upper()}`" in REFERENCE


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_documented_in_its_own_words(reason: Reason) -> None:
    assert f"| `{reason.value}` | {reason.gloss} |" in REFERENCE


@pytest.mark.parametrize("command", main.commands)
def test_every_command_is_documented(command: str) -> None:
    assert f"clipgres {command}" in REFERENCE


@pytest.mark.parametrize("name", [*SearchRequest.model_fields, *Weights.model_fields, *NAMES, *Method])
def test_every_field_of_a_search_is_documented(name: str) -> None:
    assert f"`{name}`" in REFERENCE


@pytest.mark.parametrize("part", [*fields(Hit), *fields(Plan), *fields(Answer)], ids=lambda part: part.name)
def test_every_field_of_an_answer_is_documented(part: Field[object]) -> None:
    inside = {"collection", "namespace", "image_id", "has_thumbnail"}  # become its address, or are what was asked
    assert part.name in inside or f'"{part.name}": ' in REFERENCE


def test_every_route_is_documented() -> None:
    rules = [rule for rule in offline_site().app.url_map.iter_rules() if rule.endpoint != "static"]
    told = [rule for rule in rules if "GET" in (rule.methods or ()) or rule.endpoint.startswith("api.")]
    paths = {re.sub(r"<(?:[^<>]*:)?(?:batch_|image_)?(\w+)>", r"<\1>", rule.rule) for rule in told}
    assert len(paths) > 15
    assert [path for path in sorted(paths) if not re.search(rf"{re.escape(path)}[`?]", REFERENCE)] == []


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    targets = [part.split(")")[0].split("#")[0] for part in page.read_text("utf-8").split("](")[1:]]
    local = [target for target in targets if target and "://" not in target]
    assert [target for target in local if not (page.parent / target).exists()] == []
