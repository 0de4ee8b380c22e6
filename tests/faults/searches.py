"""Searches all the time, and counts those that were answered, refused cleanly, or anything else."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from itertools import count
from threading import Event, Thread
from urllib.parse import urlsplit

EVERY_S = 0.25
TIMEOUT_S = 60
REFUSED = {404, 503}  # no such collection yet; a server is away


@dataclass
class Searches:
    """A thread beside one round that searches over HTTP; the collection is set once there is one."""

    web: str
    collection: str
    answered: int = 0
    refused: int = 0
    others: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._over = Event()
        self._thread = Thread(target=self._run, name="searches", daemon=True)

    def __enter__(self) -> Searches:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        for number in count():
            if self._over.wait(EVERY_S):
                return
            # Every fourth text is new, so that its vector is made and kept.
            text = f"picture {number}" if number % 4 == 0 else "a picture"
            self._search({"text": text, "collection": self.collection, "top_k": 5})

    def _search(self, body: dict[str, object]) -> None:
        connection = HTTPConnection(urlsplit(self.web).netloc, timeout=TIMEOUT_S)
        try:
            connection.request("POST", "/api/search", json.dumps(body), {"Content-Type": "application/json"})
            response = connection.getresponse()
            document = json.loads(response.read())
            if response.status == 200 and isinstance(document["hits"], list):
                self.answered += 1
            elif response.status in REFUSED and document["title"]:
                self.refused += 1
            else:
                self.others[f"{response.status} {document}"[:300]] += 1
        except (OSError, HTTPException, ValueError, KeyError) as error:
            self.others[repr(error)[:300]] += 1
        finally:
            connection.close()
