"""Search in a pandas DataFrame, without a database: `nearest(embed(df), "two dogs on a beach")`.

A frame has the columns `image` (path, bytes or PIL image) and `caption`, or their vectors as `image_embedding` and
`caption_embedding`. The model is that of the settings, as everywhere.
"""

from __future__ import annotations

import warnings
from collections.abc import Hashable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clipgres.encoder import Encoder, LazyEncoder, Vectors, usable
from clipgres.errors import BadRequest
from clipgres.frame.vectors import caption_vectors, image_vectors, matrix, picture
from clipgres.optional import optional
from clipgres.settings import Settings, load_settings

if TYPE_CHECKING:
    from pandas import DataFrame, Series

__all__ = ["embed", "nearest"]

# By criterion the column of vectors, and the one that they are made from.
COLUMNS = {"image": ("image_embedding", "image"), "text": ("caption_embedding", "caption")}
SPACE = "clipgres_space"
BLOCK_ROWS = 65_536

Picture = Path | bytes | Image.Image


def embed(df: DataFrame, *, encoder: Encoder | None = None) -> DataFrame:
    """A copy with `image_embedding` and `caption_embedding`, made from whichever of `image` and `caption` it has.

    A picture that cannot be read and a caption that is empty get None; warnings count them. To search a frame more
    than once, embed it once.

    Raises:
        BadRequest: it has neither column.
        ModelError: the model is not on this machine.
    """
    _check_frame(df)
    criteria = [criterion for criterion, (_, source) in COLUMNS.items() if source in df.columns]
    if not criteria:
        raise BadRequest("df: it has no column image or caption to make vectors from", "df")
    model = _model(encoder)
    made = df.copy()
    for column, source in (COLUMNS[each] for each in criteria):
        vectors = _vectors_of(df, source, model)
        cells = [row if row.any() else None for row in vectors]
        made[column] = optional("pandas", extra="notebook").Series(cells, index=df.index, dtype=object)
    made.attrs[SPACE] = model.space.describe()
    return made


def nearest(
    df: DataFrame,
    query: str | Picture | Series[Any] | None = None,
    top_k: int = 4,
    criterion: str = "image",
    *,
    like: Hashable = None,
    encoder: Encoder | None = None,
) -> DataFrame:
    """The `top_k` rows nearest to a query, best first, with their cosine similarity as `score` and their own index.

    The query is a text, a picture (a `Path`, bytes or PIL image), a row of a frame, or by `like` the label of a row;
    a row itself is left out. It is compared with the pictures (criterion `image`) or the captions (`text`), a row by
    its own vector of that kind. Rows without a usable vector are left out; a warning counts them.

    Raises:
        BadRequest: what is asked for is wrong or not in the frame; the field is named.
        ModelError: something is to be encoded and the model is not on this machine.
    """
    _check_frame(df)
    _check_request(query, top_k, criterion, like)
    column = COLUMNS[criterion][0]
    vectors = _vectors(df, criterion, encoder)
    vector, itself = _query_vector(df, query, like, criterion, vectors, encoder)
    scores = _cosines(vectors, vector)
    missing = int(np.isnan(scores).sum())
    if missing:
        warnings.warn(f"{missing:,} of {len(df):,} rows have no usable {column} and are left out", stacklevel=2)
    if itself is not None:
        scores[itself] = np.nan
    # Rows without a score sort last; those of the same score stay in the order of the frame.
    best = np.argsort(-scores, kind="stable")[: min(top_k, int((~np.isnan(scores)).sum()))]
    return df.iloc[best].assign(score=scores[best])


def _check_frame(df: DataFrame) -> None:
    pandas = optional("pandas", extra="notebook")
    if not isinstance(df, pandas.DataFrame):
        raise BadRequest(f"df: it should be a pandas DataFrame, not {type(df).__name__}", "df")
    if not len(df):
        raise BadRequest("df: the frame is empty", "df")


def _check_request(query: object, top_k: object, criterion: object, like: object) -> None:
    if criterion not in tuple(COLUMNS):
        raise BadRequest(f'criterion: it should be "image" or "text", not {criterion!r}', "criterion")
    if isinstance(top_k, bool) or not isinstance(top_k, int | np.integer) or top_k < 1:
        raise BadRequest(f"top_k: it should be a whole number, 1 or more, not {top_k!r}", "top_k")
    if (query is None) == (like is None):
        raise BadRequest("query: give a text, a picture or a row to search for, or like=LABEL of a row", "query")


def _vectors(df: DataFrame, criterion: str, encoder: Encoder | None) -> Vectors:
    """The vectors that are compared: those of the frame, else made now."""
    column, source = COLUMNS[criterion]
    if column in df.columns:
        return matrix(df[column].tolist(), column)
    if source not in df.columns:
        raise BadRequest(f"df: criterion {criterion} needs a column {column} or {source}", "df")
    return _vectors_of(df, source, _model(encoder))


def _vectors_of(df: DataFrame, source: str, encoder: Encoder) -> Vectors:
    made = image_vectors if source == "image" else caption_vectors
    return made(df[source].tolist(), encoder)


def _query_vector(
    df: DataFrame, query: Any, like: Hashable, criterion: str, vectors: Vectors, encoder: Encoder | None
) -> tuple[Vectors, int | None]:
    """The vector to look for at unit length, and the place of the row that it is, if it is one."""
    column = COLUMNS[criterion][0]
    itself = None if like is None else _place(df, like)
    if itself is not None:
        vector = vectors[itself]
    elif isinstance(query, optional("pandas", extra="notebook").Series):
        [vector] = _vectors(query.to_frame().T, criterion, encoder)
        itself = next((place for place in _places(df, query.name) if _is_same(vectors[place], vector)), None)
    else:
        _check_space(df, column, _model(encoder))
        vector = _encoded(query, _model(encoder))
    if len(vector) != vectors.shape[1]:
        said = f"the frame's vectors have {vectors.shape[1]:,} dimensions, the query's {len(vector):,}"
        raise BadRequest(f"{column}: {said}: embed the frame with the same model", column)
    length = np.linalg.norm(vector)
    if not 0 < length < np.inf:
        raise BadRequest(f"{'query' if like is None else 'like'}: this row has no usable {column}", "query")
    return vector / length, itself


def _encoded(query: Any, encoder: Encoder) -> Vectors:
    """The vector of a text or picture."""
    if isinstance(query, str):
        if not query.strip():
            raise BadRequest("query: the text is empty", "query")
        if encoder.cut([query])[0]:
            warnings.warn("the text is longer than the model reads: its end does not count", stacklevel=4)
        vectors = encoder.text([query])
    elif isinstance(query, Path | bytes | Image.Image):
        vectors = encoder.images([picture(query, load_settings())])
    else:
        kinds = "a text, a Path, bytes, a PIL image or a row (a label is given as like=)"
        raise BadRequest(f"query: it should be {kinds}, not {type(query).__name__}", "query")
    if not usable(vectors)[0]:
        raise BadRequest("query: the model gives no usable vector for it", "query")
    return vectors.reshape(-1)


def _place(df: DataFrame, label: Hashable) -> int:
    places = _places(df, label)
    if not places:
        raise BadRequest(f"like: the frame has no row labelled {label!r}", "like")
    if len(places) > 1:
        raise BadRequest(
            f"like: {len(places):,} rows are labelled {label!r}: df.reset_index() tells them apart", "like"
        )
    return places[0]


def _places(df: DataFrame, label: Hashable) -> list[int]:
    """Where the rows of a label are."""
    wanted = optional("pandas", extra="notebook").Index([label], tupleize_cols=isinstance(label, tuple))
    return [int(place) for place in df.index.get_indexer_for(wanted) if place >= 0]


def _is_same(one: Vectors, other: Vectors) -> bool:
    return one.shape == other.shape and bool(np.allclose(one, other, rtol=1e-3, atol=1e-4))


def _cosines(vectors: Vectors, vector: Vectors) -> NDArray[np.float32]:
    """The cosine of each row with a unit vector, NaN for rows that have none; by blocks, without a copy of them all."""
    scores = np.full(len(vectors), np.nan, np.float32)
    for start in range(0, len(vectors), BLOCK_ROWS):
        block = vectors[start : start + BLOCK_ROWS]
        with np.errstate(over="ignore", invalid="ignore"):
            lengths = np.linalg.norm(block, axis=1)
            products = block @ vector
        is_usable = (lengths > 0) & (lengths < np.inf)
        np.divide(products, lengths, out=scores[start : start + BLOCK_ROWS], where=is_usable)
    return scores


def _model(encoder: Encoder | None) -> Encoder:
    return encoder or _of(load_settings())


@cache
def _of(settings: Settings) -> Encoder:
    """The model of these settings, loaded once a process."""
    return LazyEncoder(settings)


def _check_space(df: DataFrame, column: str, encoder: Encoder) -> None:
    made_by, here = df.attrs.get(SPACE), encoder.space.describe()
    if column in df.columns and made_by and made_by != here:
        raise BadRequest(f"{column}: made by {made_by}, the model in hand is {here}: embed the frame again", column)
