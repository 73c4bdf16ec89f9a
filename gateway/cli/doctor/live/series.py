"""The series of probes: one for each target, account and dialect, with what each may cost."""

from collections.abc import Collection, Iterable, Iterator
from decimal import Decimal

import msgspec

from gateway.cli.doctor.live.probes import PROBES, Probe, build_request, lower_effort, strip_target
from gateway.core.prompt_bound import bound_prompt_tokens
from gateway.core.target import Catalogue, EndpointKey, Target, Tier
from gateway.dialects import DIALECTS, Dialect
from gateway.limits.cost_bounds import compute_max_cost
from gateway.upstream.retry import Candidate

_EFFORT_PROBES = tuple(probe for probe in PROBES if probe.keeps_effort)
_PROBES = tuple(probe for probe in PROBES if not probe.keeps_effort)
_FIRST_PROBES = _PROBES[:1]
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
    tier: Tier
    candidate: Candidate
    dialect: Dialect
    planned: tuple[PlannedProbe, ...]

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


def list_series(
    catalogue: Catalogue, labs: Collection[str], tiers: Collection[str], timestamp: float
) -> Iterator[ProbeSeries]:
    """Yield a series for each target that is on, in each of its dialects and with each account.

    `labs` and `tiers` choose; empty is all. Accounts after the first get one probe: it tells if
    their key works. If the tier of a target gives it another effort than the lowest, one more
    series has one probe at that. Targets that the gateway itself starts are left out: they are not
    running.
    """
    listed_targets: list[Target] = []
    for place in _list_places(catalogue, labs, tiers):
        target = strip_target(place.target)
        simple_target = lower_effort(target)
        is_new = target.name not in {listed.name for listed in listed_targets}
        for dialect_name in [name for name in target.provider.urls if name in DIALECTS]:
            for number, account in enumerate(target.provider.accounts if is_new else ()):
                candidate = Candidate(simple_target, account, dialect_name)
                yield _make_series(
                    place, candidate, _FIRST_PROBES if number else _PROBES, timestamp
                )
            if target != simple_target and target not in listed_targets:
                candidate = Candidate(target, target.provider.accounts[0], dialect_name)
                yield _make_series(place, candidate, _EFFORT_PROBES, timestamp)
        listed_targets.append(target)


def _list_places(
    catalogue: Catalogue, labs: Collection[str], tiers: Collection[str]
) -> Iterator[EndpointKey]:
    for lab in catalogue.labs.values():
        for tier, targets in lab.tiers.items():
            is_chosen = (not labs or lab.name in labs) and (not tiers or tier in tiers)
            for target in targets if is_chosen else ():
                if target.provider.enabled and not target.provider.command:
                    yield EndpointKey(lab.name, tier, target)


def _make_series(
    place: EndpointKey, candidate: Candidate, probes: Iterable[Probe], timestamp: float
) -> ProbeSeries:
    dialect, target = DIALECTS[candidate.dialect_name], candidate.target
    return ProbeSeries(
        lab=place.lab,
        tier=place.tier,
        candidate=candidate,
        dialect=dialect,
        planned=tuple(
            PlannedProbe(probe=probe, max_usd=compute_max_usd(probe, dialect, target, timestamp))
            for probe in probes
            if not (probe.has_tool and target.facts.tools is False)
        ),
    )


def compute_max_usd(
    probe: Probe, dialect: Dialect, target: Target, timestamp: float
) -> Decimal | None:
    """Return the most USD that a probe may cost; None if the price is unknown."""
    body = build_request(probe, dialect, target)
    prompt_bound = bound_prompt_tokens(body.prompt, len(body.raw))
    micro_usd = compute_max_cost((target,), prompt_bound, body.prompt, timestamp)
    if micro_usd is None or target.price is None:
        return None
    tool_rates = target.price.find_in_force(timestamp).tools
    searches = any(name.startswith(_SEARCH_PREFIX) for name in tool_rates)
    fees = sum(tool_rates.values(), Decimal(0)) if searches else Decimal(0)
    return micro_usd / _MICRO_PER_USD + fees
