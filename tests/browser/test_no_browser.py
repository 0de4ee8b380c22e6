"""A machine without a browser passes the tests, unless it is there to run all of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser.conftest import find_chromium


@pytest.mark.parametrize(("ci", "outcome"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_without_a_browser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ci: str, outcome: type[Exception]) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match="`apt-get install chromium` brings one"):
        find_chromium()
