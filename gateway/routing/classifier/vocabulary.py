"""What is known of a token: three bytes, so that those of a text are found at once.

The first is its fact: of a word its kind and its topic, of what is no word what it is. The second
is what it may begin, as `phrase` numbers it; the third the languages that it speaks for. Each is a
column of all that is known of a text, and is counted as bytes are.
"""

from gateway.routing.classifier import language, phrases
from gateway.routing.classifier.tokenizer import KEPT, MOST_KEPT, TOKEN, parted, pieces
from gateway.routing.classifier.word_lists import CODES, LEXICON, TOPIC

_BASE = 1 + len(CODES)
_POINT, NUMBER, _MIXED, _MARK = range(252, 256)
"""A point or a comma; digits; letters and digits in one piece; all else. No other column has the
third."""
_NO_WORDS = bytes((_POINT, NUMBER, _MIXED, _MARK))
_SHORT = 3
"""Digits of a number that is likely to be seen again."""
_MANY = 8
"""One in so many pieces of a text may have to be parted for itself."""
_KINDS = bytes(at % _BASE for at in range(256))
_TOPICS = bytes(at // _BASE if at < _POINT else 0 for at in range(256))
_WIDTH = 3
_POINTED, _POINTING = bytes((NUMBER, _POINT)), bytes((_POINT, NUMBER))


class _Known(dict[bytes, bytes]):
    """Of the words of all lists, and of the tokens of late."""

    def __init__(self) -> None:
        words = {word.encode(): 0 for word in LEXICON if word.isascii()}
        super().__init__(map(_word, {**TOPIC, **words, **language.SIGNS}))
        self.update((point, _other(_POINT)) for point in (b".", b","))
        self._listed = dict(self)
        self._most = len(self) + MOST_KEPT

    def __missing__(self, one: bytes) -> bytes:
        if one.isdigit():
            found = _A_NUMBER
            if len(one) > _SHORT:  # no two prompts have the same: it would only push others out
                return found
        elif one.isalpha():
            _, found = _word(one)
        else:
            # Letters of other scripts are no word here: their lists are looked up as strings.
            found = _other(_MIXED if one.isalnum() else _MARK)
        if len(one) <= KEPT:
            if len(self) >= self._most:
                self.clear()
                self.update(self._listed)
            self[one] = found
        return found


def _word(word: bytes) -> tuple[bytes, bytes]:
    name = word.decode()
    fact = TOPIC.get(word, 0) * _BASE + LEXICON.get(name, 0)
    return word, _SAME(bytes((fact, phrases.begun(name), language.SIGNS.get(word, 0))))


def _other(fact: int) -> bytes:
    return _SAME(bytes((fact, 0, language.NONE)))


class _Same(dict[bytes, bytes]):
    """Equal ones are one: of most tokens the same is known."""

    def __missing__(self, one: bytes) -> bytes:
        self[one] = one
        return one


_SAME = _Same().__getitem__
_A_NUMBER = _other(NUMBER)
_KNOWN = _Known()
_known = _KNOWN.__getitem__


def known(tokens: list[bytes]) -> bytes:
    """Of each token, in order: three bytes."""
    return b"".join(map(_known, tokens))


def read(low: bytes, marks: bytes) -> tuple[list[bytes], bytes]:
    """The tokens of ASCII in lower case, and what is known of them.

    `marks` are its bytes, once or more, that are neither letters nor digits.
    """
    found = pieces(low, marks)
    of = b"".join(map(_known, found))
    if _MIXED in of:
        if _MANY * of.count(_MIXED) > len(found):
            found = TOKEN.findall(low)
        else:
            found = parted(found, [at for at, fact in enumerate(facts(of)) if fact == _MIXED])
        of = known(found)
    return found, of


def facts(of: bytes) -> bytes:
    """By what is known: the fact of each token."""
    return of[::_WIDTH]


def kinds(of: bytes) -> bytes:
    """By what is known: the kind of each token that is a word."""
    return of[::_WIDTH].translate(_KINDS, _NO_WORDS)


def topics(of: bytes) -> bytes:
    """By what is known: the topic of each token."""
    return of[::_WIDTH].translate(_TOPICS)


def begun(of: bytes) -> set[int]:
    """By what is known: what tokens of the text may begin."""
    return {*of[1::_WIDTH].translate(None, b"\0")}


def languages(of: bytes) -> bytes:
    """By what is known: of each word the sign of the languages that it speaks for."""
    return of[2::_WIDTH].translate(None, language.NO_WORDS)


def numbers(of: bytes) -> int | None:
    """By what is known: how many numbers there are; None where two may be one with a point."""
    found = of[::_WIDTH]
    return None if _POINTED in found and _POINTING in found else found.count(NUMBER)
