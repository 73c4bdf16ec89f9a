"""Labels of a sample of own traffic: one row of a labels file, with where its scores come from.

`tiergate evaluate` and `tiergate train` read the columns of any label and ignore the others.
"""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import msgspec

from gateway.core import jsonio
from gateway.core.jsonio import Json
from gateway.core.target import TIERS, Tier
from gateway.evaluation.labelling.comparison import OrderResult, score_lower_tier
from gateway.evaluation.labels import Label, convert_row
from gateway.settings.errors import ConfigError, Mistake

SOURCE_PREFIX = "own:"
"""The beginning of the `source` of own labels; the name of the tenant follows."""


class TierAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of one tier to a labelled prompt."""

    call: str
    """The id of the call; the ledger has its row."""
    target: str
    """The target that answered, as provider/model."""
    served: str | None = None
    """The model that answered, by the provider's word."""
    cost: Decimal | None = None
    """USD; None if unknown."""


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """The origin of a comparison: a model or a person."""

    by: Literal["model", "person"]
    who: str
    """The judge's model as it was asked for, or the name of the person."""
    served: str | None = None
    """The judge's model by its provider's word."""
    version: str | None = None
    """The version of the question; None for a person."""
    cost: Decimal | None = None
    """USD of the judge's calls; None if unknown or none."""


class SampleDraw(msgspec.Struct, frozen=True, kw_only=True):
    """The draw of a prompt: its stratum, and how likely it was."""

    stratum: str
    stratum_prompts: int
    """The number of prompts in its stratum."""
    calls: int
    """The number of calls with this prompt."""
    probability: float
    """The share of the prompts of its stratum that the sample has."""
    seed: int


class SampledLabel(msgspec.Struct, frozen=True, kw_only=True):
    """A label of a sample, with all that its row says beside the label itself."""

    label: Label
    digest: str
    conversation: str | None
    draw: SampleDraw


def build_label_row(
    prompt: Mapping[str, Json],
    answers: Mapping[Tier, TierAnswer],
    results: Mapping[Tier, Sequence[OrderResult]],
    judgement: Judgement,
    at: str,
) -> dict[str, Any]:
    """Return the row of a label as JSON holds it.

    `prompt` has the members that say what was asked. `results` are those of each lower tier against
    the highest one, whose score is 1. `at` is the time of the judgement.
    """
    upper = max(answers, key=TIERS.index)
    scores = {tier: score_lower_tier(orders, upper) for tier, orders in results.items()}
    costs = {
        f"{tier}_cost": f"{answer.cost:f}"
        for tier, answer in answers.items()
        if answer.cost is not None
    }
    return {
        **prompt,
        **{tier: scores.get(tier, 1.0) for tier in TIERS if tier in answers},
        **costs,
        "answers": {tier: msgspec.to_builtins(answers[tier]) for tier in TIERS if tier in answers},
        "orders": [
            {"first": result.first, "second": result.second, "better": result.better,
             "call": result.call}
            for orders in results.values() for result in orders
        ],
        "how": msgspec.to_builtins(judgement),
        "at": at,
    }  # fmt: skip


class _SampleColumns(msgspec.Struct):
    digest: str
    draw: SampleDraw
    conversation: str | None = None


def read_sampled_labels(file: Path) -> list[SampledLabel]:
    """Read the labels of a sample. A label without a draw counts as one call of its own.

    A last line without its end is left out: it was being written. Raises ConfigError.
    """
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = (getattr(error, "strerror", None) or "it is not UTF-8").lower()
        raise ConfigError([Mistake(file=str(file), message=f"cannot be read: {reason}.")]) from None
    labels: list[SampledLabel] = []
    mistakes: list[Mistake] = []
    for number, line in enumerate(iterate_whole_lines(text), 1):
        try:
            labels.append(convert_sampled_row(jsonio.loads(line.encode()), str(number)))
        except ValueError as error:
            mistakes.append(Mistake(file=str(file), line=number, message=f"{error}."))
    if mistakes:
        raise ConfigError(mistakes[:20])
    return labels


def iterate_whole_lines(text: str) -> Iterable[str]:
    """Return the lines of a file that are whole, without empty ones."""
    return [line for line in text.split("\n")[:-1] if line.strip()]


def convert_sampled_row(row: Json, name: str) -> SampledLabel:
    """Return a row as a label of a sample. `name` stands in for a missing digest.

    Raises ValueError if the row is no label.
    """
    label = convert_row(row)
    if "draw" not in row:
        draw = SampleDraw(stratum="", stratum_prompts=0, calls=1, probability=1.0, seed=0)
        return SampledLabel(label=label, digest=name, conversation=None, draw=draw)
    try:
        columns = msgspec.convert(row, _SampleColumns)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None
    return SampledLabel(
        label=label, digest=columns.digest, conversation=columns.conversation, draw=columns.draw
    )
