"""The small tokenizer: every word of the captions is one token, and any other word falls apart into letters."""

import string
from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from demo import captions
from demo.concepts import load_concepts
from demo.scenes import COLOUR_NAMES

# the end must not be number 2: CLIPTextModel takes that for a sign of its first, broken configuration
SPECIAL = ("[PAD]", "[UNK]", "[START]", "[END]")
MAX_TOKENS = 32


def build_tokenizer() -> PreTrainedTokenizerFast:
    """A lower-casing word-piece tokenizer over the words of the names and of the captions."""
    pieces = [*SPECIAL, *",:.-'", *string.ascii_lowercase, *string.digits]
    pieces += [f"##{letter}" for letter in string.ascii_lowercase + string.digits] + ["##es"]
    vocabulary = dict.fromkeys([*pieces, *sorted(_words())])
    numbers = {piece: number for number, piece in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.WordPiece(numbers, unk_token="[UNK]", max_input_chars_per_word=40))  # noqa: S106
    tokenizer.normalizer = normalizers.BertNormalizer(strip_accents=True, lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    ends = [(name, numbers[name]) for name in ("[START]", "[END]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[START] $A [END]", special_tokens=ends)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        model_max_length=MAX_TOKENS,
        pad_token="[PAD]",  # noqa: S106
        unk_token="[UNK]",  # noqa: S106
        bos_token="[START]",  # noqa: S106
        eos_token="[END]",  # noqa: S106
        padding_side="right",
    )


def _words() -> set[str]:
    texts: list[str] = [*COLOUR_NAMES, *captions.FILLERS, *captions.ADJECTIVES, *captions.ARTICLES, "an", "thing"]
    texts += [*captions.JOINS, *captions.FRAMES, *captions.GROUNDS, *captions.EMPTY, *captions.COUNTED]
    texts += [word for words in (captions.NUMBERS | captions.COLOUR_WORDS).values() for word in words]
    texts += ["to the left of", "to the right of", "above", "below", *captions.IRREGULAR.values()]
    names = [name for concept in load_concepts() for name in concept.names]
    words = set(_split([*texts, *names]))
    # a plural is its word and "##s" or "##es"; one that is spelt otherwise is a word of its own
    plurals = set(_split(captions.plural(name) for name in names))
    return words | {
        word for word in plurals if word.removesuffix("s") not in words and word.removesuffix("es") not in words
    }


def _split(texts: Iterable[str]) -> Iterable[str]:
    for text in texts:
        kept = "".join(letter if letter.isalnum() else " " for letter in text.replace("{c}", "").replace("{n}", ""))
        yield from kept.lower().split()
