"""Signals: which parts of a text count, which do not, and the cost of long texts."""

# ruff: noqa: RUF001 -- prompts of several languages

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.routing.classifier import phrases, text_signals, tokenizer, word_lists
from gateway.routing.classifier.language import detect_language
from gateway.routing.classifier.scan import scan_text
from gateway.routing.classifier.text_signals import (
    MAX_CHARS,
    TextScan,
    TextSignals,
    read_excerpt,
    read_signals,
)

WORDS = [
    "prove",
    "why",
    "hello",
    "thanks",
    "velocity",
    "step by step",
    "func",
    "court",
    "prüfe",
    "löse",
]
OPTIONS = "\nA. prove it\nB. derive 12\nC. x = 3\nD. def f():"


def test_an_empty_text_has_no_signals() -> None:
    """An empty text has no words, and nothing is divided by its length."""
    assert read_signals("") == TextSignals()


@given(st.text(max_size=400))
def test_all_signals_of_any_text_are_within_bounds(text: str) -> None:
    """Any Unicode text will do: every script, control characters, no surrogates."""
    signals = read_signals(text)
    assert signals.chars == len(text)
    assert all(0 <= share <= 1 for share in (signals.code, signals.maths, signals.digits))
    counts = (
        signals.words,
        signals.options,
        signals.questions,
        signals.numbers,
        signals.proof_words,
    )
    assert min(*counts, signals.reasoning_words, signals.build_words, signals.simple_words) >= 0


@pytest.mark.parametrize(
    "token",
    [*sorted(phrases.PROGRAM_MARKS), *text_signals.TOKENS_WITH_MARK, text_signals.FENCE_MARK],
)
def test_every_code_token_counts(token: str) -> None:
    """The quick check before the search misses no token: each counts, even alone in prose."""
    assert read_signals(f"so {token} it").code > 0


@pytest.mark.parametrize(
    "mark",
    [*sorted(phrases.TRACE_MARKS), *text_signals.TRACES_WITH_LINE],
)
def test_every_stack_trace_marker_counts(mark: str) -> None:
    assert read_signals(f"so {mark} it").trace


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("one two  three\nfour", 4),
        ("2 + 2 = 4", 5),
        ("что такое VPN", 3),
        ("日本の首都はどこですか", 6),  # eleven characters
        ("什么是 SSH", 3),
    ],
)
def test_words_are_counted_with_and_without_spaces(text: str, words: int) -> None:
    """Two characters of a script without spaces count as about one word, as does the run itself."""
    assert read_signals(text).words == words


def test_answer_options_are_counted_but_not_read() -> None:
    """A question with answer options has the same signals: the form of an exam decides nothing."""
    question = "Which of these holds for a right triangle?"
    alone, exam = read_signals(question), read_signals(question + OPTIONS)
    assert exam.options == 4
    assert exam == TextSignals(
        **{name: getattr(alone, name) for name in alone.__struct_fields__}
        | {"options": 4, "chars": exam.chars}
    )


@pytest.mark.parametrize(
    "text", ["Notes\nA. Smith prove\nB. Jones came", "Do:\na) prove x\nb) prove y\nc) prove z"]
)
def test_a_list_that_is_no_set_of_answer_options_is_read(text: str) -> None:
    """Initials on two lines and the lettered parts of a task are not answer options."""
    signals = read_signals(text)
    assert signals.options == 0
    assert signals.proof_words > 0


@pytest.mark.parametrize(
    ("text", "least"),
    [
        ("```py\nreturn 1\n```", 0.8),
        ("def f(x):\n    return x == 1\nprint(f(2))", 0.6),
        ("const a = () => { return 1; };\nif (a() && b) {\n}", 0.6),
        ("Traceback (most recent call last):\n  File 'a.py', line 1\nKeyError: 'x'", 0.8),
        ("Exception in thread main java.lang.NullPointerException\n\tat Foo.bar(Foo.java:3)", 0.8),
    ],
)
def test_code_is_recognised(text: str, least: float) -> None:
    """Fences, tokens of several languages and stack traces count as code."""
    assert read_signals(text).code >= least


@pytest.mark.parametrize(
    "text", ["Write a Python function that calls an API and an SQL database.", "用代码写一个函数"]
)
def test_programming_words_alone_count_half_as_code(text: str) -> None:
    """A request for code contains no code yet."""
    assert 0 < read_signals(text).code <= 0.5


@pytest.mark.parametrize(
    ("text", "least"),
    [
        (r"Evaluate \(\int_0^1 \frac{x^2}{\sqrt{1-x}} dx\) and \sum_{n=1} n^{-2}", 0.9),
        ("x^2 + 3x = 4, y = 2, z^3 = 8, f(n) = 3", 0.9),
        ("∀x ∈ ℝ: √x ≥ 0 → ∑ x ≤ ∞", 0.9),
        ("the derivative of a polynomial, its integral, and the probability of a prime", 0.8),
        ("求解方程 x^2 = 4 的整数", 0.6),
    ],
)
def test_maths_is_recognised(text: str, least: float) -> None:
    """LaTeX, equations, symbols and words count as mathematics."""
    assert read_signals(text).maths >= least


@pytest.mark.parametrize(
    "text",
    [
        "See step-by-step notes of 2024-01-02, open 24/7, * a bullet, + a plus",
        "```\na = 1\nb = 2\nc = a == b\nd = a ^ b\n```\ndef f():\n    return 1",
        r"Copy C:\users\me\notes to D:\backup",
    ],
)
def test_prose_dates_paths_and_code_are_no_maths(text: str) -> None:
    """An operator counts only between operands and outside code."""
    assert read_signals(text).maths < 0.2


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("Prove it by induction.", "proof_words"),
        ("Beweise den Satz.", "proof_words"),
        ("Démontrez ce théorème.", "proof_words"),
        ("Demuestra que es cierto.", "proof_words"),
        ("Докажи это.", "proof_words"),
        ("证明这一点", "proof_words"),
        ("これを証明してください", "proof_words"),
        ("Show that it holds.", "proof_words"),
        ("Why? Think step by step.", "reasoning_words"),
        ("Vergleiche beide.", "reasoning_words"),
        ("Analysez ce cas.", "reasoning_words"),
        ("Diseña un plan.", "reasoning_words"),
        ("Сравни их шаг за шагом.", "reasoning_words"),
        ("分析两者", "reasoning_words"),
        ("最適化してください", "reasoning_words"),
        ("Implement it.", "build_words"),
        ("Напиши письмо.", "build_words"),
        ("Summarise it.", "simple_words"),
        ("Übersetze das.", "simple_words"),
        ("Traduis cela.", "simple_words"),
        ("翻译这句话", "simple_words"),
    ],
)
def test_keywords_of_each_language_are_found(text: str, field: str) -> None:
    assert getattr(read_signals(text), field) >= 1


def test_keywords_are_whole_words() -> None:
    """The words improve and planet contain prove and plan, and are no keywords."""
    signals = read_signals("An improved planet, a history")
    assert (signals.proof_words, signals.reasoning_words, signals.simple_words) == (0, 0, 0)


def test_requests_are_found_at_the_ends_of_a_long_text() -> None:
    """A plan in the middle of a story is no request; one in the last line may be."""
    story = "He walked " * 12 + "with a plan to compare and translate things " + "and slept " * 12
    assert read_signals(story).reasoning_words == read_signals(story).simple_words == 0
    assert read_signals(story + "Compare both.").reasoning_words == 1
    assert read_signals("Translate: " + story).simple_words == 1
    assert read_signals("walked " * 12 + "to prove it " + "and slept " * 12).proof_words == 1


@pytest.mark.parametrize(
    "text",
    [
        "hi",
        "Hello, how are you?",
        "Thanks a lot!",
        "Guten Morgen, hallo",
        "Bonjour, comment allez-vous ?",
        "Hola, ¿cómo estás?",
        "Привет, как дела?",
        "你好",
        "你好，最近怎么样？",
        "こんにちは",
        "ありがとうございます",
        "안녕하세요",
    ],
)
def test_small_talk_is_a_greeting(text: str) -> None:
    assert read_signals(text).greeting


@pytest.mark.parametrize(
    "text",
    [
        "Hi, my server crashes",
        "Thanks. Now prove it.",
        "how are you",  # polite words alone may be part of anything
        "yes",
        "你好，请帮我证明费马小定理的一个推广",
        "hi " * 13,
        "",
    ],
)
def test_a_greeting_with_a_request_is_no_greeting(text: str) -> None:
    """The text after the greeting is the prompt."""
    assert not read_signals(text).greeting


@pytest.mark.parametrize(
    "text",
    [
        "What is the capital of France?",
        '"Who wrote Hamlet?"',
        "Was ist ein Akkord?",
        "Qu'est-ce que l'entropie ?",
        "¿Qué es un fiordo?",
        "Что такое энтропия?",
        "什么是熵？",
        "熵是什么？",
        "エントロピーとは？",
    ],
)
def test_a_short_question_for_a_fact_is_a_lookup(text: str) -> None:
    """The opening words decide, or the last ones in languages with the question word there."""
    assert read_signals(text).lookup


@pytest.mark.parametrize(
    "text",
    [
        "Name a fact.",
        "What is wrong here?\nfoo(1)",
        "What is the best way to move from one provider to another while keeping every customer happy?",
    ],
)
def test_a_long_or_open_question_is_no_lookup(text: str) -> None:
    """A lookup has none of these: another opening, a second line, more than sixteen words."""
    assert not read_signals(text).lookup


@pytest.mark.parametrize("text", ["How many are 3 x 4?", "Combien font 3 x 4 ?", "一共有多少 3"])
def test_questions_for_a_count_are_recognised(text: str) -> None:
    signals = read_signals(text)
    assert signals.counting
    assert signals.numbers >= 1


def test_numbers_digits_and_questions_are_counted() -> None:
    """A decimal is one number, and both question marks count."""
    signals = read_signals("3.14 or 2,000? 是？")
    assert (signals.numbers, signals.questions) == (2, 2)
    assert signals.digits == pytest.approx(7 / 17)


def test_a_short_text_is_read_whole() -> None:
    text = "x" * MAX_CHARS
    assert read_excerpt(text)[0] is text


@given(st.integers(MAX_CHARS + 1, 4 * MAX_CHARS))
def test_a_long_text_keeps_its_two_ends(length: int) -> None:
    """The middle is dropped, and the excerpt has exactly the limit's length."""
    text = "Summarise: " + "x" * (length - 22) + " prove that"
    excerpt = read_excerpt(text)[0]
    assert len(excerpt) == MAX_CHARS
    assert excerpt.startswith("Summarise: ")
    assert excerpt.endswith(" prove that")
    assert read_signals(text).proof_words == 1
    assert read_signals(text).chars == length


class CountingText(str):
    """A text that counts the characters sliced from it."""

    __slots__ = ("characters_read",)

    characters_read: int

    def __getitem__(self, key: object) -> str:
        """Slice as any text does, and add the length to the count."""
        part = super().__getitem__(key)  # type: ignore[index]
        self.characters_read = getattr(self, "characters_read", 0) + len(part)
        return part


def test_only_the_limit_of_a_huge_text_is_read() -> None:
    """Time does not grow with the unread middle: of 3,000,000 characters, 2,999 are read."""
    text = CountingText("a b = 1. " * 333_334)
    signals = read_signals(text)
    assert signals.chars > 2_999_999
    assert text.characters_read == MAX_CHARS - 1
    assert signals.words <= MAX_CHARS / 2


def test_a_word_has_one_kind() -> None:
    """If a word had two kinds, the order of the table would decide how it counts."""
    for table in (word_lists._WORDS_BY_KIND, text_signals._UNSPACED_WORDS_BY_KIND):
        kinds = [word for words in table.values() for word in set(words.split())]
        assert len(kinds) == len(set(kinds))


MIXED_TEXTS = st.text() | st.lists(
    st.sampled_from([
        *WORDS, *phrases.ALL_PHRASES, *["", " ", " ", " ", "\n"] * 9, "\nA. ", "\nB. ", "\nC. ", "Don't", "x^2", "é",
        "K", "证", "12", "3.14", "2,000", "5, 6.", "1..2", ".5", "7.", "4k", "b2b", "THE", "les", "und", "\t",
        "\x1c", "\u3000", "？", "?", "\ud800",
    ])
).map("".join)  # fmt: skip
"""Texts with words of the lists, phrases, numbers, options and letters of other scripts."""


@given(MIXED_TEXTS)
def test_one_pass_finds_all_tokens_and_word_kinds(text: str) -> None:
    scan, low = TextScan(text), text_signals.split_options(read_excerpt(text)[0])[1].lower()
    assert scan.tokens == tokenizer.tokenize(read_excerpt(text)[0])
    names = text_signals._WORD_PATTERN.findall(low)
    assert list(scan._word_kinds) == [word_lists.WORD_KINDS.get(name, 0) for name in names]


@given(MIXED_TEXTS)
def test_counts_by_bytes_equal_counts_in_the_text(text: str) -> None:
    scan, low = TextScan(text), text_signals.split_options(read_excerpt(text)[0])[1].lower()
    signals = scan.signals()
    unspaced = sum(map(len, text_signals._UNSPACED_RUN.findall(low)))
    assert signals.words == len(low.split()) + unspaced // 2
    assert signals.numbers == len(re.findall("[0-9]+", re.sub("[.,]", "", low)))
    assert signals.digits * max(len(low), 1) == pytest.approx(len(re.findall("[0-9]", low)))
    assert signals.questions == low.count("?") + low.count("？")
    assert scan._phrase_hits == {phrase for phrase in phrases.ALL_PHRASES if phrase in low}
    assert scan.language == detect_language(text)


def test_a_scan_of_a_text_is_shared_while_it_is_in_use() -> None:
    text = "one text"
    scan = scan_text(text)
    assert scan_text(text) is scan
    other_scan = scan_text("another text")
    assert other_scan is not scan
    assert other_scan.text == "another text"
    del other_scan
    assert scan_text(text) is not scan
