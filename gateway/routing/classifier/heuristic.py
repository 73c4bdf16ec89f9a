"""The classifier's protocol, and a classifier that is a formula of length and keywords."""

from collections.abc import Callable
from itertools import compress
from math import exp, log2
from operator import attrgetter
from typing import NamedTuple, Protocol

from gateway.core.decision_context import Score, Thresholds
from gateway.core.target import Tier
from gateway.routing.classifier.text_signals import TextSignals


class Classifier(Protocol):
    """Scores the text of the last user turn; pure, and quick enough for every call.

    A classifier with `reads = "signals"` never looks at the text, so rows need not keep its scores.
    """

    @property
    def name(self) -> str:
        """The classifier's name in a trace."""

    @property
    def version(self) -> str:
        """The version of the classifier's numbers, which the decision records."""

    @property
    def thresholds(self) -> Thresholds:
        """The thresholds between tiers, unless a call's evidence has thresholds of its own."""

    def score(self, text: str, signals: TextSignals) -> Score:
        """Return the score of `text`, whose signals the caller has read."""

    def explain(self, signals: TextSignals, score: Score) -> str:
        """Return the score and what moved it, for the trace."""


def reads_text(classifier: Classifier) -> bool:
    """True if a classifier reads the text itself, not only its signals."""
    return getattr(classifier, "reads", None) != "signals"


class HeuristicTerm(NamedTuple):
    """One term of the formula."""

    name: str
    """The term's name in `explain`."""
    signal: str
    """The name of the signal; if the signal is 0, so is the term."""
    value: Callable[[TextSignals], float]
    """The function that computes the term from the signals; never negative."""
    fast_weight: float
    """The weight of the term in the logit of "fast suffices"."""
    fails_weight: float
    """The weight of the term in the logit of "if fast fails, smart fails too"."""


FAST_LOGIT = 0.70
FAILS_LOGIT = -1.60
LENGTH_TERM = "length"
TERMS = (
    HeuristicTerm(LENGTH_TERM, "words", lambda s: min(log2(1 + s.words / 8), 5), -0.20, 0.20),
    HeuristicTerm("asks to write", "build_words", lambda s: min(s.build_words, 1), -0.45, 0.20),
    HeuristicTerm(
        "asks for a program", "build_words", lambda s: s.build_words > 0 and s.code > 0, -0.90, 0.30
    ),
    HeuristicTerm("word problem", "counting", lambda s: s.counting and s.numbers > 0, -0.60, 0.20),
    HeuristicTerm("looks like code", "code", lambda s: s.code, -0.50, 0.30),
    HeuristicTerm("looks like mathematics", "maths", lambda s: s.maths, -0.30, 2.60),
    HeuristicTerm("asks for a proof", "proof_words", lambda s: min(s.proof_words, 2), -1.20, 2.40),
    HeuristicTerm(
        "asks for reasoning", "reasoning_words", lambda s: min(s.reasoning_words, 3), -0.25, 0.40
    ),
    HeuristicTerm("stack trace", "trace", lambda s: s.trace, -0.40, 1.00),
    HeuristicTerm("simple task", "simple_words", lambda s: min(s.simple_words, 2), 0.40, -0.40),
    HeuristicTerm("one fact", "lookup", lambda s: s.lookup, 0.70, -0.50),
    HeuristicTerm("greeting", "greeting", lambda s: s.greeting, 2.20, -1.00),
)
"""The whole formula: a text without words has `FAST_LOGIT` and `FAILS_LOGIT`; each term adds.

How it was fitted: the data are scores of a small and a large model of 2023-24 on 14,147 prompts of
five public benchmarks. Almost all prompts are in English (Apache-2.0 and MIT:
TIGER-AI-Lab/MMLU-Pro, ulab-uiuc/LLMRouter, lm-sys/RouteLLM, WildEval/ZeroEval). 748 of them also
have scores of reasoning models. The label is True if the small model scored no less than the large
one. Each benchmark has the same weight and an intercept of its own, so that no weight distinguishes
benchmarks. `FAST_LOGIT` is the mean of the intercepts.

The fit gave the fast weights of length, asks to write, asks for a program and word problem; they
are rounded. All other fast weights are judgement, because the data have no small talk, few requests
and hardly any proof. The fit held them fixed, and they are no larger than necessary. `FAILS_LOGIT`
and the `fails_weight` of length, code and maths follow how often reasoning models did better than
the large one: .35 on code output and .68 on competition maths. Maths is below its fit, so that
proofs come first. The other values of `fails_weight` are judgement.
"""

_WEIGHTED_TERMS = [(term.value, term.fast_weight, term.fails_weight) for term in TERMS]
_TERM_SIGNALS = attrgetter(*(term.signal for term in TERMS))

THRESHOLDS = Thresholds(fast=0.53, smart=0.63, id="prior-1")
"""The thresholds between tiers. On the prompts of that fit they give these shares: fast .53, smart
.37, reasoning .10. A long text without clear signals falls between the two thresholds and goes to
smart."""


class HeuristicClassifier:
    """The formula of `TERMS`, which reads only the signals."""

    name = "prior"
    version = "prior-1"
    thresholds = THRESHOLDS
    reads = "signals"

    def score(self, text: str, signals: TextSignals) -> Score:  # noqa: ARG002 -- the protocol gives both
        """Return the score as two logistic sums.

        Smart fails only if fast does, so fast <= smart.
        """
        fast_logit, fails_logit = FAST_LOGIT, FAILS_LOGIT
        for read, fast_weight, fails_weight in compress(
            _WEIGHTED_TERMS, _TERM_SIGNALS(signals)
        ):  # most signals are 0
            if value := read(signals):
                fast_logit += fast_weight * value
                fails_logit += fails_weight * value
        fast_probability = 1 / (1 + exp(-fast_logit))
        return Score(
            fast=fast_probability, smart=1 - (1 - fast_probability) * (1 / (1 + exp(-fails_logit)))
        )

    def explain(self, signals: TextSignals, score: Score) -> str:
        """Return the score and what moved it, as the function `explain` does."""
        return explain(signals, score)


def choose_tier(score: Score, thresholds: Thresholds = THRESHOLDS) -> Tier:
    """Return fast or reasoning if the score is sure of it, else smart."""
    if score.fast >= thresholds.fast:
        return "fast"
    return "reasoning" if score.smart < thresholds.smart else "smart"


def explain(signals: TextSignals, score: Score) -> str:
    """Return the score and what moved it: `fast .96, smart 1.00: 1 word, greeting`."""
    moved_terms = [
        (abs(term.fast_weight * value), term.name)
        for term in TERMS
        if term.name != LENGTH_TERM and (value := term.value(signals)) > 0
    ]
    word_count = f"{signals.words} word{'' if signals.words == 1 else 's'}"
    reasons = [word_count, *(name for _, name in sorted(moved_terms, reverse=True))]
    shares = f"fast {_format_share(score.fast)}, smart {_format_share(score.smart)}"
    return f"{shares}: {', '.join(reasons)}"


def _format_share(share: float) -> str:
    return f"{share:.2f}".removeprefix("0")
