"""The how-to for notebooks is run as it stands, on a part of the gallery."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image
from sqlalchemy import Engine

from clipgres.encoder import load_encoder
from clipgres.settings import Settings
from demo.gallery_files import Picture, read_gallery
from tests.seed import seed_collection, seed_picture

PAGE = Path(__file__).parents[2] / "docs" / "notebook.md"
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
PICTURES = 52


@pytest.fixture
def pictures(engine: Engine) -> list[Picture]:
    """Pictures of the gallery, four of them with dogs, in the default collection."""
    gallery = read_gallery()
    dogs = [picture for picture in gallery if re.search(r"\bdog\b", picture.captions[0])][:4]
    chosen = [*dogs, *(picture for picture in gallery if picture not in dogs)][:PICTURES]
    encoder = load_encoder("tiny-clip")
    collection = seed_collection(engine, encoder)
    for picture in chosen:
        with Image.open(picture.path) as image:
            url = f"http://a.org/{picture.path.name}"
            seed_picture(engine, collection, encoder, image.convert("RGB"), url=url, captions=picture.captions)
    return chosen


@pytest.fixture
def names(
    settings: Settings, pictures: list[Picture], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dict[str, Any]]:
    """What the code sees: settings in the environment, and a list of pictures in the working directory."""
    assert settings.database_url and settings.redis_url
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLIPGRES_DATABASE_URL", settings.database_url.get_secret_value())
    monkeypatch.setenv("CLIPGRES_REDIS_URL", settings.redis_url.get_secret_value())
    monkeypatch.setenv("CLIPGRES_MODEL", "tiny-clip")
    rows = [(str(picture.path), picture.captions[0]) for picture in pictures]
    pd.DataFrame(rows, columns=["image", "caption"]).to_csv("pictures.csv", index=False)
    names: dict[str, Any] = {}
    yield names
    if "client" in names:
        names["client"].close()


def test_the_how_to_runs(names: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    blocks = BLOCK.findall(PAGE.read_text("utf-8"))
    assert len(blocks) == 3
    for block in blocks:
        exec(block, names)  # noqa: S102 - our own page
    assert "dog" in capsys.readouterr().out
    assert Image.open("dogs.png").size > (600, 300)
    assert names["frame"].percentile.iloc[0] > 80
    found = names["nearest"](names["df"], "a dog", top_k=2)
    assert found.caption.str.contains("dog").any()


def test_the_page_stays_short() -> None:
    assert len(PAGE.read_text("utf-8").splitlines()) <= 60
