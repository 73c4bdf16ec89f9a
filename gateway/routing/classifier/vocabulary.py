"""The facts of a token: six bytes, so that a text's facts are found at once.

The first byte is the kind of a word, or the class of a token that is no word. The second is the
number of the phrases that the token may begin (`phrases.find_phrase_start`). The third is the sign
of the languages that have the word. The fourth is unused, and the last two are the token's hash for
a learned classifier. The facts of a text are one bytes object, of which each fact is a column. The
code counts the first three as it counts bytes.
"""

from binascii import crc_hqx
from collections.abc import Set as AbstractSet
from struct import Struct

import msgspec

from gateway.routing.classifier import language, phrases
from gateway.routing.classifier.tokenizer import (
    MAX_CACHED_TOKEN_BYTES,
    MAX_CACHED_TOKENS,
    TOKEN,
    split_mixed,
    split_pieces,
)
from gateway.routing.classifier.word_lists import WORD_KINDS

_POINT, NUMBER, _MIXED, _MARK = range(252, 256)
"""The classes of tokens that are no words: a point or a comma; digits; letters and digits in one
piece; everything else."""
_NO_WORDS = bytes((_POINT, NUMBER, _MIXED, _MARK))
_MAX_NUMBER_DIGITS = 3
"""The maximum number of digits of a number to cache: a longer one is unlikely to come again."""
_MIXED_RATIO = 8
"""The number of pieces for each mixed one. If more than one piece in eight is mixed, the whole text
is split again."""
_FACTS = Struct("BBBxH")
_FACT_BYTES = _FACTS.size
_HASH_INDEX, _HASHES_PER_TOKEN = 2, 3
"""The facts seen as numbers of two bytes: the third of each three is the hash."""
_NUMBER_THEN_POINT, _POINT_THEN_NUMBER = bytes((NUMBER, _POINT)), bytes((_POINT, NUMBER))


class TextFacts(msgspec.Struct, frozen=True, gc=False):
    """The facts of a text's tokens, by column."""

    kinds: bytes
    """The kind of each token that is a word."""
    phrase_starts: set[int]
    """The numbers of the phrases that the tokens may begin."""
    language_signs: bytes
    """The language sign of each token that is a word."""
    number_count: int | None
    """The number of numbers; None if two of them may be one number with a point."""
    token_facts: bytes
    """The facts of all tokens."""

    def list_hashes(self) -> list[int]:
        """Return the hash of each token."""
        return memoryview(self.token_facts).cast("H")[_HASH_INDEX::_HASHES_PER_TOKEN].tolist()


class _TokenFacts(dict[bytes, bytes]):
    """The facts of all listed words, and of recent tokens."""

    def __init__(self) -> None:
        words = {word.encode(): 0 for word in WORD_KINDS if word.isascii()}
        super().__init__((word, _make_facts(word)) for word in {**words, **language.WORD_SIGNS})
        self.update((point, _make_facts(point)) for point in (b".", b","))
        self._word_list_facts = dict(self)
        self._max_entries = len(self) + MAX_CACHED_TOKENS

    def __missing__(self, token: bytes) -> bytes:
        facts = _make_facts(token)
        # No two prompts have the same long number: it would only push others out.
        if len(token) > (_MAX_NUMBER_DIGITS if token.isdigit() else MAX_CACHED_TOKEN_BYTES):
            return facts
        if len(self) >= self._max_entries:
            self.clear()
            self.update(self._word_list_facts)
        self[token] = facts
        return facts


def _make_facts(token: bytes) -> bytes:
    kind, phrase_start, sign = 0, 0, language.NO_SIGN
    if token.isdigit():
        kind = NUMBER
    elif token.isalpha():
        name = token.decode()
        kind, phrase_start = WORD_KINDS.get(name, 0), phrases.find_phrase_start(name)
        sign = language.WORD_SIGNS.get(token, 0)
    elif token in _POINTS:
        kind = _POINT
    else:
        # Letters of other scripts count as no word here, because their lists are looked up as
        # strings.
        kind = _MIXED if token.isalnum() else _MARK
    return _FACTS.pack(kind, phrase_start, sign, crc_hqx(token, 0))


_POINTS = (b".", b",")
_TOKEN_FACTS = _TokenFacts()
_find_facts = _TOKEN_FACTS.__getitem__


def find_text_facts(tokens: list[bytes]) -> TextFacts:
    """Return the facts of a text's tokens."""
    return _split_columns(find_token_facts(tokens))


def find_token_facts(tokens: list[bytes]) -> bytes:
    """Return the facts of each token, in order."""
    return b"".join(map(_find_facts, tokens))


def read_tokens(lower_text: bytes, marks: AbstractSet[int]) -> tuple[list[bytes], TextFacts]:
    """Return the tokens of ASCII text in lower case, and their facts.

    `marks` are the bytes of the text that are neither letters nor digits nor spaces.
    """
    tokens = split_pieces(lower_text, marks)
    token_facts = b"".join(map(_find_facts, tokens))
    classes = token_facts[::_FACT_BYTES]
    if _MIXED in classes:
        if _MIXED_RATIO * classes.count(_MIXED) > len(tokens):
            tokens = TOKEN.findall(lower_text)
        else:
            tokens = split_mixed(
                tokens, [index for index, fact in enumerate(classes) if fact == _MIXED]
            )
        token_facts = find_token_facts(tokens)
    return tokens, _split_columns(token_facts)


def _split_columns(token_facts: bytes) -> TextFacts:
    kinds_and_classes = token_facts[::_FACT_BYTES]
    may_have_points = (
        _NUMBER_THEN_POINT in kinds_and_classes and _POINT_THEN_NUMBER in kinds_and_classes
    )
    return TextFacts(
        kinds_and_classes.translate(None, _NO_WORDS),
        {*token_facts[1::_FACT_BYTES].translate(None, b"\0")},
        token_facts[2::_FACT_BYTES].translate(None, language.NO_SIGN_BYTES),
        None if may_have_points else kinds_and_classes.count(NUMBER),
        token_facts,
    )
