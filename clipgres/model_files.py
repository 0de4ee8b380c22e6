"""Where the files of a model are: a directory, the bundled tiny-clip, or a pinned revision on the hub."""

from __future__ import annotations

import hashlib
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from clipgres.errors import ModelError
from clipgres.settings import DEFAULT_MODEL

DEFAULT_REVISION = "3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268"
TINY = "tiny-clip"

CONFIG = ("config.json",)
PROCESSORS = ("preprocessor_config.json", "processor_config.json")
SAFETENSORS, SHARDS, PICKLE = "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"
WEIGHTS = (SAFETENSORS, SHARDS, PICKLE)
TOKENIZERS = ("tokenizer.json", "vocab.json")
TOKENIZER_EXTRAS = ("merges.txt", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")

HUB_TIMEOUT_S = 5


class ModelFiles(ABC):
    """The files of one model at one revision."""

    name: str

    @property
    @abstractmethod
    def revision(self) -> str:
        """40 hex digits that change whenever the vectors could."""

    @abstractmethod
    def find(self, filename: str) -> Path | None:
        """The local path of a file, fetched if it must be; None if the model has no such file.

        Raises:
            ModelError: whether it has cannot be found out.
        """

    def first(self, names: tuple[str, ...]) -> Path:
        """The first of these files that the model has.

        Raises:
            ModelError: it has none of them.
        """
        for name in names:
            if path := self.find(name):
                return path
        raise ModelError(f"the model {self.name} has no {' or '.join(names)}: not a complete CLIP model")

    def read(self, names: tuple[str, ...]) -> dict[str, Any]:
        """The first of these JSON files, parsed.

        Raises:
            ModelError: there is none, or it is not a JSON object.
        """
        path = self.first(names)
        try:
            value = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise ModelError(f"the model {self.name}: {path.name} cannot be read: {error}") from error
        if not isinstance(value, dict):
            raise ModelError(f"the model {self.name}: {path.name} is not a JSON object")
        return value

    def weights(self) -> list[Path]:
        """The weights, with their index in front if they are in shards; safetensors wherever there is one."""
        path = self.first(WEIGHTS)
        if path.name != SHARDS:
            return [path]
        shards = sorted({str(name) for name in self.read((SHARDS,)).get("weight_map", {}).values()})
        if any(Path(name).name != name or not name.endswith(".safetensors") for name in shards):
            raise ModelError(f"the model {self.name}: {SHARDS} names something that is not a shard beside it")
        return [path, *(self.first((name,)) for name in shards)]

    def tokenizer(self) -> list[Path]:
        """What the tokenizer is made of."""
        extras = (self.find(name) for name in TOKENIZER_EXTRAS)
        return [self.first(TOKENIZERS), *(path for path in extras if path)]


class DirectoryFiles(ModelFiles):
    """A model in a directory; its revision is a hash of what determines its vectors."""

    def __init__(self, directory: Path, name: str) -> None:
        self.directory = directory
        self.name = name

    @cached_property
    def revision(self) -> str:
        digest = hashlib.sha256()
        for path in self._decisive():
            with path.open("rb") as file:
                content = hashlib.file_digest(file, "sha256").hexdigest()
            digest.update(f"{path.name} {content}\n".encode())
        return digest.hexdigest()[:40]

    def find(self, filename: str) -> Path | None:
        path = self.directory / filename
        return path if path.is_file() else None

    def _decisive(self) -> Iterator[Path]:
        yield self.first(CONFIG)
        yield self.first(PROCESSORS)
        yield from self.tokenizer()
        yield from self.weights()


class HubFiles(ModelFiles):
    """A pinned revision of a model on the hub, in the hub client's own cache."""

    def __init__(self, name: str, revision: str) -> None:
        self.name = name
        self._revision = revision
        self._unreachable: Exception | None = None

    @property
    def revision(self) -> str:
        return self._revision

    def find(self, filename: str) -> Path | None:
        cached = try_to_load_from_cache(self.name, filename, revision=self._revision)
        if isinstance(cached, str):
            return Path(cached)
        if cached is not None or self._unreachable:
            return None
        return self._fetch(filename)

    def first(self, names: tuple[str, ...]) -> Path:
        try:
            return super().first(names)
        except ModelError as error:
            if self._unreachable is None:
                raise
            raise ModelError(
                f"the model {self.name} is not on this machine and the hub cannot be reached: connect once, "
                f"or set CLIPGRES_MODEL to a directory, or to {TINY} to try things"
            ) from (self._unreachable or error)

    def _fetch(self, filename: str) -> Path | None:
        try:
            # Asked once, without the retries of the download: those take 23 s to find out that there is no network.
            get_hf_file_metadata(hf_hub_url(self.name, filename, revision=self._revision), timeout=HUB_TIMEOUT_S)
            return Path(hf_hub_download(self.name, filename, revision=self._revision))
        except RevisionNotFoundError as error:
            raise ModelError(f"the model {self.name} has no revision {self._revision} on the hub") from error
        except RepositoryNotFoundError as error:
            raise ModelError(f"there is no model {self.name} on the hub, or it needs `hf auth login`") from error
        except LocalEntryNotFoundError as error:
            self._unreachable = error
        except EntryNotFoundError:
            pass
        except HfHubHTTPError as error:
            raise ModelError(f"the hub did not give {filename} of {self.name}: {_first_line(error)}") from error
        except PermissionError as error:
            raise ModelError(f"{filename} of {self.name} cannot be kept: {error}; set HF_HOME elsewhere") from error
        except Exception as error:
            # As broad as this because the hub client changed its HTTP library, and so its errors, with each version.
            self._unreachable = error
        return None


def open_model(model: str, revision: str | None = None) -> ModelFiles:
    """Find a model by what `CLIPGRES_MODEL` and `CLIPGRES_MODEL_REVISION` say.

    Raises:
        ModelError: it is none of the three kinds, or its revision is missing or another one.
    """
    if model == TINY:
        return _checked(DirectoryFiles(_bundled(), TINY), revision)
    if model and Path(model).expanduser().is_dir():
        directory = Path(model).expanduser().resolve()
        return _checked(DirectoryFiles(directory, directory.name), revision)
    if not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", model, re.ASCII):
        raise ModelError(
            f'there is no model "{model}": CLIPGRES_MODEL is {TINY}, a directory, or a hub id such as {DEFAULT_MODEL}'
        )
    if model == DEFAULT_MODEL:
        revision = revision or DEFAULT_REVISION
    if not re.fullmatch(r"[0-9a-f]{40}", revision or ""):
        raise ModelError(
            f"the model {model} needs a fixed revision: set CLIPGRES_MODEL_REVISION to the 40 hex digits of a commit "
            "(on the hub: Files, History)"
        )
    return HubFiles(model, str(revision))


def _checked(files: DirectoryFiles, revision: str | None) -> DirectoryFiles:
    if revision is not None and revision != files.revision:
        raise ModelError(
            f"the model {files.name} is not at revision {revision} but at {files.revision}: "
            "unset CLIPGRES_MODEL_REVISION to take it as it is"
        )
    return files


def _bundled() -> Path:
    try:
        directory = Path(str(resources.files("demo").joinpath(TINY)))
    except ModuleNotFoundError as error:
        raise ModelError(f"{TINY} is not part of this installation: install clipgres again") from error
    if not directory.is_dir():
        raise ModelError(f"{TINY} is not part of this installation: there is no {directory}")
    return directory


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
