"""The series of probes: one for each target, account and dialect, with what each may cost."""

from collections.abc import Collection, Iterator
from decimal import Decimal

import msgspec

from gateway.cli.doctor.live.probes import PROBES, Probe, build_request, simplify_target
from gateway.core.prompt_bound import bound_prompt_tokens
from gateway.core.target import Catalogue, Target, Tier
from gateway.dialects import DIALECTS, Dialect
from gateway.limits.cost_bounds import compute_max_cost
from gateway.upstream.retry import Candidate

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


def list_series(
    catalogue: Catalogue, labs: Collection[str], tiers: Collection[str], timestamp: float
) -> Iterator[ProbeSeries]:
    """Yield a series for each target that is on, in each of its dialects and with each account.

    `labs` and `tiers` choose; empty is all. Accounts after the first get one probe: it tells if
    their key works. Targets that the gateway itself starts are left out: they are not running.
    """
    listed_names: set[str] = set()
    for lab in catalogue.labs.values():
        for tier, targets in lab.tiers.items():
            is_chosen = (not labs or lab.name in labs) and (not tiers or tier in tiers)
            for target in targets if is_chosen else ():
                provider = target.provider
                if provider.command or not provider.enabled or target.name in listed_names:
                    continue
                listed_names.add(target.name)
                simple_target = simplify_target(target)
                for dialect_name in [name for name in provider.urls if name in DIALECTS]:
                    dialect = DIALECTS[dialect_name]
                    for number, account in enumerate(provider.accounts):
                        probes = PROBES if not number else PROBES[:1]
                        yield ProbeSeries(
                            lab=lab.name,
                            tier=tier,
                            candidate=Candidate(simple_target, account, dialect_name),
                            dialect=dialect,
                            planned=tuple(
                                PlannedProbe(
                                    probe=probe,
                                    max_usd=compute_max_usd(
                                        probe, dialect, simple_target, timestamp
                                    ),
                                )
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
