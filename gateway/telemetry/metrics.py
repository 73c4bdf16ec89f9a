"""Prometheus metrics, counted from the rows of the ledger as they are written.

Labels are words of the configuration, never of a client: labs, tiers, providers and models of the
catalogue, names of keys and tenants where they are asked for. The ledger is exact; these are sums
of doubles.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Literal, NamedTuple

import msgspec

from gateway.core.ledger_rows import ANSWERED, AttemptRow, FinalRow, Row
from gateway.telemetry import prometheus_format
from gateway.telemetry.prometheus_format import MetricFamily
from gateway.telemetry.shared_metrics import Labels, MetricArea, SharedMemory

SECONDS = (
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0, 1800.0,
)  # fmt: skip
"""Bounds of whole calls: from the cache up to an hour's reasoning."""
FIRST = (
    0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.5,
    5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0,
)  # fmt: skip
"""Bounds of the time to the first content, closer where people wait for it."""

UNLISTED = "(unlisted)"
"""The label of all models that no lab lists."""

type Fails = Literal["write", "sync", "feed"]
_FAILS: tuple[Fails, ...] = ("write", "sync", "feed")
type Over = Literal["sum", "max", "min"]

_TARGET = ("lab", "tier", "provider", "model")
_CALL = (*_TARGET, "cache", "state", "stream")
_TIMED = ("lab", "tier", "model", "cache")
_CLASSES = ("input", "cache_read", "cache_write", "output", "reasoning")
_SERVED = frozenset({"settled", "estimated", "aborted"})
_CUT = frozenset({"upstream", "timeout"})

# The numbers of a "money" cell, by place; tokens follow, in the order of _CLASSES.
_COST, _WASTED, _ESTIMATE, _UNKNOWN, _UNPRICED, _BASELINE, _COMPARED, _TOKENS = range(8)
_MONEY_SIZE = _TOKENS + len(_CLASSES)

_MONEY = (
    ("cost_usd", "USD of calls, failed attempts and estimates among them."),
    ("wasted_usd", "USD of cost_usd for attempts that gave no answer."),
    ("estimated_usd", "USD of cost_usd that rest on estimated tokens."),
    ("calls_unknown_cost", "Calls whose cost is unknown, wholly or in part."),
    ("calls_unpriced", "Calls of these whose tokens are known, and a price is missing."),
    ("baseline_usd", "USD that calls would have cost on the baseline."),
    ("compared_usd", "USD of calls that have a baseline: what is saved is baseline_usd less this."),
)


class GaugeMetric(NamedTuple):
    """A number of the moment, read when it is asked for."""

    name: str
    help: str
    read: Callable[[], float | None]
    """None where there is none, or it raises: it is then left out."""
    over: Over = "sum"
    """How those of several workers become one."""


class LabelledGauges(NamedTuple):
    """Numbers of the moment under one name, told apart by words of the configuration."""

    name: str
    help: str
    labels: Labels
    read: Callable[[], Mapping[Labels, float]]
    """By the values of `labels`; where it raises, there are none."""
    over: Over = "max"


class CounterMetric(NamedTuple):
    """A number that grows from 0 while the process runs, read when it is asked for."""

    name: str
    help: str
    read: Callable[[], float]
    """Where it raises, it is what it was."""


class _Places(msgspec.Struct, frozen=True, gc=False):
    """Where the numbers of one kind of call stand."""

    ones: tuple[int, ...]
    """Of all that such a call counts as one of."""
    money: int
    seconds: int
    first: int


class Metrics:
    """Counts rows. `info` labels tiergate_build_info.

    `keys` and `tenants` label calls and costs by client key and by tenant. Workers that were made
    with the same `memory` tell the figures of all of them.
    """

    def __init__(
        self,
        *,
        keys: bool = False,
        tenants: bool = False,
        info: Mapping[str, str] | None = None,
        memory: SharedMemory | None = None,
        gauges: Sequence[GaugeMetric] = (),
        counts: Sequence[CounterMetric] = (),
    ) -> None:
        self.keys = keys
        """Whether names of client keys are told."""
        self.tenants = tenants
        """True if names of tenants are told."""
        asked = {"tenant": tenants, "key": keys}
        self._who = tuple([name for name, told in asked.items() if told])
        """Labels of whose call it is."""
        self._info = dict(info or {})
        self._figures = MetricArea(memory)
        self._values = self._figures.values
        self._places: dict[tuple[object, ...], _Places] = {}
        self._listed: set[tuple[str, str]] = set()
        """Providers with the models that labs list. While it is empty each model has its name."""
        self._recovered = self._figures.at("recovered", (), 1)
        self._fails: dict[Fails, int] = {
            what: self._figures.at("fails", (what,), 1) for what in _FAILS
        }
        self._gauges: dict[str, tuple[GaugeMetric, int]] = {}
        self._many: dict[str, tuple[LabelledGauges, dict[Labels, int]]] = {}
        self._counts: dict[str, tuple[CounterMetric, int, float]] = {}
        self.watch(gauges, counts)

    def watch(
        self,
        gauges: Iterable[GaugeMetric] = (),
        counts: Iterable[CounterMetric] = (),
        many: Iterable[LabelledGauges] = (),
    ) -> None:
        """Tell these too."""
        for some in many:
            places = self._figures.known("gauge", some.name)
            for place in places.values():
                self._values[place] = math.nan
            self._many[some.name] = (some, places)
        for gauge in gauges:
            place = self._figures.at("gauge", (gauge.name,), 1)
            self._values[place] = math.nan  # not its predecessor's
            self._gauges[gauge.name] = (gauge, place)
        for count in counts:
            place = self._figures.at("count", (count.name,), 1)
            self._counts[count.name] = (count, place, self._values[place])

    def tell(self, **info: str) -> None:
        """Some of what stands on the build's metric is another now."""
        self._info = {**self._info, **info}

    def expect(self, targets: Iterable[tuple[str, str, str, str]]) -> None:
        """Show what is spent at these (lab, tier, provider, model) as 0 before their first call.

        Prometheus takes the first value it sees for no increase. Where keys or tenants are labels
        nothing is shown before: nobody knows which of them will ask for what. From now on a model
        that no such list had gets the label `(unlisted)`, for clients choose its name.
        """
        found = list(targets)
        self._listed.update(target[2:] for target in found)
        for target in () if self._who else found:
            self._figures.at("money", target, _MONEY_SIZE)
            self._attempt(*target[2:], "")

    def note(self, row: Row) -> None:
        """Count one row, on one thread; some 2 us for a final one."""
        if isinstance(row, FinalRow):
            self._alike([row], self._found(self._kind(row), row))
        elif isinstance(row, AttemptRow):
            model = self._label(row.provider, row.model)
            self._values[self._attempt(row.provider, model, row.problem)] += 1

    def count(self, rows: Sequence[Row]) -> None:
        """Count rows as `note` does, those of like calls together, which takes half the time.

        Sums of USD and of seconds may differ in their last digit, as they are added in this order.
        """
        if len(rows) == 1:
            self.note(rows[0])
            return
        alike: dict[tuple[object, ...], list[FinalRow]] = {}
        some, last = list[FinalRow](), None
        for row in rows:
            if isinstance(row, FinalRow):
                if (kind := self._kind(row)) != last:
                    some, last = alike.setdefault(kind, []), kind
                some.append(row)
            else:
                self.note(row)
        for kind, some in alike.items():
            self._alike(some, self._found(kind, some[0]))

    def refused(self, kind: str) -> None:
        """Count a request that was refused before it was a call."""
        self._values[self._figures.at("refused", (kind,), 1)] += 1

    def opened(self, place: tuple[str, str, str], cause: str) -> None:
        """Count that a target or an account (its model is empty) is not asked any more."""
        self._values[self._figures.at("opened", (*place, cause), 1)] += 1

    def failed(self, what: Fails) -> None:
        """Count that the ledger could not be written, brought to the disk or fed to its store."""
        self._values[self._fails[what]] += 1

    def refresh(self) -> None:
        """Read what is watched, so that other workers can tell it."""
        for gauge, place in self._gauges.values():
            found = _read(gauge.read)
            self._values[place] = math.nan if found is None else found
        for some, places in self._many.values():
            told = _read(some.read) or {}
            for labels in told.keys() - places.keys():
                places[labels] = self._figures.at("gauge", (some.name, *labels), 1)
            for labels, place in list(places.items()):
                self._values[place] = told.get(labels, math.nan)
        for count, place, before in self._counts.values():
            found = _read(count.read)
            if found is not None:
                self._values[place] = before + found

    def render(self, *, openmetrics: bool = False) -> tuple[bytes, str]:
        """The text of a scrape and its content type; from any thread."""
        self.refresh()
        return prometheus_format.render(self._families(), openmetrics=openmetrics)

    def _kind(self, row: FinalRow) -> tuple[object, ...]:
        """What its places depend on."""
        model = self._label(row.provider, row.model)
        return (
            row.lab, row.tier, row.provider, model, row.cache, row.near is None, row.state,
            row.stream, self._whose(row), row.problem, row.aborted_by in _CUT,
            row.attempts > 0, row.source, _fell(row),
        )  # fmt: skip

    def _alike(self, rows: list[FinalRow], places: _Places) -> None:
        """Count calls of one kind: each number is read and written once for all of them."""
        values, at = self._values, places.money
        for one in places.ones:
            values[one] += len(rows)
        spent = values[at + _COST]
        fresh = cached = out = 0
        for row in rows:
            cost = row.cost
            if (
                cost is None
                or row.wasted
                or row.estimate
                or row.baseline is not None
                or (row.wasted is None or row.cache_write or row.reasoning or row.cache == "hit")
            ):
                values[at + _COST] = spent
                self._pay(row, at)
                spent = values[at + _COST]
                continue
            if cost:
                spent += _amount(cost)
            fresh += row.input or 0
            cached += row.cache_read or 0
            out += row.output or 0
        values[at + _COST] = spent
        at += _TOKENS
        values[at] += fresh
        values[at + 1] += cached
        values[at + 3] += out
        if rows[0].state in ANSWERED:
            self._spread([row.duration for row in rows], SECONDS, places.seconds)
        self._spread([row.first_content for row in rows], FIRST, places.first)
        if rows[0].state == "unknown_crash":
            values[self._recovered] += len(rows)

    def _spread(self, found: list[float | None], bounds: tuple[float, ...], at: int) -> None:
        """Put seconds into a histogram: how many there are below each bound, and their sum."""
        values, total = self._values, at + len(bounds) + 1
        spent, last, many = values[total], 0, 0
        for seconds in found:
            if seconds is not None:
                spent += seconds
                if (place := bisect_left(bounds, seconds)) != last:
                    values[at + last] += many
                    last, many = place, 0
                many += 1
        values[at + last] += many
        values[total] = spent

    def _found(self, kind: tuple[object, ...], row: FinalRow) -> _Places:
        """The places of a kind, of which a row is."""
        places = self._places.get(kind)
        if places is None:
            places = self._places[kind] = self._place(row)
        return places

    def _pay(self, row: FinalRow, at: int) -> None:
        values = self._values
        if row.cost is None or row.wasted is None:
            values[at + _UNKNOWN] += 1
            values[at + _UNPRICED] += _unpriced(row)
        cost = _amount(row.cost) if row.cost else 0.0
        if cost:
            values[at + _COST] += cost
        if row.wasted:
            values[at + _WASTED] += _amount(row.wasted)
        if row.estimate:
            values[at + _ESTIMATE] += _amount(row.estimate)
        if row.baseline is not None and row.cost is not None:
            values[at + _BASELINE] += _amount(row.baseline)
            values[at + _COMPARED] += cost
        if row.cache == "hit":
            return  # its tokens were used when it was recorded
        at += _TOKENS
        if row.input:
            values[at] += row.input
        if row.cache_read:
            values[at + 1] += row.cache_read
        if row.cache_write:
            values[at + 2] += row.cache_write
        if row.output:
            values[at + 3] += row.output
        if row.reasoning:
            values[at + 4] += row.reasoning

    def _place(self, row: FinalRow) -> _Places:
        provider, model = row.provider or "", self._label(row.provider, row.model)
        lab, tier = row.lab or "", row.tier or ""
        target = lab, tier, provider, model
        key = self._whose(row)
        stream = "true" if row.stream else "false"
        cache = _shared(row)
        timed = (lab, tier, model, cache)
        cut = row.problem if row.aborted_by in _CUT else ""
        at = self._figures.at
        answered = row.attempts > 0 and row.state in _SERVED
        ones = [at("calls", (*target, cache, row.state, stream, *key), 1)]
        if answered:  # failed ones have rows of their own
            ones.append(self._attempt(provider, model, cut or ""))
        if answered and _fell(row):
            ones.append(at("fallbacks", target, 1))
        if row.source is not None and row.tier is not None:
            ones.append(at("decisions", (lab, tier, row.source, *key), 1))
        if row.problem is not None:
            ones.append(at("problems", (lab, tier, row.problem), 1))
        return _Places(
            ones=tuple(ones),
            money=at("money", (*target, *key), _MONEY_SIZE),
            seconds=at("seconds", timed, len(SECONDS) + 2),
            first=at("first", timed, len(FIRST) + 2),
        )

    def _label(self, provider: str | None, model: str | None) -> str:
        """Return the label of a model: its name is one where a lab lists it."""
        if not model or not self._listed or (provider or "", model) in self._listed:
            return model or ""
        return UNLISTED

    def _whose(self, row: FinalRow) -> Labels:
        """Values of the labels of whose call it is."""
        return tuple([getattr(row, name) for name in self._who]) if self._who else ()

    def _attempt(self, provider: str, model: str, problem: str) -> int:
        return self._figures.at("attempts", (provider, model, problem), 1)

    def _families(self) -> Iterator[MetricFamily]:
        sums, gauges = self._gathered()
        key = self._who

        def told(name: str, labels: Labels) -> Iterable[tuple[dict[str, str], list[float]]]:
            for values, numbers in sums.get(name, {}).items():
                yield dict(zip(labels, values, strict=True)), numbers

        def one(
            name: str, labels: Labels, place: int = 0
        ) -> Iterable[tuple[dict[str, str], float]]:
            return ((named, numbers[place]) for named, numbers in told(name, labels))

        yield prometheus_format.gauge(
            "tiergate_build_info", "The version, and that of the configuration.", [(self._info, 1)]
        )
        yield _counter("calls", "Calls, by how they ended.", one("calls", (*_CALL, *key)))
        for place, (name, text) in enumerate(_MONEY):
            yield _counter(name, text, one("money", (*_TARGET, *key), place))
        yield _counter(
            "tokens",
            "Tokens that providers read and wrote; the classes never overlap.",
            (
                ({**named, "class": word}, numbers[_TOKENS + place])
                for named, numbers in told("money", (*_TARGET, *key))
                for place, word in enumerate(_CLASSES)
            ),
        )
        yield prometheus_format.histogram(
            "tiergate_call_duration_seconds",
            "From receipt to the last byte, of calls that were answered.",
            SECONDS,
            _some(told("seconds", _TIMED)),
        )
        yield prometheus_format.histogram(
            "tiergate_first_content_seconds",
            "From receipt to the first content sent.",
            FIRST,
            _some(told("first", _TIMED)),
        )
        yield _counter(
            "attempts",
            "Requests to providers; those without a problem were answered.",
            one("attempts", ("provider", "model", "problem")),
        )
        yield _counter(
            "decisions",
            "Calls whose tier was decided, by what decided it.",
            one("decisions", ("lab", "tier", "source", *key)),
        )
        yield _counter(
            "fallbacks",
            "Calls that another target than the first of their plan has served, by that other.",
            one("fallbacks", _TARGET),
        )
        yield _counter(
            "problems",
            "Calls that ended with an error, by its kind.",
            one("problems", ("lab", "tier", "problem")),
        )
        yield _counter(
            "refused", "Requests refused before they were calls.", one("refused", ("kind",))
        )
        yield _counter(
            "targets_opened",
            "Times that a target, or an account (without a model), went out of its turn.",
            one("opened", ("provider", "account", "model", "cause")),
        )
        yield _counter(
            "calls_recovered", "Calls of a crash that were closed after it.", one("recovered", ())
        )
        yield _counter(
            "ledger_failures", "Times that the ledger failed, by what.", one("fails", ("what",))
        )
        for name, (count, _, _) in self._counts.items():
            found = sums.get("count", {}).get((name,), [0.0])
            yield _counter(name, count.help, [({}, found[0])])
        for some, _ in self._many.values():
            yield prometheus_format.gauge(
                f"tiergate_{some.name}",
                some.help,
                (
                    (dict(zip(some.labels, labels[1:], strict=True)), _OVER[some.over](parts))
                    for labels, parts in gauges.items()
                    if labels[0] == some.name
                ),
            )
        for name, (gauge, _) in self._gauges.items():
            parts = gauges.get((name,), ())
            yield prometheus_format.gauge(
                f"tiergate_{name}", gauge.help, [({}, _OVER[gauge.over](parts))] if parts else ()
            )

    def _gathered(self) -> tuple[dict[str, dict[Labels, list[float]]], dict[Labels, list[float]]]:
        """The sums of all processes, and the gauges of those that live, by name and labels."""
        sums: dict[str, dict[Labels, list[float]]] = {}
        gauges: dict[Labels, list[float]] = {}
        for name, labels, numbers, lives in self._figures.read():
            if name == "gauge":
                if lives and not math.isnan(numbers[0]):
                    gauges.setdefault(labels, []).append(numbers[0])
                continue
            cells = sums.setdefault(name, {})
            before = cells.get(labels)
            cells[labels] = (
                list(numbers)
                if before is None
                else [one + other for one, other in zip(before, numbers, strict=True)]
            )
        return sums, gauges


_OVER: Mapping[Over, Callable[[Iterable[float]], float]] = {"sum": sum, "max": max, "min": min}


def _read[T](read: Callable[[], T]) -> T | None:
    try:
        return read()
    except Exception:  # noqa: BLE001 - what one room cannot tell hides nothing of the others
        return None


def _counter(
    name: str, text: str, found: Iterable[tuple[Mapping[str, str], float]]
) -> MetricFamily:
    return prometheus_format.counter(f"tiergate_{name}", text, found)


def _some(
    found: Iterable[tuple[dict[str, str], list[float]]],
) -> Iterator[tuple[dict[str, str], list[float]]]:
    """Those that anything was counted in."""
    return (one for one in found if any(one[1]))


def _unpriced(row: FinalRow) -> bool:
    """Whether nothing but a price is missing for the cost of a call."""
    return row.cost is None and row.wasted is not None and row.usage is not None


def _amount(money: Decimal) -> float:
    """What a counter may grow by: it never falls."""
    return max(float(money), 0.0)


def _fell(row: FinalRow) -> bool:
    """Return True if another target than the first of the plan served a call."""
    meant = row.basis.target if row.basis is not None else None
    return meant not in (None, f"{row.provider}/{row.model}")


def _shared(row: FinalRow) -> str:
    """What a cache had to do with a call: an answer of a near question is told apart."""
    return row.cache if row.near is None else "near"
