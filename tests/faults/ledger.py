"""What was asked of the stack in one round: each list, how each of its URLs must end, and what adding it answered."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from clipgres.collections import Collection
from clipgres.destination import destination
from clipgres.enqueue import Added, enqueue
from clipgres.errors import Conflict, Unavailable
from clipgres.lists import open_list
from clipgres.reasons import Reason
from tests.faults.stack import Stack

AGAIN_S = 0.3
PATIENCE_S = 120.0
CAPTION_CHARS = 1_000


@dataclass(frozen=True, slots=True)
class WorkList:
    """A list on disk for one collection, how its URLs must end, and how many lines it has."""

    collection: str
    path: Path
    ends: Mapping[str, Reason | None]
    lines: int


@dataclass
class Ledger:
    """The lists that were taken, each with what the client was told."""

    stack: Stack
    folder: Path
    taken: list[tuple[WorkList, Added]] = field(default_factory=list)
    collections: dict[str, Collection] = field(default_factory=dict)
    refusals: list[str] = field(default_factory=list)

    def write(self, collection: str, ends: Mapping[str, Reason | None], *, name: str = "", copies: int = 1) -> WorkList:
        """Write a list of URLs, each line `copies` times."""
        path = self.folder / f"{collection}{name}.jsonl"
        rows = [json.dumps({"url": url, "caption": f"picture {place}"}) for place, url in enumerate(ends)]
        path.write_text("".join(f"{row}\n" for row in rows * copies))
        return WorkList(collection, path, ends, len(rows) * copies)

    def add(self, wanted: WorkList) -> None:
        """Add a list as a patient client does: again and again until it is taken, each refusal noted."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                collection = destination(self.stack.engine, wanted.collection, self.stack.encoders)
                opened = open_list(wanted.path, caption_max_chars=CAPTION_CHARS)
                self.note(wanted, collection, enqueue(self.stack.engine, collection, opened))
                return
            except (Unavailable, Conflict) as error:
                self.refusals.append(str(error))
                if time.monotonic() > deadline or self.stack.is_over.is_set():
                    raise
                time.sleep(AGAIN_S)

    def note(self, wanted: WorkList, collection: Collection, added: Added) -> None:
        """Note a list that was taken."""
        self.collections[wanted.collection] = collection
        self.taken.append((wanted, added))

    def ends(self) -> dict[tuple[int, str], Reason | None]:
        """How each URL that was taken must end, by collection."""
        return {
            (self.collections[wanted.collection].id, url): reason
            for wanted, _ in self.taken
            for url, reason in wanted.ends.items()
        }
