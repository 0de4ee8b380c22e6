"""X-Robots-Tag: what a reply says about its use, and whether that is a wish to be left out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from clipgres.fetching.errors import failure
from clipgres.reasons import Reason

HEADER = "X-Robots-Tag"
WORDS_MAX_CHARS = 100
# Directives that carry a value behind a colon, as the name of a crawler carries its directives.
_VALUED = frozenset({"unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"})


@dataclass(frozen=True, slots=True)
class OptOut:
    """The directives that are obeyed, when they are addressed to everyone or to the crawler called `token`."""

    token: str
    directives: frozenset[str]

    @classmethod
    def from_setting(cls, text: str, token: str) -> OptOut:
        """Read `CLIPGRES_FETCH_OPT_OUT`, a comma-separated list; an empty one obeys nothing."""
        return cls(token, frozenset(word.strip().lower() for word in text.split(",") if word.strip()))

    def check(self, headers: Iterable[str]) -> None:
        """Return unless one of a reply's X-Robots-Tag headers asks not to use it.

        Raises:
            PermanentImageError: one does.
        """
        for header in headers:
            for name, directive in directives_of(header):
                if name in ("", "*", self.token) and directive in self.directives:
                    words = header.strip()[:WORDS_MAX_CHARS]
                    raise failure(Reason.OPTED_OUT, f"{Reason.OPTED_OUT.gloss}: {words}")


def directives_of(header: str) -> Iterator[tuple[str, str]]:
    """The (name, directive) pairs of one header in lower case; a name counts until the next one, "" is everyone."""
    name = ""
    for word in header.lower().split(","):
        before, colon, after = (part.strip() for part in word.partition(":"))
        if colon and before not in _VALUED:
            name, before = before, after
        yield name, before
