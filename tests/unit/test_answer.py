"""The answer as JSON has it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from clipgres.answer import Answer, Hit, Plan

HIT = Hit(
    key="a/b c?",
    score=0.314,
    url="http://example.org/1.jpg",
    caption="two dogs",
    captions=["two dogs", "a beach"],
    width=640,
    height=480,
    host="example.org",
    metadata={"year": 1957},
    image_id=7,
    has_thumbnail=True,
    alive=True,
)
PLAN = Plan(
    method="index",
    index="item_1_hnsw_idx",
    asked=1,
    found=1,
    matched=10,
    matched_is_exact=True,
    ef_search=160,
    capped=False,
    took_ms=1.5,
)


def test_the_answer_is_one_json_document() -> None:
    answer = Answer(collection="pets", hits=[HIT], plan=PLAN, hidden=2)
    document = json.loads(json.dumps(answer.to_dict()))
    assert sorted(document) == ["hidden", "hits", "next", "plan"]
    assert document["hits"][0] == {
        "key": "a/b c?",
        "score": 0.314,
        "url": "http://example.org/1.jpg",
        "caption": "two dogs",
        "captions": ["two dogs", "a beach"],
        "width": 640,
        "height": 480,
        "host": "example.org",
        "metadata": {"year": 1957},
        "percentile": None,
        "alive": True,
        "duplicates": 0,
        "thumbnail": "/thumbnails/7",
        "page": "/items/pets/a%2Fb%20c%3F",
    }


def test_the_page_of_an_item_keeps_its_namespace() -> None:
    document = Answer(collection="pets", hits=[HIT], plan=PLAN, namespace="a&b").to_dict()
    assert document["hits"][0]["page"].endswith("?namespace=a%26b")


def test_without_a_thumbnail_there_is_no_path_to_one() -> None:
    document = Answer(collection="pets", hits=[replace(HIT, has_thumbnail=False)], plan=PLAN).to_dict()
    assert document["hits"][0]["thumbnail"] is None


@pytest.mark.parametrize(("score", "percent"), [(1.0, 100), (0.314, 31), (0.0, 0), (-0.2, 0)])
def test_people_see_percent(score: float, percent: int) -> None:
    assert replace(HIT, score=score).percent == percent
