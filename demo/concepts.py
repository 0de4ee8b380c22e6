"""The things the small model knows: which emoji show each one, and the names people give it.

`python -m demo.concepts` re-makes `concepts.json` from the PyPI package `emoji` and from the two hand-written lists
beside this file; nothing else needs that package.
"""

import json
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path

HERE = Path(__file__).parent
CONCEPTS_FILE = HERE / "concepts.json"
SYNONYMS_FILE = HERE / "synonyms.tsv"
LEFT_OUT_FILE = HERE / "left_out.txt"


@dataclass(frozen=True)
class Concept:
    """One thing: its usual name first, then synonyms, and the emoji that show it."""

    names: tuple[str, ...]
    emoji: tuple[str, ...]

    @property
    def name(self) -> str:
        """The usual name."""
        return self.names[0]


@cache
def load_concepts(path: Path = CONCEPTS_FILE) -> tuple[Concept, ...]:
    """Every concept the model knows, in the fixed order of the file."""
    rows: list[dict[str, list[str]]] = json.loads(path.read_text("utf-8"))
    return tuple(Concept(tuple(row["names"]), tuple(row["emoji"])) for row in rows)


def plain(name: str) -> str:
    """An emoji name as a person would type it: lower-case words without accents, brackets or underscores."""
    folded = unicodedata.normalize("NFKD", name.strip(":").replace("’", "'"))
    words = re.sub(r"\(.*?\)|[^a-z0-9' ]", " ", folded.encode("ascii", "ignore").decode().lower().replace("_", " "))
    return " ".join(words.split())


def read_left_out(path: Path = LEFT_OUT_FILE) -> re.Pattern[str]:
    """One pattern for the emoji that are abstract, or too alike to be told apart in a small picture."""
    lines = (line.split("#")[0].strip() for line in path.read_text("utf-8").splitlines())
    return re.compile("|".join(f"(?:{line})" for line in lines if line))


def read_synonyms(path: Path = SYNONYMS_FILE) -> list[tuple[list[str], list[str]]]:
    """Rows of (emoji names shown as one concept, the names people use, usual name first)."""
    rows = []
    for line in path.read_text("utf-8").splitlines():
        sources, _, names = line.partition("\t")
        rows.append(([part.strip() for part in sources.split("+")], [name.strip() for name in names.split(",")]))
    return rows


def emoji_by_name() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Plain name -> (emoji, plain aliases) for every emoji but flags of countries and skin tones."""
    module = import_module("emoji")
    left_out = read_left_out()
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    for symbol, data in module.EMOJI_DATA.items():
        name = plain(data["en"])
        flag = any(0x1F1E6 <= ord(char) <= 0x1F1FF for char in symbol)
        if data["status"] != module.STATUS["fully_qualified"] or flag or "skin tone" in name:
            continue
        aliases = (plain(alias) for alias in data.get("alias", ()))
        kept = (alias for alias in aliases if re.fullmatch(r"[a-z' ]{3,}", alias) and not left_out.fullmatch(alias))
        found[name] = (symbol, tuple(kept))
    return found


def build_concepts() -> list[Concept]:
    """Merge look-alikes, add the hand-written names, and give every name to one concept only."""
    known, left_out = emoji_by_name(), read_left_out()
    groups: list[tuple[list[str], list[str]]] = []
    merged: set[str] = set()
    for sources, names in read_synonyms():
        present = [source for source in sources if source in known]
        if missing := set(sources) - set(present):
            raise SystemExit(f"synonyms.tsv names unknown emoji: {sorted(missing)}")
        groups.append((present, names))
        merged.update(present)
    groups += [([name], [name]) for name in known if name not in merged and not left_out.fullmatch(name)]
    taken: set[str] = {names[0] for _, names in groups}
    return [_concept(sources, names, known, taken) for sources, names in sorted(groups, key=lambda g: g[1][0])]


def _concept(
    sources: list[str], names: list[str], known: dict[str, tuple[str, tuple[str, ...]]], taken: set[str]
) -> Concept:
    kept = [names[0]]
    for name in [*names[1:], *_offered(sources, known)]:
        if name not in taken:
            taken.add(name)
            kept.append(name)
    return Concept(tuple(kept), tuple(known[source][0] for source in sources))


def _offered(sources: list[str], known: dict[str, tuple[str, tuple[str, ...]]]) -> Iterator[str]:
    # a concept of many emoji (clocks, books) is named by hand: "five o'clock" would name one picture of it only
    for source in sources if len(sources) <= 2 else ():
        yield source
        yield from known[source][1]


def main() -> None:
    """Re-make the data file."""
    concepts = build_concepts()
    rows = [json.dumps({"names": c.names, "emoji": c.emoji}, ensure_ascii=False) for c in concepts]
    CONCEPTS_FILE.write_text("[\n" + ",\n".join(rows) + "\n]\n", "utf-8")
    print(f"{len(concepts)} concepts, {sum(len(c.names) for c in concepts)} names")


if __name__ == "__main__":
    main()
