"""The loopback gallery serves every picture, and disappoints as real lists do."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from PIL import Image

from demo.gallery_files import read_gallery
from demo.site import DEAD_SHARE, GallerySite, gallery_site


@pytest.fixture(scope="module")
def site() -> Iterator[GallerySite]:
    with gallery_site() as site:
        yield site


@pytest.fixture(scope="module")
def rows(site: GallerySite, tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    path = tmp_path_factory.mktemp("site") / "list.tsv"
    site.write_list(path)
    return [line.split("\t") for line in path.read_text("utf-8").splitlines()]


def url_of(rows: list[list[str]], part: str) -> str:
    return next(url for _, url in rows if part in url)


def test_the_counts_of_a_list_add_up_to_its_rows(site: GallerySite, tmp_path: Path) -> None:
    counts = site.write_list(tmp_path / "list.tsv")
    lines = (tmp_path / "list.tsv").read_text("utf-8").splitlines()
    assert sum(counts.values()) == len(lines)
    assert set(counts) == {"alive", "missing", "html", "truncated", "refused"}
    assert 1 - counts["alive"] / len(lines) == pytest.approx(DEAD_SHARE, abs=0.001)


def test_a_list_written_again_is_the_same(site: GallerySite, tmp_path: Path) -> None:
    for name in ("first", "second"):
        site.write_list(tmp_path / name)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()


def test_every_picture_is_listed_once_for_each_of_its_captions(site: GallerySite, rows: list[list[str]]) -> None:
    wanted = sorted(
        (caption, site.url("pictures", picture)) for picture in site.pictures for caption in picture.captions
    )
    assert sorted((caption, url) for caption, url in rows if "?" not in url) == wanted


def test_dead_rows_are_spread_and_none_is_listed_twice(rows: list[list[str]]) -> None:
    dead = [number for number, (_, url) in enumerate(rows) if "?" in url]
    assert len({rows[number][1] for number in dead}) == len(dead)
    assert max(after - before for before, after in itertools.pairwise(dead)) < 50


@pytest.mark.parametrize("suffix", ["webp", "jpg", "png"])
def test_a_live_picture_is_the_file(site: GallerySite, suffix: str) -> None:
    picture = next(picture for picture in site.pictures if picture.path.suffix == f".{suffix}")
    answer = requests.get(site.url("pictures", picture), timeout=10)
    assert answer.content == picture.path.read_bytes()
    assert answer.headers["Content-Type"] == f"image/{'jpeg' if suffix == 'jpg' else suffix}"


def test_a_missing_picture_is_a_404(rows: list[list[str]]) -> None:
    assert requests.get(url_of(rows, "/gone/"), timeout=10).status_code == 404


def test_a_page_claims_to_be_a_jpeg(rows: list[list[str]]) -> None:
    answer = requests.get(url_of(rows, "/members/"), timeout=10)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "image/jpeg")
    assert answer.content.startswith(b"<!doctype html>")


def test_a_truncated_picture_cannot_be_decoded(rows: list[list[str]]) -> None:
    content = requests.get(url_of(rows, "/cut/"), timeout=10).content
    with pytest.raises(OSError), Image.open(io.BytesIO(content)) as picture:
        picture.load()


def test_a_refused_address_refuses(site: GallerySite, rows: list[list[str]]) -> None:
    with pytest.raises(requests.ConnectionError):
        requests.get(url_of(rows, site.refused), timeout=10)


@pytest.mark.parametrize("path", ["/pictures/../captions.tsv", "/pictures/captions.tsv", "/etc/passwd", "/"])
def test_nothing_but_pictures_is_served(site: GallerySite, path: str) -> None:
    assert requests.get(site.address + path, timeout=10).status_code == 404


def test_the_gallery_is_whole() -> None:
    pictures = read_gallery()
    assert len(pictures) >= 1000
    assert {picture.path.suffix for picture in pictures} == {".webp", ".jpg", ".png"}
    assert sum(picture.path.stat().st_size for picture in pictures) <= 6_000_000
    captions = [caption for picture in pictures for caption in picture.captions]
    assert len(captions) > len(pictures)
    assert not any("\t" in caption or caption != caption.strip() for caption in captions)
