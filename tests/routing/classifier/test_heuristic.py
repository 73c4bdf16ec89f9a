"""The heuristic: how it orders prompts, its laws, and the line that explains a score."""

# ruff: noqa: RUF001 -- prompts of several languages

from math import exp

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.core.decision_context import Score, Thresholds
from gateway.core.target import Tier
from gateway.routing.classifier.heuristic import (
    FAILS_LOGIT,
    FAST_LOGIT,
    TERMS,
    THRESHOLDS,
    Classifier,
    HeuristicClassifier,
    choose_tier,
    explain,
    reads_text,
)
from gateway.routing.classifier.text_signals import TextSignals, read_signals

TRACEBACK = """Traceback (most recent call last):
  File "app/orders.py", line 210, in settle
    return ledger.post(order.id, amount)
  File "app/ledger.py", line 88, in post
    raise Conflict(key)
app.ledger.Conflict: 7f3a
"""
REPORT = (
    "The nightly job fails once in about forty runs and only on the second node. " * 3
    + "We have already ruled out the clock, the disk and the connection pool. " * 3
    + TRACEBACK
    + "Why does it happen, and what is the root cause? Debug it step by step."
)
ARTICLE = (
    "The harbour of the town was built in the last century and has been widened twice since. "
    "Ships of every size call there, and most of what the region eats comes through its gates. "
) * 4

PROMPTS: list[tuple[Tier, str]] = [
    # small talk
    ("fast", "hi"),
    ("fast", "Hello, how are you doing today?"),
    ("fast", "Thanks a lot, that was great!"),
    ("fast", "Danke schön und auf Wiedersehen, tschüss!"),
    ("fast", "Bonsoir, merci beaucoup !"),
    ("fast", "Hola, buenos días"),
    ("fast", "Спасибо большое!"),
    ("fast", "谢谢你们"),
    ("fast", "こんにちは、お願いします"),
    # one fact
    ("fast", "What is the capital of Australia?"),
    ("fast", "Who painted Guernica?"),
    ("fast", "When did the Titanic sink?"),
    ("fast", "What does HTTP stand for?"),
    ("fast", "What are the primary colours?"),
    ("fast", "Wann endete der Dreißigjährige Krieg?"),
    ("fast", "Quelle est la capitale du Pérou ?"),
    ("fast", "¿Quién escribió Don Quijote?"),
    ("fast", "Кто написал «Евгения Онегина»?"),
    ("fast", "什么是光合作用？"),
    ("fast", "日本の首都はどこですか？"),
    # simple tasks
    ("fast", "Translate to French: I would like a coffee, please."),
    ("fast", "Define entropy in one sentence."),
    ("fast", "Give me three names for a black cat."),
    ("fast", "Rewrite this politely: send me the file now."),
    ("fast", "Extract the e-mail address: contact me at jo@example.org"),
    ("fast", "Übersetze ins Englische: Ich habe Hunger."),
    ("fast", "Traduce al inglés: ¿dónde está la estación?"),
    ("fast", "Переведи на английский: доброе утро"),
    ("fast", "翻译成英文：今天天气很好"),
    ("fast", "What's 17 * 23?"),
    ("fast", "Explain how photosynthesis works."),
    ("fast", "Can you help me with my login?"),
    # some work, or much that says little either way
    ("smart", "Write a Python function that reverses a linked list."),
    ("smart", "Implement a rate limiter in Go with a token bucket and unit tests."),
    ("smart", "Schreibe eine Funktion in Python, die eine Liste sortiert."),
    ("smart", "Écris une fonction JavaScript qui valide une adresse IP."),
    ("smart", "Escribe una función en Python que cuente palabras."),
    ("smart", "Напиши функцию на Python, которая сортирует список."),
    ("smart", "写一个函数，检查括号是否匹配，代码用 Python"),
    ("smart", "Plan a five day trip to Rome for a family of four with a budget of 2000 euros."),
    (
        "smart",
        "Compare event sourcing and plain tables for an online shop, and plan the migration.",
    ),
    ("smart", "Design a distributed rate limiter for an API that spans several regions."),
    ("smart", "A train leaves at 9:15 and arrives at 12:40. How many minutes does it take?"),
    ("smart", "Refactor this module to use async database calls and explain the trade-offs."),
    ("smart", "What does this print?\n```py\ndef f(x):\n    return x[::-1]\nprint(f('abc'))\n```"),
    ("smart", ARTICLE + "What would change for the town if the harbour closed?"),
    # proofs, hard maths, long debugging
    ("reasoning", "Prove that there are infinitely many primes."),
    ("reasoning", "Show that a continuous function on a compact set is bounded, by contradiction."),
    ("reasoning", "Derive the closed form of the Fibonacci numbers step by step."),
    ("reasoning", "Beweise, dass die Wurzel aus 2 irrational ist."),
    ("reasoning", "Démontrez que toute suite convergente est bornée."),
    ("reasoning", "Demuestra por inducción que la suma de los impares es un cuadrado."),
    ("reasoning", "Докажите, что простых чисел бесконечно много."),
    ("reasoning", "证明根号二是无理数"),
    ("reasoning", "素数が無限に存在することを証明してください"),
    ("reasoning", "Prove that 3-colouring is NP-complete and design an approximation algorithm."),
    (
        "reasoning",
        (
            r"Let $f(x) = x^3 - 3x + 1$ and let $a$, $b$, $c$ be its roots. How many integers $n \leq 50$ "
            r"satisfy $a^n + b^n + c^n \equiv 0 \pmod{3}$? Compute \sum n and justify each step."
        ),
    ),
    (
        "reasoning",
        (
            "Find all integers n for which the polynomial x^2 + n*x + 7 = 0 has two prime roots, the "
            "remainder modulo n is 3, and the probability of a random divisor being prime is minimal."
        ),
    ),
    ("reasoning", REPORT),
]


def score(text: str) -> Score:
    """Return the heuristic's score of `text`."""
    classifier: Classifier = HeuristicClassifier()
    return classifier.score(text, read_signals(text))


def score_signals(signals: TextSignals) -> Score:
    """Return the score of signals, even of signals that no text can have."""
    return HeuristicClassifier().score("", signals)


SIGNALS = st.builds(
    TextSignals,
    words=st.integers(0, 3_000),
    numbers=st.integers(0, 50),
    code=st.floats(0, 1),
    maths=st.floats(0, 1),
    proof_words=st.integers(0, 9),
    reasoning_words=st.integers(0, 9),
    build_words=st.integers(0, 9),
    simple_words=st.integers(0, 9),
    trace=st.booleans(),
    lookup=st.booleans(),
    counting=st.booleans(),
    greeting=st.booleans(),
)


@pytest.mark.parametrize(("expected", "text"), PROMPTS, ids=[text[:40] for _, text in PROMPTS])
def test_prompts_get_their_tier(expected: Tier, text: str) -> None:
    """Prompts in eight languages get their tier under the default thresholds."""
    assert choose_tier(score(text)) == expected, explain(read_signals(text), score(text))


@given(SIGNALS)
def test_scores_are_probabilities_in_order(signals: TextSignals) -> None:
    """For any signals, 0 < fast <= smart <= 1."""
    result = score_signals(signals)
    assert 0 < result.fast <= result.smart <= 1


@given(SIGNALS)
@example(TextSignals())
def test_the_score_is_the_sum_of_all_terms(signals: TextSignals) -> None:
    """A term is 0 without its signal, so it is computed only where the signal is present."""
    fast, fails = FAST_LOGIT, FAILS_LOGIT
    for term in TERMS:
        value = term.value(signals)
        assert getattr(signals, term.signal) or not value
        fast, fails = fast + term.fast_weight * value, fails + term.fails_weight * value
    suffices, smart_fails = 1 / (1 + exp(-fast)), 1 / (1 + exp(-fails))
    assert score_signals(signals) == Score(suffices, 1 - (1 - suffices) * smart_fails)


@pytest.mark.parametrize("text", ["hi", "Thanks a lot!", "Привет, как дела?", "你好"])
def test_small_talk_is_almost_certainly_fast(text: str) -> None:
    assert score(text).fast >= 0.93


HARDER = ["words", "code", "maths", "proof_words", "reasoning_words", "build_words", "trace"]


@pytest.mark.parametrize("name", HARDER)
@given(signals=SIGNALS, share=st.floats(0, 1))
def test_a_sign_of_difficulty_never_raises_a_score(
    name: str, signals: TextSignals, share: float
) -> None:
    """More of a sign of difficulty lowers both scores, or leaves them unchanged."""
    now = getattr(signals, name)
    more = (
        True if name == "trace" else now + (share * (1 - now) if name in {"code", "maths"} else 3)
    )
    fields = {field: getattr(signals, field) for field in signals.__struct_fields__}
    before, after = score_signals(signals), score_signals(TextSignals(**fields | {name: more}))
    assert after.fast <= before.fast
    assert after.smart <= before.smart + 1e-12


@pytest.mark.parametrize("name", ["simple_words", "lookup", "greeting"])
@given(signals=SIGNALS)
def test_a_sign_of_simplicity_never_lowers_a_score(name: str, signals: TextSignals) -> None:
    """More of a sign of simplicity raises both scores, or leaves them unchanged."""
    more = signals.simple_words + 1 if name == "simple_words" else True
    fields = {field: getattr(signals, field) for field in signals.__struct_fields__}
    before, after = score_signals(signals), score_signals(TextSignals(**fields | {name: more}))
    assert after.fast >= before.fast
    assert after.smart >= before.smart - 1e-12


@pytest.mark.parametrize(
    "request_", ["Prove it.", "Beweise es.", "Démontrez-le.", "Докажи это.", "请证明这一点。"]
)
@given(
    text=st.one_of(
        st.text(max_size=200),
        st.lists(
            st.sampled_from("why plan write python hi translate x = 3 what is a story".split()),  # noqa: SIM905 -- words
            max_size=60,
        ).map(" ".join),
        st.sampled_from([text for expected, text in PROMPTS if expected != "reasoning"]),
    )
)
def test_a_request_for_a_proof_never_makes_a_prompt_easier(request_: str, text: str) -> None:
    """A request for a proof lowers the score before or after any text that asks for none."""
    plain = score(text).fast
    assert score(f"{text}\n{request_}").fast < plain
    assert score(f"{request_}\n{text}").fast < plain


def test_many_keywords_move_the_score_no_further_than_a_few() -> None:
    """Each kind of word has a cap: an adversarial prefix counts as two proofs, not as twenty."""
    few = score_signals(TextSignals(words=40, proof_words=2, reasoning_words=3))
    assert score_signals(TextSignals(words=40, proof_words=90, reasoning_words=90)) == few


@pytest.mark.parametrize(
    ("fast", "smart", "expected"),
    [
        (0.6, 0.9, "fast"),
        (0.61, 0.62, "fast"),
        (0.59, 0.8, "smart"),
        (0.59, 0.799, "reasoning"),
        (0.0, 1.0, "smart"),
        (1.0, 1.0, "fast"),
    ],
)
def test_a_score_on_a_threshold_gets_the_cheaper_tier(
    fast: float, smart: float, expected: Tier
) -> None:
    """The classifier compares the score with the fast threshold first."""
    assert choose_tier(Score(fast, smart), Thresholds(0.6, 0.8, "t")) == expected


def test_an_unsure_score_goes_to_smart() -> None:
    """The score is just short of fast, and shows no sign that smart would fail."""
    assert choose_tier(Score(THRESHOLDS.fast - 0.01, 0.85)) == "smart"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("hi", "fast .96, smart 1.00: 1 word, greeting, simple task"),
        ("Who painted Guernica?", "fast .79, smart .97: 3 words, one fact"),
        ("", "fast .67, smart .94: 0 words"),
        (
            "Prove it: x = 1.",
            "fast .33, smart .47: 5 words, asks for a proof, looks like mathematics",
        ),
    ],
)
def test_the_trace_line_says_what_moved_the_score(text: str, line: str) -> None:
    """The line gives the score and the length, then the terms with the strongest first."""
    assert explain(read_signals(text), score(text)) == line


def test_every_term_has_its_own_name() -> None:
    """Two terms of one name would make a trace ambiguous."""
    assert len({term.name for term in TERMS}) == len(TERMS)


def test_the_heuristic_has_a_fixed_name_and_version() -> None:
    """Replay reads from the version which numbers decided."""
    assert (HeuristicClassifier.name, HeuristicClassifier.version) == ("prior", "prior-1")


def test_a_classifier_reads_the_text_unless_it_says_that_it_reads_signals_alone() -> None:
    class TextReader(HeuristicClassifier):
        reads = "text"

    class SilentReader:
        """A classifier that does not say what it reads."""

    assert [reads_text(reader) for reader in (HeuristicClassifier(), TextReader())] == [False, True]
    assert reads_text(SilentReader())  # type: ignore[arg-type]  # the rest of it does not matter


def test_the_heuristic_explains_its_score_as_the_formula_does() -> None:
    classifier, signals = HeuristicClassifier(), read_signals("Prove it, please.")
    score = classifier.score("", signals)
    assert classifier.explain(signals, score) == explain(signals, score)
