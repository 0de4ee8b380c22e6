"""Texts to token ids that end where the model pools."""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Tokenizer
from transformers import AutoTokenizer, CLIPTextConfig

from clipgres.errors import ModelError
from clipgres.model_files import ModelFiles

# A text model that names this one pools at the highest id instead: what the oldest CLIP files say.
LEGACY_EOS = 2


class Tokens:
    """A tokenizer with the limit of its model; used from many threads, so none of its settings change after loading."""

    def __init__(self, tokenizer: Tokenizer, limit: int) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self.limit = limit

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """How many ids each text has, before cutting."""
        return [len(ids) for ids in self._encode(texts)]

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, cut so that the end stays."""
        return [ids if len(ids) <= self.limit else [*ids[: self.limit - 1], ids[-1]] for ids in self._encode(texts)]

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        # A lone surrogate cannot be encoded; it says nothing to the model either.
        readable = [text.encode("utf-8", "replace").decode() for text in texts]
        return [encoding.ids for encoding in self._tokenizer.encode_batch(readable)]


def load_tokens(files: ModelFiles, config: CLIPTextConfig) -> Tokens:
    """The tokenizer beside a model.

    Raises:
        ModelError: it cannot be read, or is not the one this model was made with.
    """
    directory = files.tokenizer()[0].parent
    try:
        loaded = AutoTokenizer.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
        tokens = Tokens(loaded.backend_tokenizer, config.max_position_embeddings)
    except Exception as error:
        # As broad as this because the parser underneath raises bare Exceptions.
        reason = str(error).partition("\n")[0]
        raise ModelError(f"the tokenizer of {files.name} cannot be loaded: {reason}") from error
    probe = tokens.ids(["a photo of two dogs", ""])
    ends_well = config.eos_token_id == LEGACY_EOS or all(ids[-1] == config.eos_token_id for ids in probe)
    if not ends_well or loaded.backend_tokenizer.get_vocab_size() > config.vocab_size:
        raise ModelError(
            f"the tokenizer of {files.name} does not belong to its model: texts must end with id "
            f"{config.eos_token_id}, and ids must be below {config.vocab_size:,}"
        )
    return tokens
