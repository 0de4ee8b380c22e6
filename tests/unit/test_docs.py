"""The reference is held to the program: every command, setting, reason and route is in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from clipgres.cli import main
from clipgres.reasons import Reason
from clipgres.settings import PREFIX, Settings

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


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    targets = [part.split(")")[0].split("#")[0] for part in page.read_text("utf-8").split("](")[1:]]
    local = [target for target in targets if target and "://" not in target]
    assert [target for target in local if not (page.parent / target).exists()] == []
