"""The facts of a token: three bytes, so that a text's facts are found at once.

The first byte is the kind of a word, or the class of a token that is no word. The second is the
number of the phrases that the token may begin (`phrases.find_phrase_start`). The third is the sign
of the languages that have the word. The facts of a text are one bytes object, of which each of the
three is a column. The code counts them as it counts bytes.
"""

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
piece; everything else. No other column uses the value of `_MIXED`."""
_NO_WORDS = bytes((_POINT, NUMBER, _MIXED, _MARK))
_MAX_NUMBER_DIGITS = 3
"""The maximum number of digits of a number to cache: a longer one is unlikely to come again."""
_MIXED_RATIO = 8
"""The number of pieces for each mixed one. If more than one piece in eight is mixed, the whole text
is split again."""
_FACT_BYTES = 3
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


class _TokenFacts(dict[bytes, bytes]):
    """The facts of all listed words, and of recent tokens."""

    def __init__(self) -> None:
        words = {word.encode(): 0 for word in WORD_KINDS if word.isascii()}
        super().__init__(map(_make_word_facts, {**words, **language.WORD_SIGNS}))
        self.update((point, _make_other_facts(_POINT)) for point in (b".", b","))
        self._word_list_facts = dict(self)
        self._max_entries = len(self) + MAX_CACHED_TOKENS

    def __missing__(self, token: bytes) -> bytes:
        if token.isdigit():
            facts = _NUMBER_FACTS
            if (
                len(token) > _MAX_NUMBER_DIGITS
            ):  # no two prompts have the same long number: it would only push others out
                return facts
        elif token.isalpha():
            _, facts = _make_word_facts(token)
        else:
            # Letters of other scripts count as no word here, because their lists are looked up as
            # strings.
            facts = _make_other_facts(_MIXED if token.isalnum() else _MARK)
        if len(token) <= MAX_CACHED_TOKEN_BYTES:
            if len(self) >= self._max_entries:
                self.clear()
                self.update(self._word_list_facts)
            self[token] = facts
        return facts


def _make_word_facts(word: bytes) -> tuple[bytes, bytes]:
    name = word.decode()
    sign = language.WORD_SIGNS.get(word, 0)
    facts = bytes((WORD_KINDS.get(name, 0), phrases.find_phrase_start(name), sign))
    return word, _INTERN(facts)


def _make_other_facts(fact: int) -> bytes:
    return _INTERN(bytes((fact, 0, language.NO_SIGN)))


class _Interned(dict[bytes, bytes]):
    """A cache that returns one object for equal bytes: most tokens have the same facts."""

    def __missing__(self, value: bytes) -> bytes:
        self[value] = value
        return value


_INTERN = _Interned().__getitem__
_NUMBER_FACTS = _make_other_facts(NUMBER)
_TOKEN_FACTS = _TokenFacts()
_find_facts = _TOKEN_FACTS.__getitem__


def find_text_facts(tokens: list[bytes]) -> TextFacts:
    """Return the facts of a text's tokens."""
    return _split_columns(find_token_facts(tokens))


def find_token_facts(tokens: list[bytes]) -> bytes:
    """Return the facts of each token, in order: three bytes each."""
    return b"".join(map(_find_facts, tokens))


def read_tokens(lower_text: bytes, marks: bytes) -> tuple[list[bytes], TextFacts]:
    """Return the tokens of ASCII text in lower case, and their facts.

    `marks` are the bytes of the text that are neither letters nor digits, each once or more.
    """
    tokens = split_pieces(lower_text, marks)
    token_facts = b"".join(map(_find_facts, tokens))
    if _MIXED in token_facts:
        if _MIXED_RATIO * token_facts.count(_MIXED) > len(tokens):
            tokens = TOKEN.findall(lower_text)
        else:
            tokens = split_mixed(
                tokens,
                [index for index, fact in enumerate(token_facts[::_FACT_BYTES]) if fact == _MIXED],
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
    )
