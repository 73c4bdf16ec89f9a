"""What doctor says of tiers and targets: their prices, labels, and whether they answer."""

import asyncio
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from random import Random

from gateway.cli.doctor.environment import DoctorFinding, Level
from gateway.cli.session import CommandSession
from gateway.cli.terminal import bound, progress, usd
from gateway.core.target import Lab
from gateway.evaluation import labels, tier_value
from gateway.evaluation.sample_call import OUTPUT
from gateway.evaluation.tier_value import TierGain, TierStep
from gateway.upstream import probe
from gateway.upstream.probe import ProbeResult, ProbeTarget

_PRICE = "Give it a price under `models`."


def prices(
    session: CommandSession, wall: Callable[[], float] = time.time
) -> Iterator[DoctorFinding]:
    """Whether the tiers of each lab that is on are worth telling apart, by the catalogue."""
    at = wall()
    for lab in session.site.built.catalogue.labs.values():
        if not lab.on:
            continue
        found = [*_order(lab, at)]
        yield from found
        told = ", ".join(
            f"{one.upper.tier} costs {one.times:.1f} times {one.lower.tier}"
            for one in tier_value.stairs(lab, OUTPUT, at)
            if one.times is not None
        )
        if told:
            yield DoctorFinding("ok", "tiers", f"{lab.name}: {told}")
        elif not found:
            yield DoctorFinding("ok", "tiers", f"{lab.name}: nothing is to be told apart by price")


def _order(lab: Lab, at: float) -> Iterator[DoctorFinding]:
    for rung in tier_value.unpriced(lab, OUTPUT, at):
        message = f"{lab.name}: the price of {rung.target.name} is unknown, nobody can say "
        told = f"{message}whether {rung.tier} is worth it."
        where = f"models.{rung.target.name}.price"
        yield DoctorFinding("warning", "tiers", told, _PRICE, where=where)
    for one in tier_value.stairs(lab, OUTPUT, at):
        if one.times is not None and one.times <= tier_value.HARDLY:
            yield _close(lab, one, one.times)
    for one in tier_value.turns(lab, OUTPUT, at):
        low, high = one.lower, one.upper
        message = (
            f"{lab.name}: above {one.prompt - 1:,} tokens {low.tier} ({low.target.name}) costs as "
            f"much as {high.tier}, or more."
        )
        hint = f"Send long prompts there: a guard with prompt_tokens and min_tier: {high.tier}."
        yield DoctorFinding("warning", "tiers", message, hint, where="guards")


def _close(lab: Lab, one: TierStep, times: Decimal) -> DoctorFinding:
    low, high = one.lower.tier, one.upper.tier
    if times <= 1:
        message = f"{lab.name}: {high} costs no more than {low}: {low} saves nothing."
    else:
        message = f"{lab.name}: {high} costs {times:.1f} times {low}: routing saves little there."
    hint = f"Give {low} a cheaper model, or leave it out."
    return DoctorFinding("warning", "tiers", message, hint, where=f"labs.{lab.name}.{low}")


def sample(session: CommandSession, file: Path, seed: int = 1) -> Iterator[DoctorFinding]:
    """Whether each tier beats the one below on labels, and what that costs in the default lab."""
    catalogue = session.site.built.catalogue
    lab = catalogue.labs.get(catalogue.default_lab)
    steps = tier_value.stairs(lab, OUTPUT, time.time()) if lab is not None else []
    times = {(one.lower.tier, one.upper.tier): one.times for one in steps}
    found = tier_value.better(labels.read(file), Random(seed))  # noqa: S311 - resamples, guards nothing
    if not found:
        message = f"{file} has no prompts with scores of two tiers."
        hint = "See docs/evaluation.md for what labels are."
        yield DoctorFinding("warning", "sample", message, hint, where=str(file))
    for one in found:
        yield _better(one, times.get((one.lower, one.upper)))


def _better(one: TierGain, times: Decimal | None) -> DoctorFinding:
    price = f", at {times:.1f} times the price" if times is not None else ""
    pair = f"{one.upper} and {one.lower}"
    if one.more is None:
        message = f"{one.prompts} prompts say nothing of {pair}."
        return DoctorFinding(
            "warning", "sample", message, "Judge more answers of both.", where="--sample"
        )
    told = f"{one.more} more than {one.lower} on {one.prompts:,} prompts{price}"
    if one.beats:
        return DoctorFinding("ok", "sample", f"{one.upper} scores {told}")
    message = f"{one.upper} does not beat {one.lower}: it scores {told}."
    hint = f"Keep calls at {one.lower}, or judge more answers."
    return DoctorFinding("warning", "sample", message, hint, where=f"labs: {one.upper}")


def targets(
    session: CommandSession, most: Decimal, wall: Callable[[], float] = time.time
) -> list[DoctorFinding]:
    """What each target says to one tiny request; all may cost `most` USD together."""
    asked, left_out = _within([*probe.every(session.site.built.catalogue)], most, wall())
    with progress("asking", len(asked)) as step:
        told = asyncio.run(probe.ask(asked, tick=step))
    found = [*map(_told, told), *left_out]
    if not found:
        return [DoctorFinding("ok", "targets", "none is on that the gateway does not start itself")]
    spent = [one.usd for one in told if one.usd is not None]
    if spent:
        found.append(
            DoctorFinding("ok", "targets", f"asking cost {usd(sum(spent, Decimal(0)))} USD")
        )
    return found


def _within(
    every: list[ProbeTarget], most: Decimal, at: float
) -> tuple[list[ProbeTarget], list[DoctorFinding]]:
    """Those that are asked, and what is said of the others."""
    asked, said, spent = [], [], Decimal(0)
    for one in every:
        may = one.most(at)
        if may is None:
            message = f"{one.name} is not asked: what it costs is unknown."
            said.append(
                DoctorFinding(
                    "warning", "targets", message, _PRICE, where=f"models.{one.name}.price"
                )
            )
        elif spent + may > most:
            message = f"{one.name} is not asked: it may cost {bound(may)} USD."
            hint, fix = (
                "Allow more with --most.",
                f"tiergate doctor --ask --most {bound(spent + may)}",
            )
            said.append(DoctorFinding("warning", "targets", message, hint, where="--most", fix=fix))
        else:
            spent += may
            asked.append(one)
    return asked, said


def _told(one: ProbeResult) -> DoctorFinding:
    if one.problem is None:
        return DoctorFinding(
            "ok", "targets", f"{one.asking.name} answers in {one.seconds * 1e3:,.0f} ms"
        )
    level: Level = "error" if one.problem.kind == "upstream_auth" else "warning"
    message = f"{one.asking.name} does not answer: {one.problem.message}"
    hint = "Its place in a tier is taken by the next target."
    where, _, _ = one.asking.name.partition("/")
    fix = "tiergate check" if level == "error" else "tiergate doctor --ask"
    return DoctorFinding(level, "targets", message, hint, where=f"providers.{where}", fix=fix)
