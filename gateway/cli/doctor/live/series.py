"""The series of probes: one for each target, account and dialect, with what each may cost."""

from collections.abc import Collection, Iterable, Iterator
from decimal import Decimal
from typing import NamedTuple

import msgspec

from gateway.cli.doctor.live.probes import (
    EMBEDDINGS,
    PROBES,
    Probe,
    build_request,
    lower_effort,
    strip_target,
)
from gateway.core.price import Price
from gateway.core.prompt_bound import bound_prompt_tokens
from gateway.core.target import TIERS, Catalogue, Target
from gateway.dialects import OPENAI_CHAT, OPERATIONS, TARGET_OPERATIONS, Dialect, TargetDialect
from gateway.limits.cost_bounds import compute_max_cost
from gateway.routing import unlisted_models
from gateway.upstream.retry import Candidate

_EFFORT_PROBES = tuple(probe for probe in PROBES if probe.keeps_effort)
_PROBES = tuple(
    probe for probe in PROBES if not probe.keeps_effort and probe.operation != EMBEDDINGS
)
_EMBEDDING_PROBES = tuple(probe for probe in PROBES if probe.operation == EMBEDDINGS)
_MICRO_PER_USD = Decimal(1_000_000)
_SEARCH_PREFIX = "search_"
"""The start of the names of units that a host bills for each request, whatever was asked."""


class PlannedProbe(msgspec.Struct, frozen=True, kw_only=True):
    """A probe of a series, and what it may cost."""

    probe: Probe
    max_usd: Decimal | None
    """The most USD that it may cost; None if the price is unknown."""


class ProbeSeries(msgspec.Struct, frozen=True, kw_only=True):
    """All probes of one target with one account in one dialect."""

    lab: str
    tier: str
    """The tier, or `embeddings`."""
    candidate: Candidate
    dialect: TargetDialect
    """The dialect that the target is asked in."""
    planned: tuple[PlannedProbe, ...]

    @property
    def client_dialect(self) -> Dialect:
        """The dialect of the client that asks: the same, or Chat Completions if none speaks it."""
        return find_client_dialect(self.dialect)

    @property
    def name(self) -> str:
        """The name in the report: the target, its account if there are several, the dialect."""
        target, account = self.candidate.target, self.candidate.account
        account_note = f" ({account.name})" if len(target.provider.accounts) > 1 else ""
        return f"{target.name}{account_note} {self.dialect.name}"

    @property
    def endpoint(self) -> tuple[str, str, str]:
        """The target, the account and the dialect: a failed probe stops all others of these."""
        return (
            self.candidate.target.name,
            self.candidate.account.name,
            self.candidate.dialect_name,
        )


class TargetPlace(NamedTuple):
    """A target that is on, and where it stands."""

    lab: str
    row: str
    """The tier, or `embeddings`."""
    target: Target


def list_places(
    catalogue: Catalogue, labs: Collection[str] = (), tiers: Collection[str] = ()
) -> Iterator[TargetPlace]:
    """Yield the targets of labs that are on. `labs` and `tiers` choose; empty is all.

    Targets that the gateway itself starts are left out: they are not running.
    """
    for lab in catalogue.labs.values():
        for row, targets in (*lab.tiers.items(), (EMBEDDINGS, lab.embeddings)):
            is_chosen = (not labs or lab.name in labs) and (not tiers or row in tiers)
            for target in targets if is_chosen else ():
                if target.provider.enabled and not target.provider.command:
                    yield TargetPlace(lab.name, row, target)


def find_model_places(catalogue: Catalogue, name: str) -> list[TargetPlace]:
    """Find the targets of a model, by its name or provider/name, also if no lab lists it."""
    listed = [
        place for place in list_places(catalogue) if name in (place.target.model, place.target.name)
    ]
    return listed or [
        TargetPlace(
            model.lab,
            model.find_tier(catalogue) or TIERS[-1],
            model.owner.targets[model.name],
        )
        for model in unlisted_models.find_all(name, catalogue)
    ]


def list_series(places: Iterable[TargetPlace], timestamp: float) -> Iterator[ProbeSeries]:
    """Yield a series for each target, in each of its dialects and with each account.

    Accounts after the first get one probe: it tells if their key works. If the tier of a target
    gives it another effort than the lowest, one more series has one probe at that.
    """
    listed_targets: list[Target] = []
    for lab, row, place_target in places:
        target = strip_target(place_target)
        simple_target = lower_effort(target)
        operation = EMBEDDINGS if row == EMBEDDINGS else "generate"
        probes = _EMBEDDING_PROBES if row == EMBEDDINGS else _PROBES
        is_new = target.name not in {listed.name for listed in listed_targets}
        for name in target.provider.urls:
            dialect = TARGET_OPERATIONS.get((name, operation))
            if dialect is None:
                continue
            for number, account in enumerate(target.provider.accounts if is_new else ()):
                candidate = Candidate(simple_target, account, name)
                chosen = probes[:1] if number else probes
                yield _make_series(lab, row, candidate, dialect, chosen, timestamp)
            if target != simple_target and target not in listed_targets:
                candidate = Candidate(target, target.provider.accounts[0], name)
                yield _make_series(lab, row, candidate, dialect, _EFFORT_PROBES, timestamp)
        listed_targets.append(target)


def _make_series(
    lab: str,
    tier: str,
    candidate: Candidate,
    dialect: TargetDialect,
    probes: Iterable[Probe],
    timestamp: float,
) -> ProbeSeries:
    target = candidate.target
    return ProbeSeries(
        lab=lab,
        tier=tier,
        candidate=candidate,
        dialect=dialect,
        planned=tuple(
            PlannedProbe(probe=probe, max_usd=compute_max_usd(probe, dialect, target, timestamp))
            for probe in probes
            if not (probe.has_tool and target.facts.tools is False)
        ),
    )


def find_client_dialect(dialect: TargetDialect) -> Dialect:
    """Return the dialect of a client that asks a target in a dialect."""
    return OPERATIONS.get((dialect.name, dialect.operation), OPENAI_CHAT)


def compute_max_usd(
    probe: Probe, dialect: TargetDialect, target: Target, timestamp: float
) -> Decimal | None:
    """Return the most USD that a probe may cost; None if the price is unknown."""
    body = build_request(probe, find_client_dialect(dialect), target)
    prompt_bound = bound_prompt_tokens(body.prompt, len(body.raw))
    has_answer = probe.operation != EMBEDDINGS
    micro_usd = compute_max_cost(
        (target,), prompt_bound, body.prompt, timestamp, has_answer=has_answer
    )
    if micro_usd is None or target.price is None:
        return None
    return micro_usd / _MICRO_PER_USD + sum_fees(target.price.find_in_force(timestamp))


def sum_fees(price: Price) -> Decimal:
    """Return the most USD that a host bills for a request beside its tokens: for its searches."""
    searches = any(name.startswith(_SEARCH_PREFIX) for name in price.tools)
    return sum(price.tools.values(), Decimal(0)) if searches else Decimal(0)
