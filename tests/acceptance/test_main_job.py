"""URLs in, searchable pictures out: the list of the gallery, searched by text, picture and item from every door."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from tests.acceptance.conftest import Running
from tests.ingest import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

TRIED = 40


def post(url: str, document: dict[str, Any]) -> dict[str, Any]:
    """POST JSON and return the answer's."""
    response = requests.post(url, json=document, timeout=30)
    assert response.status_code == 200, response.text
    return dict(response.json())


def name_of(url: str) -> str:
    """The file of a picture's address."""
    return url.rsplit("/", 1)[-1]


def test_every_url_ends_ok_or_failed_with_a_reason(running: Running) -> None:
    pictures = len(running.site.pictures)
    assert (running.added["ok"], running.added["pending"], running.added["leased"]) == (pictures, 0, 0)
    assert running.added["failed_by_reason"] == {
        "not_found": running.listed["missing"],
        "not_an_image": running.listed["html"],
        "truncated": running.listed["truncated"],
        "connection_refused": running.listed["refused"],
    }


def test_the_command_line_finds_pictures_by_text(running: Running) -> None:
    picture = running.site.pictures[0]
    answer = running.json("search", picture.captions[0], "-k", "10")
    assert picture.path.name in [name_of(hit["url"]) for hit in answer["hits"]]
    assert answer["plan"]["found"] == 10


def test_http_finds_the_pictures_that_captions_describe(running: Running) -> None:
    found = 0
    for picture in running.site.pictures[:TRIED]:
        answer = post(f"{running.url}/api/search", {"text": picture.captions[0], "top_k": 5})
        found += picture.path.name in [name_of(hit["url"]) for hit in answer["hits"]]
    assert found >= 0.8 * TRIED


def test_http_finds_a_picture_by_itself(running: Running) -> None:
    for picture in running.site.pictures[:5]:
        answer = post(f"{running.url}/api/search", {"image_url": running.site.url("pictures", picture), "top_k": 1})
        assert name_of(answer["hits"][0]["url"]) == picture.path.name
        assert answer["hits"][0]["score"] > 0.99


def test_the_command_line_finds_a_picture_by_its_file(running: Running) -> None:
    picture = running.site.pictures[7]
    answer = running.json("search", "--image", str(picture.path), "-k", "1")
    assert name_of(answer["hits"][0]["url"]) == picture.path.name


def test_more_like_this_leaves_the_item_itself_out(running: Running) -> None:
    first = post(f"{running.url}/api/search", {"text": "a dog", "top_k": 1})["hits"][0]
    alike = running.json("search", "--like", first["key"], "-k", "5")["hits"]
    assert len(alike) == 5
    assert first["key"] not in [hit["key"] for hit in alike]


def test_sql_gives_the_same_answer(running: Running) -> None:
    text = "a dog"
    keys = [hit["key"] for hit in post(f"{running.url}/api/search", {"text": text, "top_k": 5})["hits"]]
    statement = "SELECT key FROM collections.\"default\" ORDER BY embedding <=> clip_text('a dog') LIMIT 5"
    done = running.run("psql", "-At", "-c", statement)
    assert done.stdout.decode().split() == keys


def test_counts_add_up_in_sql(running: Running) -> None:
    statement = f"""
        SELECT status, coalesce(reason, ''), count(*)
        FROM clipgres.job JOIN clipgres.batch_job USING (collection_id, image_id)
        WHERE batch_id = {running.added["id"]} GROUP BY 1, 2
    """
    done = running.run("psql", "-At", "-F", ",", "-c", statement)
    counts = {(status, reason): int(count) for status, reason, count in csv.reader(done.stdout.decode().splitlines())}
    assert counts.pop(("ok", "")) == running.added["ok"]
    assert {reason: count for (_, reason), count in counts.items()} == running.added["failed_by_reason"]
    assert {status for status, _ in counts} == {"failed"}


def test_a_thumbnail_is_served(running: Running) -> None:
    hit = post(f"{running.url}/api/search", {"text": "pizza", "top_k": 1})["hits"][0]
    response = requests.get(running.url + hit["thumbnail"], timeout=10)
    assert response.headers["Content-Type"] == "image/webp"
    assert response.content.startswith(b"RIFF")


def test_adding_the_list_again_changes_nothing(running: Running, tmp_path: Path) -> None:
    running.site.write_list(tmp_path / "again.tsv")
    added = running.json("add", str(tmp_path / "again.tsv"))
    assert (added["accepted"], added["refused"]) == (0, 0)
    assert added["merged"] == sum(running.listed.values())


def test_one_url_from_stdin_and_one_as_an_argument(running: Running) -> None:
    url = f"{running.site.url('pictures', running.site.pictures[3])}?one=more"
    added = running.json("add", url, "--caption", "the same again", "--collection", "alone", "--wait")
    assert (added["accepted"], added["ok"]) == (1, 1)
    piped = running.run("add", "-", "--collection", "alone", "--json", input=f"from stdin\t{url}\n".encode())
    assert json.loads(piped.stdout)["merged"] == 1
    [hit] = running.json("search", "the same again", "--collection", "alone")["hits"]
    assert hit["captions"] == ["the same again", "from stdin"]


def test_failures_are_named_and_can_be_tried_again(running: Running) -> None:
    def failures() -> dict[str, int]:
        return {group["reason"]: group["images"] for group in running.json("failures", "--collection", "default")}

    assert failures() == running.added["failed_by_reason"]
    done = running.run("retry", "--reason", "truncated", "--collection", "default")
    assert done.stdout.decode() == f"{running.listed['truncated']} pictures will be tried again.\n"
    assert wait_until(lambda: failures() == running.added["failed_by_reason"])


def test_hosts_that_cannot_be_reached_are_not_dead(running: Running, tmp_path: Path) -> None:
    path = tmp_path / "unreachable.tsv"
    path.write_text("".join(f"a picture\thttp://host-{number}.invalid/a.jpg\n" for number in range(2_000)))
    done = running.run("add", str(path), "--collection", "unreachable", "--wait")
    assert done.returncode == 1
    assert "2,000 pictures of batch" in done.stderr.decode() and "wait for the network" in done.stderr.decode()
    [batch] = re.findall(r"Batch (\d+): 2,000 accepted, 0 merged, 0 refused", done.stdout.decode())
    statement = f"""
        SELECT count(*) FILTER (WHERE status IN ('pending', 'leased')), count(*)
        FROM clipgres.job JOIN clipgres.batch_job USING (collection_id, image_id) WHERE batch_id = {batch}
    """
    assert running.run("psql", "-At", "-c", statement).stdout == b"2000|2000\n"
    assert running.run("collections", "delete", "unreachable", "--yes").returncode == 0


def test_the_doctor_finds_nothing_broken(running: Running) -> None:
    assert [finding for finding in running.json("doctor") if finding["health"] == "broken"] == []


def test_the_whole_stack_fits_in_1_5_gb(running: Running) -> None:
    up = psutil.Process(running.pid)
    assert sum(process.memory_full_info().pss for process in [up, *up.children(recursive=True)]) < 1_500_000_000


def test_a_second_stack_on_the_same_home_is_refused(running: Running) -> None:
    done = running.run("up", "--port", "0")
    assert done.returncode == 1
    assert running.url in done.stderr.decode()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("search", "x", "--collection", "nothing"), 'no collection "nothing"'),
        (("search", "x", "--where", "{"), "--where is not JSON"),
        (("search", "--like", "no-such-key"), "no-such-key"),
        (("add", "/no/such/file"), "No such file"),
        (("status", "999999"), "no batch 999999"),
    ],
)
def test_an_error_is_one_line_with_exit_code_1(running: Running, arguments: tuple[str, ...], says: str) -> None:
    done = running.run(*arguments)
    assert done.returncode == 1
    assert says in done.stderr.decode()
    assert done.stderr.decode().count("\n") == 1


@pytest.mark.parametrize("arguments", [("search",), ("search", "x", "--min-score", "many"), ("serve",)])
def test_wrong_usage_is_exit_code_2(running: Running, arguments: tuple[str, ...]) -> None:
    assert running.run(*arguments).returncode == 2
