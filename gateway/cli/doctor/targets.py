"""Checks of tiers: prices, and scores on labels."""

import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from random import Random

from gateway.cli.doctor.environment import DoctorFinding
from gateway.cli.session import CommandSession
from gateway.core.target import Lab
from gateway.evaluation import labels, tier_value
from gateway.evaluation.tier_value import TierGain, TierStep
from gateway.routing.quality_dial import EXPECTED_OUTPUT_TOKENS

_PRICE_HINT = "Give it a price under `models`."


def check_prices(
    session: CommandSession, wall_clock: Callable[[], float] = time.time
) -> Iterator[DoctorFinding]:
    """Check that tiers differ enough in price, for each lab that is on, by the catalogue."""
    timestamp = wall_clock()
    for lab in session.built_config.built_catalogue.catalogue.labs.values():
        if not lab.enabled:
            continue
        findings = [*_check_tier_order(lab, timestamp)]
        yield from findings
        price_ratios = ", ".join(
            f"{step.upper.tier} costs {step.price_ratio:.1f} times {step.lower.tier}"
            for step in tier_value.list_steps(lab, EXPECTED_OUTPUT_TOKENS, timestamp)
            if step.price_ratio is not None
        )
        if price_ratios:
            yield DoctorFinding("ok", "tiers", f"{lab.name}: {price_ratios}")
        elif not findings:
            yield DoctorFinding(
                "ok", "tiers", f"{lab.name}: it has no two tiers whose prices can be compared"
            )


def _check_tier_order(lab: Lab, timestamp: float) -> Iterator[DoctorFinding]:
    for unpriced_tier in tier_value.list_unpriced(lab, EXPECTED_OUTPUT_TOKENS, timestamp):
        message = (
            f"{lab.name}: the price of {unpriced_tier.target.name} is unknown, so doctor cannot "
        )
        full_message = f"{message}tell whether {unpriced_tier.tier} is worth it."
        setting = f"models.{unpriced_tier.target.name}.price"
        yield DoctorFinding("warning", "tiers", full_message, _PRICE_HINT, where=setting)
    for step in tier_value.list_steps(lab, EXPECTED_OUTPUT_TOKENS, timestamp):
        if step.price_ratio is not None and step.price_ratio <= tier_value.MIN_PRICE_RATIO:
            yield _make_step_finding(lab, step, step.price_ratio)
    for step in tier_value.find_reversals(lab, EXPECTED_OUTPUT_TOKENS, timestamp):
        lower, upper = step.lower, step.upper
        message = (
            f"{lab.name}: above {step.prompt_tokens - 1:,} tokens {lower.tier} "
            f"({lower.target.name}) costs as much as {upper.tier}, or more."
        )
        hint = f"Send long prompts there: a guard with prompt_tokens and min_tier: {upper.tier}."
        yield DoctorFinding("warning", "tiers", message, hint, where="guards")


def _make_step_finding(lab: Lab, step: TierStep, price_ratio: Decimal) -> DoctorFinding:
    lower, upper = step.lower.tier, step.upper.tier
    if price_ratio <= 1:
        message = f"{lab.name}: {upper} costs no more than {lower}: {lower} saves nothing."
    else:
        message = (
            f"{lab.name}: {upper} costs {price_ratio:.1f} times {lower}: "
            "routing saves little there."
        )
    hint = f"Give {lower} a cheaper model, or leave it out."
    return DoctorFinding("warning", "tiers", message, hint, where=f"labs.{lab.name}.{lower}")


def check_sample(session: CommandSession, file: Path, seed: int = 1) -> Iterator[DoctorFinding]:
    """Check that each tier beats the one below on labels. Say what it costs in the default lab."""
    catalogue = session.built_config.built_catalogue.catalogue
    lab = catalogue.labs.get(catalogue.default_lab)
    steps = (
        tier_value.list_steps(lab, EXPECTED_OUTPUT_TOKENS, time.time()) if lab is not None else []
    )
    price_ratios = {(item.lower.tier, item.upper.tier): item.price_ratio for item in steps}
    gains = tier_value.compare_tiers(labels.read_labels(file), Random(seed))  # noqa: S311 - resamples, guards nothing
    if not gains:
        message = f"{file} has no prompts with scores of two tiers."
        hint = "See docs/evaluation.md for what labels are."
        yield DoctorFinding("warning", "sample", message, hint, where=str(file))
    for item in gains:
        yield _make_gain_finding(item, price_ratios.get((item.lower, item.upper)))


def _make_gain_finding(gain: TierGain, price_ratio: Decimal | None) -> DoctorFinding:
    price = f", at {price_ratio:.1f} times the price" if price_ratio is not None else ""
    pair = f"{gain.upper} and {gain.lower}"
    if gain.gain is None:
        message = f"{gain.prompt_count} prompts are too few to compare {pair}."
        return DoctorFinding(
            "warning", "sample", message, "Judge more answers of both.", where="--sample"
        )
    result = f"{gain.gain} more than {gain.lower} on {gain.prompt_count:,} prompts{price}"
    if gain.is_better:
        return DoctorFinding("ok", "sample", f"{gain.upper} scores {result}")
    message = f"{gain.upper} does not beat {gain.lower}: it scores {result}."
    hint = f"Keep calls at {gain.lower}, or judge more answers."
    return DoctorFinding("warning", "sample", message, hint, where=f"labs: {gain.upper}")
