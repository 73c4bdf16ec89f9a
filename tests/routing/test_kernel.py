"""The compiled reading of a prompt says what Python says, to the last bit, whatever the prompt."""

import ctypes
import sys
from itertools import repeat
from pathlib import Path
from random import Random

import msgspec
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from gateway.core.decision_context import Score
from gateway.evaluation.training import refit
from gateway.routing.classifier import (
    heuristic,
    language,
    native,
    phrases,
    text_features,
    text_signals,
    word_lists,
)
from gateway.routing.classifier import model_file as files
from gateway.routing.classifier.learned import LearnedClassifier
from gateway.routing.classifier.native import model as models
from gateway.routing.classifier.native import text as texts
from gateway.routing.classifier.scan import scan_text
from gateway.routing.classifier.text_signals import TextScan, read_signals
from gateway.runtime.build import SHIPPED_MODEL
from tests.evaluation.training import lesson
from tests.routing.classifier.test_trees import grown

LESSON = lesson.learnt()[0]
CUTS = tuple((0.0, 0.2, 1.0, 2.0) for _ in text_features.SHAPE_NAMES)
TREES = [grown(Random(at), 8, CUTS) for at in range(20)]
CLASSIFIERS = [
    LearnedClassifier(files.read(SHIPPED_MODEL.read_bytes())),
    LearnedClassifier(LESSON),
    LearnedClassifier(refit.refit(LESSON, lesson.rows()[:160])),
    LearnedClassifier(
        msgspec.structs.replace(
            LESSON,
            cuts=CUTS,
            trees=tuple(map(len, TREES)),
            forest=b"".join(node for tree in TREES for node in tree),
            mix=files.ScoreMix(strange=0.0),
        )
    ),
    LearnedClassifier(
        msgspec.structs.replace(
            LESSON,
            means=(0.0,) * len(CUTS),
            spreads=(1000.0,) * len(CUTS),
            forms=tuple(
                tuple(map(Random(at).uniform, repeat(-9), repeat(9, len(CUTS)))) for at in range(4)
            ),
            beats=tuple(map(Random(9).uniform, repeat(-9), repeat(9, len(CUTS) + 1))),
            known=bytes((255,)) * files.KNOWN_BYTES,
        )
    ),
]
"""What ships, one of few labels, one with labels of an owner, one that parts at numbers themselves, one
to which each number counts, however large it is."""
PLAIN = [word for word in (*word_lists.WORD_KINDS, *language._POINTS_BY_WORD) if word.isascii()]
marks = st.sampled_from(
    [chr(at) for at in range(0x80, 0x20000) if not texts._OTHER_CHARACTER.search(chr(at))]
)
pieces = st.sampled_from([
    *PLAIN, *(word.decode() for word in (*word_lists.WORD_TOPICS, *text_features.WORD_ROLES)),
    *(one for one in phrases.ALL_PHRASES if one.isascii()), *text_signals.TRACES_WITH_LINE,
    *[*text_signals.TOKENS_WITH_MARK, text_signals.FENCE_MARK] * 3,
    *(one for one in text_signals.FACT_OPENINGS if one.isascii()), *(f"\\{name}" for name in text_signals.LATEX_COMMANDS),
    *lesson.HARD, *lesson.EASY, *lesson.PLAIN, *["", " ", " ", " ", ". ", ", ", "? ", "! ", "\n"] * 9,
    *("x^2 = 4", "f(n) =3", "a == b", "=", "= ", "+", "*", "(", ")", "]", "}", "\\", "_", "__", "___", "$"),
    *("12", "3.14", "2,000", "5, 6.", "1..2", ".5", "7.", "4k", "b2b", "123456", "12345", "\t", "\x1c", "\x7f"),
    *("    ", "for ", "if ", "def ", "boxed", "You are", "THE", "Don't", "{", "[", "%", ";", ":"),
    *("\nA. one", "\nB) 12 kg", "\n(C) all of the above", "\nD. ", "\nE."),
    *["\u201c", "\u2019", "\u2026", "\U0001f600"] * 3,
])  # fmt: skip
prompts = (
    st.text(st.characters(max_codepoint=127) | marks)
    | st.lists(pieces).map("".join)
    | st.lists(pieces | marks).map("".join)
)
"""Texts with words of all lists, phrases, code, formulas, options, numbers and marks."""


def same(text: str) -> None:
    """That both say the same of a text, and of what it needs."""
    found, seen = texts.read(text), TextScan(text)
    assert found is not None
    known = seen.signals()
    assert repr(found.signals()) == repr(known)
    assert (found.code, found.maths, found.trace) == (seen.code, seen.maths, seen.trace)
    assert found.language == seen.language
    for classifier in CLASSIFIERS:
        assert classifier._native_model is not None
        for base in (heuristic.HeuristicClassifier(), Other()):
            compiled = classifier._native_model.score(found, known, base)
            assert compiled == in_python(classifier, seen, base.score(text, known))


class Other(heuristic.HeuristicClassifier):
    """A classifier that is not the formula of the prior."""

    def score(self, text: str, signals: text_signals.TextSignals) -> Score:
        """Always the same."""
        return Score(fast=0.3, smart=0.9)


def in_python(classifier: LearnedClassifier, seen: TextScan, base: Score) -> Score:
    tokens = seen.tokens
    each = {*tokens}
    sums, count = classifier._lanes.sum_tokens(tokens, each)
    numbers = text_features.compute_shape(seen, seen.signals(), tokens, each)
    return classifier._make_score(classifier._combine(sums, count, numbers, base))


@given(prompts)
@example("")
@example("a")
@example("\n" * 3)
@example("=== == = (= ) = (x] = y")
@example("a_b = -c + d")
@example("\\frac\\fraction\\in\\int\\leq")
@example("def f(): return 1 === 1 && 2 &&& 3")
@example("You are 12345. Boxed boxed!\x1c")
def test_it_says_what_python_says(text: str) -> None:
    same(text)


@given(prompts, st.integers(0, 3000))
def test_a_long_text_is_read_as_far(text: str, more: int) -> None:
    """Wherever it is cut: for its language at 240 and the last 120, and all of it at 3,000."""
    long = (text or "word ") * (1 + more // max(len(text), 1))
    whole = long[:more] + text
    assume(len(text_signals.read_excerpt(whole).text.encode()) <= texts._MAX_BYTES)
    same(whole)


@pytest.mark.parametrize("more", range(24))
def test_a_word_may_be_cut_anywhere(more: int) -> None:
    words = "the quick und der Hund est une les with "
    same(" " * more + words * 12)
    same(words * 12 + "x" * more)


@pytest.mark.parametrize("size", [360, 361, 362, 600])
def test_a_language_is_told_by_the_same_characters(size: int) -> None:
    """One word decides it: wherever it begins and however much of it is read."""
    for word in ("schreibe", "voordelen een", "dann"):
        for at in (*range(225, 245), *range(size - 135, size - 110), size - len(word)):
            text = ("1" * at + f" {word} ").ljust(size, "2")
            same(text[:size])
            same(f"the {text}"[:size])


SOUGHT = [
    *phrases.ALL_PHRASES, *text_signals.TRACES_WITH_LINE, *text_signals.TOKENS_WITH_MARK, text_signals.FENCE_MARK,
    *text_signals.FACT_OPENINGS, *(f"\\{name} " for name in text_signals.LATEX_COMMANDS), "________", "; % [ { :",
]  # fmt: skip


def test_whatever_is_looked_for_is_found() -> None:
    for one in SOUGHT:
        if one.isascii():
            for text in (one, one * 2, f"Is {one} here?", f"x{one}y", one[:-1], one[1:]):
                same(text)
                same(f"{text}\n1 {text}" * 9)


def test_each_word_is_in_its_lists() -> None:
    """Alone, at both ends and in the middle of a longer text, and in part."""
    for word in {*PLAIN, *(word.decode() for word in text_features.WORD_ROLES)}:
        same(f"{word} {'so ' * 20}{word}x {word.upper()} {'so ' * 20}x{word} {word}?")


def test_marks_are_counted_up_to_what_counts() -> None:
    """Each alone and among others, from none to more than any limit."""
    for mark in "\\$_=+*/^<>%{[]();:,.?!\"'-#\u2014\u201c":
        for many in range(45):
            same(f"it {mark * many} is")
            same(f"it{f' {mark}' * many} is?")


def test_words_are_counted_up_to_what_counts() -> None:
    for word in (
        "prove",
        "why",
        "write",
        "translate",
        "thanks",
        "integral",
        "code",
        "for",
        "if",
        "def",
        "kg",
    ):
        for many in range(9):
            same(f"{word} " * many)
            same(f"so {word} {many} " * many)


def test_of_two_languages_that_are_level_none_is_told() -> None:
    for words in (
        "hund katze",
        "the der",
        "le die and und",
        "de de de",
        "el el le le",
        "lar ler ity",
    ):
        same(words)


def test_labelled_prompts_are_read_alike(outcomes_file: Path) -> None:
    """Of benchmarks and of people."""
    duckdb = pytest.importorskip("duckdb")
    asked = "select distinct prompt from read_parquet(?)"
    rows = duckdb.execute(asked, [str(outcomes_file)]).fetchall()
    found = [text for (text,) in sorted(rows) if texts.read(text) is not None]
    assert len(found) > 0.9 * len(rows)
    for text in found[::7]:
        same(text)


@pytest.mark.parametrize(
    "text",
    ["d\u00e9j\u00e0 vu", "x\u00b2", "\u2460", "one\u00a0two", "\ud800", "\u2192 \u21d2", "\u2014" * 1400],
)  # fmt: skip
def test_what_it_is_not_for_is_read_in_python(text: str) -> None:
    """Other letters, digits and spaces, signs of maths, and more bytes than it takes."""
    assert texts.read(text) is None
    assert isinstance(scan_text(text), TextScan)
    assert isinstance(scan_text("seen before"), texts.NativeText)


def test_a_mark_is_no_letter_no_digit_no_space_and_in_no_list() -> None:
    lists = [
        *word_lists.WORD_KINDS,
        *phrases.ALL_PHRASES,
        *text_signals.FACT_OPENINGS,
        *text_signals.FACT_ENDINGS,
    ]
    known = {*"".join(lists), *"¿？。！×÷≤≥√"}  # noqa: RUF001 - what patterns look for
    for at in range(0x80, sys.maxunicode + 1):
        mark = chr(at)
        if texts._OTHER_CHARACTER.search(mark) is None:
            assert not mark.isalnum()
            assert not mark.isspace()
            assert mark.lower() == mark
            assert mark not in known
            assert text_signals._MATHS_SYMBOL.search(mark) is None


def test_a_classifier_without_the_library_is_one_in_python(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled, text = LearnedClassifier(LESSON), " ".join(lesson.HARD)
    expected = compiled.score(text, read_signals(text))
    with monkeypatch.context() as patched:
        patched.setattr(models, "load_word_lists", lambda: None)
        plain = LearnedClassifier(LESSON)
        assert plain._native_model is None
        assert plain.score(text, read_signals(text)) == expected
    monkeypatch.setattr(texts, "load_word_lists", lambda: None)
    assert isinstance(scan_text(text + "!"), TextScan)


def test_why_there_is_no_library_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "kernel.so"
    monkeypatch.setattr(native, "LIBRARY", other)
    ask = native.library.__wrapped__
    assert ask() == "there was no C compiler where it was installed"
    monkeypatch.setattr(texts, "library", ask)
    assert texts.load_word_lists.__wrapped__() is None
    other.write_text("no library")
    assert ask().startswith("it cannot be loaded: ")
    monkeypatch.undo()
    monkeypatch.setattr(native, "_VERSION", 2)
    assert ask() == "it is of version 1, not 2: install it again"


def test_a_library_of_something_else_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "LIBRARY", Path(sys.modules["_ctypes"].__file__ or ""))
    assert "tiergate_kernel" in str(native.library.__wrapped__())


def test_records_that_are_none_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is read past their end."""
    whole = texts._records()
    for records in ([b"\0" * 7], [b"\0" * 8], [whole[0][:-1]], [b"\x0a" + whole[0][1:]],
                    [bytes((1, *[0] * 6, 1)) + b"x"], [bytes((8, *[0] * 6, 33)) + b"x" * 33],
                    [bytes((1, *[0] * 6, 2)) + b"xy"] * 129, [bytes((0, *[0] * 6, 1)) + b"x"] * (1 << 14)):  # fmt: skip
        monkeypatch.setattr(texts, "_records", lambda records=records: records)
        assert texts.load_word_lists.__wrapped__() is None


NODE = files.NODE_STRUCT.pack
LEAF = NODE(files.LEAF_NUMBER, 128, 0)


@pytest.mark.parametrize(
    "changes",
    [
        {"trees": (1,), "forest": NODE(0, 0, 0)},  # a node with no side
        {"trees": (3,), "forest": NODE(0, 0, 0) + LEAF * 2},  # a way back
        {"trees": (3,), "forest": NODE(0, 0, 3) + LEAF * 2},  # a way out
        {"trees": (3,), "forest": NODE(0, 200, 2) + LEAF * 2},  # a cut that there is not
        {"trees": (3,), "forest": NODE(200, 0, 2) + LEAF * 2},  # a number that there is not
        {"trees": (2,), "forest": LEAF},
        {"trees": (0,), "forest": b""},
        {"terms": b""},
        {"table": b"\0"},
        {"scales": (1.0,)},
        {"size": 1 << 16, "terms": bytes(4 << 16), "table": bytes(7 << 16)},
    ],
)
def test_a_classifier_that_does_not_fit_is_refused(changes: dict[str, object]) -> None:
    """It is read in Python, which has checked it; nothing is read past an end."""
    cuts = ((0.5,), *[()] * (len(text_features.SHAPE_NAMES) - 1))
    small = msgspec.structs.replace(LESSON, cuts=cuts, trees=(3,), forest=NODE(0, 0, 2) + LEAF * 2)
    classifier = LearnedClassifier(small)
    assert classifier._native_model is not None
    other = msgspec.structs.replace(small, **changes)
    made = models.build_native_model(
        other, classifier._ranges, classifier._weights, classifier._bases
    )
    assert made is None


def test_a_library_takes_numbers_of_its_own_sizes_alone() -> None:
    """Any sizes, with any bytes behind them: it makes a classifier or refuses them."""
    known, chance = texts.load_word_lists(), Random(11)
    assert known is not None
    make = known.library.tiergate_model
    for _ in range(2000):
        sizes = [chance.choice((0, 1, 2, 3, 7, 8, 99, 1 << 16, (1 << 32) - 1)) for _ in range(120)]
        data = (ctypes.c_uint32 * 120)(*sizes)
        doubles = bytes(8 * 400)
        assert make(bytes(data), 120, doubles, 400, doubles, 3200) is None
    assert make(b"", 0, b"", 0, b"", 0) is None


def test_a_classifier_gives_its_memory_back(monkeypatch: pytest.MonkeyPatch) -> None:
    freed = list[int]()
    known = texts.load_word_lists()
    assert known is not None
    score = known.library.tiergate_score

    class Library:
        tiergate_score = staticmethod(score)
        tiergate_free = freed.append

    made = models.NativeModel(known._replace(library=Library()), 7)  # type: ignore[arg-type]
    assert not freed
    del made
    assert freed == [7]
