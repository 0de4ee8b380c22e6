"""Search in a data frame alone: what is compared with what, self left out, and every bad cell said."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from clipgres.errors import BadRequest, SetupError
from clipgres.frame.neighbours import BLOCK_ROWS, embed, nearest
from tests.fakes import FakeEncoder

COLOURS = ("red", "green", "blue", "white")
DIMENSION = 64


def picture(colour: str) -> Image.Image:
    """A picture full of a colour."""
    return Image.new("RGB", (40, 30), colour)


def file_of(colour: str) -> bytes:
    """A picture as a file."""
    stream = BytesIO()
    picture(colour).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def encoder() -> FakeEncoder:
    """An encoder that counts its work."""
    return FakeEncoder(DIMENSION)


@pytest.fixture
def df(tmp_path: Path) -> pd.DataFrame:
    """Four pictures, given in every way there is, with captions of another colour."""
    (tmp_path / "blue.png").write_bytes(file_of("blue"))
    images = [picture("red"), file_of("green"), tmp_path / "blue.png", picture("white")]
    captions = ["green", "blue", "white", "red"]
    return pd.DataFrame({"image": images, "caption": captions}, index=list(COLOURS))


@pytest.fixture
def embedded(df: pd.DataFrame, encoder: FakeEncoder) -> pd.DataFrame:
    """The same with vectors."""
    return embed(df, encoder=encoder)


def vectors_frame(*vectors: Any, **columns: Any) -> pd.DataFrame:
    """A frame of nothing but vectors of pictures."""
    return pd.DataFrame({"image_embedding": list(vectors), **columns})


def test_embed_adds_vectors_to_a_copy(df: pd.DataFrame, encoder: FakeEncoder) -> None:
    embedded = embed(df, encoder=encoder)
    assert list(df.columns) == ["image", "caption"]
    assert list(embedded.columns) == ["image", "caption", "image_embedding", "caption_embedding"]
    assert np.allclose(embedded.image_embedding["red"], encoder.images([picture("red")])[0], atol=1e-6)
    assert np.allclose(embedded.caption_embedding["white"], encoder.text(["red"])[0], atol=1e-6)
    assert embedded.image_embedding["red"].dtype == np.float32


def test_embed_takes_whichever_column_there_is(df: pd.DataFrame, encoder: FakeEncoder) -> None:
    assert list(embed(df[["caption"]], encoder=encoder).columns) == ["caption", "caption_embedding"]
    with pytest.raises(BadRequest, match="no column image or caption"):
        embed(df.rename(columns=str.upper), encoder=encoder)


def test_what_cannot_be_embedded_is_none_and_counted(encoder: FakeEncoder) -> None:
    images = [picture("red"), None, b"no picture", "/nowhere.png", float("nan"), 7, "http://a.org/1.jpg", pd.NA]
    with pytest.warns(UserWarning, match=r"4 of 8 pictures cannot be read; the first: image: .*not a picture"):
        made = embed(pd.DataFrame({"image": images}), encoder=encoder)
    assert [cell is None for cell in made.image_embedding] == [False, *[True] * 7]
    captions = ["red", "", "  ", None, float("nan")]
    assert embed(pd.DataFrame({"caption": captions}), encoder=encoder).caption_embedding.notna().sum() == 1
    with pytest.warns(UserWarning, match="1 captions are longer than the model reads"):
        embed(pd.DataFrame({"caption": ["word " * 100]}), encoder=encoder)


def test_a_large_frame_is_embedded_in_batches_in_order(encoder: FakeEncoder) -> None:
    names = [COLOURS[n % 4] for n in range(150)]
    made = embed(pd.DataFrame({"caption": names}), encoder=encoder)
    assert np.allclose(np.stack(made.caption_embedding), encoder.text(names), atol=1e-6)


@pytest.mark.parametrize(
    ("query", "criterion", "best"),
    [
        ("red", "image", "red"),
        ("red", "text", "white"),
        (picture("blue"), "image", "blue"),
        (file_of("blue"), "image", "blue"),
        (picture("blue"), "text", "green"),
    ],
)
def test_a_query_is_compared_with_pictures_or_captions(
    embedded: pd.DataFrame, encoder: FakeEncoder, query: Any, criterion: str, best: str
) -> None:
    found = nearest(embedded, query, top_k=2, criterion=criterion, encoder=encoder)
    assert found.index[0] == best and len(found) == 2
    assert found.score.iloc[0] == pytest.approx(1, abs=0.02) and found.score.is_monotonic_decreasing
    assert list(found.columns) == [*embedded.columns, "score"]
    assert "score" not in embedded.columns


def test_a_path_is_a_picture_and_a_string_is_words(
    embedded: pd.DataFrame, encoder: FakeEncoder, df: pd.DataFrame
) -> None:
    path = df.image["blue"]
    assert nearest(embedded, path, encoder=encoder).index[0] == "blue"
    nearest(embedded, str(path), encoder=encoder)
    assert encoder.texts_seen == 5


def test_vectors_are_made_when_the_frame_has_none(df: pd.DataFrame, encoder: FakeEncoder) -> None:
    assert nearest(df, "green", encoder=encoder).index[0] == "green"
    assert nearest(df, "green", criterion="text", encoder=encoder).index[0] == "red"


def test_a_row_finds_others_by_its_own_vector(embedded: pd.DataFrame, encoder: FakeEncoder) -> None:
    for found in (nearest(embedded, embedded.loc["red"], top_k=9), nearest(embedded, like="red", top_k=9)):
        assert sorted(found.index) == ["blue", "green", "white"]
    one, other = (nearest(embedded, like="red", criterion=criterion) for criterion in ("image", "text"))
    assert one.score.tolist() != other.score.tolist()
    assert encoder.texts_seen == 4, "a row has its vector already"


def test_a_row_of_another_frame_leaves_nothing_out(embedded: pd.DataFrame) -> None:
    other = embedded.rename(index={"green": "red", "red": "green"})
    assert nearest(embedded, other.loc["red"]).index[0] == "green"


def test_labels_may_be_tuples_and_repeat(embedded: pd.DataFrame) -> None:
    pairs = embedded.set_index(pd.MultiIndex.from_product([["a", "b"], [1, 2]]))
    assert ("b", 1) not in nearest(pairs, like=("b", 1)).index
    repeated = embedded.set_axis(["x", "x", "y", "z"])
    with pytest.raises(BadRequest, match="2 rows are labelled 'x'"):
        nearest(repeated, like="x")
    assert len(nearest(repeated, repeated.iloc[1], top_k=9)) == 3


def test_ties_stay_in_the_order_of_the_frame() -> None:
    df = vectors_frame([1, 0], [0, 1], [2, 0], [0, 3], [1, 0])
    assert nearest(df, like=0).index.tolist() == [2, 4, 1, 3]
    assert nearest(df, like=0).score.tolist() == [1, 1, 0, 0]


def test_rows_without_a_vector_are_left_out_and_counted() -> None:
    df = vectors_frame([1, 0], None, [0, 0], [float("nan"), 1], [float("inf"), 0], np.array([0.5, 0.5]))
    with pytest.warns(UserWarning, match="4 of 6 rows have no usable image_embedding and are left out"):
        assert nearest(df, like=0).index.tolist() == [5]
    with pytest.raises(BadRequest, match="like: this row has no usable image_embedding"):
        nearest(df, like=2)


def test_scores_are_those_of_plain_arithmetic_over_several_blocks() -> None:
    vectors = np.random.default_rng(0).normal(size=(BLOCK_ROWS + 100, 3)).astype(np.float32)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    found = nearest(vectors_frame(*vectors), like=5, top_k=50)
    expected = unit @ unit[5]
    expected[5] = -2
    best = np.argsort(-expected, kind="stable")[:50]
    assert found.index.tolist() == best.tolist()
    assert np.allclose(found.score, expected[best], atol=1e-6)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"df": "no frame"}, "df: it should be a pandas DataFrame, not str"),
        ({"df": pd.DataFrame({"image_embedding": []})}, "df: the frame is empty"),
        ({"df": pd.DataFrame({"picture": [1]})}, "df: criterion image needs a column image_embedding or image"),
        ({"criterion": "both"}, 'criterion: it should be "image" or "text"'),
        ({"criterion": "text"}, "needs a column caption_embedding or caption"),
        ({"top_k": 0}, "top_k: it should be a whole number, 1 or more, not 0"),
        ({"top_k": 2.5}, "not 2.5"),
        ({"top_k": True}, "not True"),
        ({"like": None}, "query: give a text"),
        ({"query": "red"}, "query: give a text"),
        ({"like": 9}, "like: the frame has no row labelled 9"),
        ({"query": 1, "like": None}, "a label is given as like="),
        ({"query": "  ", "like": None}, "query: the text is empty"),
        ({"query": b"no picture", "like": None}, "image: "),
        ({"criterion": ["image"]}, "criterion: "),
        ({"df": vectors_frame(None, float("nan"))}, "image_embedding: no row has a vector"),
        ({"df": vectors_frame([1, 0], [1, 0, 0])}, "row 1 has 3 dimensions, those before it 2"),
        ({"df": vectors_frame([1, 0], "abc")}, "image_embedding: row 1 is not a list of numbers"),
        ({"df": vectors_frame([1, 0], [[1, 0]])}, "row 1 is not a list of numbers"),
        ({"query": "red", "like": None}, "the frame's vectors have 2 dimensions, the query's 64"),
    ],
)
def test_what_is_wrong_is_said(encoder: FakeEncoder, change: dict[str, Any], said: str) -> None:
    request: dict[str, Any] = {"df": vectors_frame([1, 0], [0, 1]), "like": 0, "encoder": encoder}
    with pytest.raises(BadRequest) as caught:
        nearest(**request | change)
    assert said in str(caught.value)
    assert caught.value.field


def test_two_spaces_are_not_mixed(embedded: pd.DataFrame) -> None:
    other = FakeEncoder(DIMENSION, model="other/encoder")
    with pytest.raises(BadRequest, match=r"made by fake/encoder.*in hand is other/encoder.*embed the frame again"):
        nearest(embedded, "red", encoder=other)
    assert len(nearest(embedded, like="red", encoder=other)) == 3


def test_the_model_is_that_of_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPGRES_MODEL", "tiny-clip")
    df = pd.DataFrame({"caption": ["a red car", "a dog", "a pizza"]})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert nearest(embed(df), "dog", top_k=1, criterion="text").caption.tolist() == ["a dog"]


@pytest.mark.parametrize("search", [embed, lambda df: nearest(df, "red")])
def test_without_pandas_it_says_what_to_install(
    df: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, search: Callable[[Any], Any]
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(SetupError, match=r'pip install "clipgres\[notebook\]"'):
        search(df)


def test_importing_it_loads_nothing_optional() -> None:
    code = "import sys, clipgres.frame; print(*{'torch', 'pandas', 'matplotlib'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split() == []
