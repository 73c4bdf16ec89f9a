"""What is known of a token: three bytes, so that those of a text are found at once.

The first is its fact: of a word its kind, of what is no word what it is. The second
is what it may begin, as `phrase` numbers it; the third the languages that it speaks for. Each is a
column of all that is known of a text, and is counted as bytes are.
"""

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
"""A point or a comma; digits; letters and digits in one piece; all else. No other column has the
third."""
_NO_WORDS = bytes((_POINT, NUMBER, _MIXED, _MARK))
_MAX_NUMBER_DIGITS = 3
"""Digits of a number that is likely to be seen again."""
_MIXED_RATIO = 8
"""One in so many pieces of a text may have to be parted for itself."""
_FACT_BYTES = 3
_NUMBER_THEN_POINT, _POINT_THEN_NUMBER = bytes((NUMBER, _POINT)), bytes((_POINT, NUMBER))


class _TokenFacts(dict[bytes, bytes]):
    """Of the words of all lists, and of the tokens of late."""

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
            ):  # no two prompts have the same: it would only push others out
                return facts
        elif token.isalpha():
            _, facts = _make_word_facts(token)
        else:
            # Letters of other scripts are no word here: their lists are looked up as strings.
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
    """Equal ones are one: of most tokens the same is known."""

    def __missing__(self, value: bytes) -> bytes:
        self[value] = value
        return value


_INTERN = _Interned().__getitem__
_NUMBER_FACTS = _make_other_facts(NUMBER)
_TOKEN_FACTS = _TokenFacts()
_find_facts = _TOKEN_FACTS.__getitem__


def find_token_facts(tokens: list[bytes]) -> bytes:
    """Of each token, in order: three bytes."""
    return b"".join(map(_find_facts, tokens))


def read_tokens(lower_text: bytes, marks: bytes) -> tuple[list[bytes], bytes]:
    """The tokens of ASCII in lower case, and what is known of them.

    `marks` are its bytes, once or more, that are neither letters nor digits.
    """
    tokens = split_pieces(lower_text, marks)
    token_facts = b"".join(map(_find_facts, tokens))
    if _MIXED in token_facts:
        if _MIXED_RATIO * token_facts.count(_MIXED) > len(tokens):
            tokens = TOKEN.findall(lower_text)
        else:
            tokens = split_mixed(
                tokens,
                [index for index, fact in enumerate(get_facts(token_facts)) if fact == _MIXED],
            )
        token_facts = find_token_facts(tokens)
    return tokens, token_facts


def get_facts(token_facts: bytes) -> bytes:
    """By what is known: the fact of each token."""
    return token_facts[::_FACT_BYTES]


def get_kinds(token_facts: bytes) -> bytes:
    """By what is known: the kind of each token that is a word."""
    return token_facts[::_FACT_BYTES].translate(None, _NO_WORDS)


def get_phrase_starts(token_facts: bytes) -> set[int]:
    """By what is known: what tokens of the text may begin."""
    return {*token_facts[1::_FACT_BYTES].translate(None, b"\0")}


def get_language_signs(token_facts: bytes) -> bytes:
    """By what is known: of each word the sign of the languages that it speaks for."""
    return token_facts[2::_FACT_BYTES].translate(None, language.NO_SIGN_BYTES)


def count_numbers(token_facts: bytes) -> int | None:
    """By what is known: how many numbers there are; None where two may be one with a point."""
    facts = token_facts[::_FACT_BYTES]
    return (
        None if _NUMBER_THEN_POINT in facts and _POINT_THEN_NUMBER in facts else facts.count(NUMBER)
    )
