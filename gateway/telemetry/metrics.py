"""Prometheus metrics, counted from ledger rows as the gateway writes them.

Label values are words of the configuration, never of a client: labs, tiers, providers and models of
the catalogue. Names of keys, teams and tenants are labels if the operator asks for them. The ledger
is exact; these figures are sums of doubles.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Literal, NamedTuple

import msgspec

from gateway.core.ledger_rows import ANSWERED_STATES, AttemptRow, FinalRow, Row
from gateway.core.price import compute_bill_difference
from gateway.telemetry import prometheus_format
from gateway.telemetry.prometheus_format import MetricFamily
from gateway.telemetry.shared_metrics import Labels, MetricArea, SharedMemory

CALL_SECONDS_BOUNDS = (
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0, 1800.0,
)  # fmt: skip
"""Bucket bounds in seconds of whole calls: from a cache hit to half an hour of reasoning."""
FIRST_CONTENT_BOUNDS = (
    0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.5,
    5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0,
)  # fmt: skip
"""Bucket bounds in seconds of the time to the first content, closer where people wait for it."""

UNLISTED_MODEL = "other"
"""The label of all models that no lab lists."""

type LedgerFailure = Literal["write", "sync", "feed"]
_LEDGER_FAILURES: tuple[LedgerFailure, ...] = ("write", "sync", "feed")
type Aggregation = Literal["sum", "max", "min"]

_TARGET_LABELS = ("lab", "tier", "provider", "model")
_CALL_LABELS = (*_TARGET_LABELS, "cache", "state", "stream")
_TIMED_LABELS = ("lab", "tier", "model", "cache")
_TOKEN_CLASSES = ("input", "cache_read", "cache_write", "output", "reasoning")
_SERVED_STATES = frozenset({"settled", "estimated", "aborted"})
_CUT_CAUSES = frozenset({"upstream", "timeout"})

# The positions of the numbers in a "money" cell; tokens follow, in the order of _TOKEN_CLASSES.
_COST, _WASTED, _ESTIMATE, _UNKNOWN, _UNPRICED, _BASELINE, _COMPARED = range(7)
_DIVERGENT, _BILLED_MORE, _BILLED_LESS, _TOKENS = range(7, 11)
_MONEY_SIZE = _TOKENS + len(_TOKEN_CLASSES)

_MONEY_METRICS = (
    ("cost_usd", "USD of calls, failed attempts and estimates among them."),
    ("wasted_usd", "USD of cost_usd for attempts that gave no answer."),
    ("estimated_usd", "USD of cost_usd that rest on estimated tokens."),
    ("calls_unknown_cost", "Calls whose cost is unknown, wholly or in part."),
    ("calls_unpriced", "Calls of these whose tokens are known, and a price is missing."),
    ("baseline_usd", "USD that calls would have cost on the baseline."),
    ("compared_usd", "USD of calls that have a baseline: what is saved is baseline_usd less this."),
    ("bill_divergences", "Calls whose bill, as the provider states it, is not the gateway's sum."),
    ("billed_more_usd", "USD by which such bills exceed the gateway's sums."),
    ("billed_less_usd", "USD by which such bills fall below the gateway's sums."),
)


class GaugeMetric(NamedTuple):
    """A current value, read at each refresh."""

    name: str
    help: str
    read: Callable[[], float | None]
    """Returns None if there is no value. If it returns None or raises, the gauge is left out."""
    aggregation: Aggregation = "sum"
    """The function that merges the values of several workers."""


class LabelledGauges(NamedTuple):
    """Current values under one name, with words of the configuration as labels."""

    name: str
    help: str
    labels: Labels
    read: Callable[[], Mapping[Labels, float]]
    """Returns values by the values of `labels`; if it raises, there are none."""
    aggregation: Aggregation = "max"


class CounterMetric(NamedTuple):
    """A number that grows from 0 while the process runs, read at each refresh."""

    name: str
    help: str
    read: Callable[[], float]
    """Returns the number; if it raises, the counter keeps its last one."""


class _CellOffsets(msgspec.Struct, frozen=True, eq=False, gc=False):
    """The positions of the numbers that calls of one kind add to."""

    counter_offsets: tuple[int, ...]
    """The positions of all counters that such a call adds 1 to."""
    money: int
    seconds: int
    first_content: int


class Metrics:
    """Counts rows. `info` labels tiergate_build_info.

    `keys`, `teams` and `tenants` label calls and costs by client key, by team and by tenant.
    Workers with the same `memory` each report the figures of all of them.
    """

    def __init__(
        self,
        *,
        keys: bool = False,
        tenants: bool = False,
        teams: bool = False,
        info: Mapping[str, str] | None = None,
        memory: SharedMemory | None = None,
        gauges: Sequence[GaugeMetric] = (),
        counters: Sequence[CounterMetric] = (),
    ) -> None:
        self.has_key_labels = keys
        """True if names of client keys are labels."""
        self.has_tenant_labels = tenants
        """True if names of tenants are labels."""
        self.has_team_labels = teams
        """True if names of teams are labels."""
        optional_labels = {"tenant": tenants, "team": teams, "key": keys}
        self._caller_labels = tuple(
            [name for name, is_enabled in optional_labels.items() if is_enabled]
        )
        """The labels that name the tenant, the team and the key of a call."""
        self._info = dict(info or {})
        self._area = MetricArea(memory)
        self._values = self._area.values
        self._offsets_by_kind: dict[tuple[object, ...], _CellOffsets] = {}
        self._listed_models: set[tuple[str, str]] = set()
        """Each provider with a model that labs list. While the set is empty, each model is labelled
        by its name."""
        self._recovered_offset = self._area.find_offset("recovered", (), 1)
        self._failure_offsets: dict[LedgerFailure, int] = {
            failure: self._area.find_offset("fails", (failure,), 1) for failure in _LEDGER_FAILURES
        }
        self._gauges: dict[str, tuple[GaugeMetric, int]] = {}
        self._labelled_gauges: dict[str, tuple[LabelledGauges, dict[Labels, int]]] = {}
        self._counters: dict[str, tuple[CounterMetric, int, float]] = {}
        self.watch(gauges, counters)

    def watch(
        self,
        gauges: Iterable[GaugeMetric] = (),
        counters: Iterable[CounterMetric] = (),
        labelled_gauges: Iterable[LabelledGauges] = (),
    ) -> None:
        """Report these metrics too."""
        for labelled in labelled_gauges:
            offsets = self._area.find_offsets("gauge", labelled.name)
            for offset in offsets.values():
                self._values[offset] = math.nan
            self._labelled_gauges[labelled.name] = (labelled, offsets)
        for gauge in gauges:
            offset = self._area.find_offset("gauge", (gauge.name,), 1)
            self._values[offset] = math.nan  # drop the value of an earlier process
            self._gauges[gauge.name] = (gauge, offset)
        for counter in counters:
            offset = self._area.find_offset("count", (counter.name,), 1)
            self._counters[counter.name] = (counter, offset, self._values[offset])

    def update_info(self, **info: str) -> None:
        """Replace some labels of the build metric."""
        self._info = {**self._info, **info}

    def expect(self, targets: Iterable[tuple[str, str, str, str]]) -> None:
        """Show the costs of these (lab, tier, provider, model) as 0 before their first call.

        Prometheus sees no increase in the first value of a series. If callers are labels,
        nothing is shown early: nobody knows which of them will call which target. From now on, a
        model in no such list gets the label `other`, since clients choose its name.
        """
        target_list = list(targets)
        self._listed_models.update(target[2:] for target in target_list)
        for target in () if self._caller_labels else target_list:
            self._area.find_offset("money", target, _MONEY_SIZE)
            self._find_attempt_offset(*target[2:], "")

    def count_row(self, row: Row) -> None:
        """Count one row, on one thread; a final row takes about 2 us."""
        self.count_rows((row,))

    def count_rows(self, rows: Sequence[Row]) -> None:
        """Count rows as `count_row` does, in groups of similar calls, which takes half the time.

        Sums of USD and of seconds may differ in their last digit, since the order of addition
        differs.
        """
        groups: dict[_CellOffsets, list[FinalRow]] = {}
        for row in rows:
            if isinstance(row, FinalRow):
                kind = self._make_kind(row)
                offsets = self._offsets_by_kind.get(kind)
                if offsets is None:
                    offsets = self._offsets_by_kind[kind] = self._make_offsets(row)
                groups.setdefault(offsets, []).append(row)
            elif isinstance(row, AttemptRow):
                model = self._label_model(row.provider, row.model)
                self._values[self._find_attempt_offset(row.provider, model, row.problem)] += 1
        for offsets, group in groups.items():
            self._count_group(group, offsets)

    def count_refusal(self, kind: str) -> None:
        """Count a request that the gateway refused before it was a call."""
        self._values[self._area.find_offset("refused", (kind,), 1)] += 1

    def count_opened_target(self, target: tuple[str, str, str], cause: str) -> None:
        """Count that the gateway stops asking a target, or an account if the model is empty."""
        self._values[self._area.find_offset("opened", (*target, cause), 1)] += 1

    def count_ledger_failure(self, failure: LedgerFailure) -> None:
        """Count a failure to write the ledger, to sync it to disk or to feed its store."""
        self._values[self._failure_offsets[failure]] += 1

    def refresh(self) -> None:
        """Read all gauges and counters, so that other workers can report them."""
        for gauge, offset in self._gauges.values():
            value = _read_or_none(gauge.read)
            self._values[offset] = math.nan if value is None else value
        for labelled, offsets in self._labelled_gauges.values():
            readings = _read_or_none(labelled.read) or {}
            for labels in readings.keys() - offsets.keys():
                offsets[labels] = self._area.find_offset("gauge", (labelled.name, *labels), 1)
            for labels, offset in list(offsets.items()):
                self._values[offset] = readings.get(labels, math.nan)
        for counter, offset, base_value in self._counters.values():
            value = _read_or_none(counter.read)
            if value is not None:
                self._values[offset] = base_value + value

    def render(self, *, openmetrics: bool = False) -> tuple[bytes, str]:
        """Return the text of a scrape and its content type; any thread may call this."""
        self.refresh()
        return prometheus_format.render(self._build_families(), openmetrics=openmetrics)

    def _make_kind(self, row: FinalRow) -> tuple[object, ...]:
        """Return the kind of a row: all that its positions depend on."""
        return (
            row.lab, row.tier, row.provider, self._label_model(row.provider, row.model), row.cache,
            row.near is None, row.state, row.stream, row.problem, row.aborted_by in _CUT_CAUSES,
            row.attempts > 0, row.source, _is_fallback(row),
            self._find_caller_values(row) if self._caller_labels else (),
            row.escalated, None if row.escalated is None else row.checked,
        )  # fmt: skip

    def _count_group(self, rows: list[FinalRow], offsets: _CellOffsets) -> None:
        """Count calls of one kind; read and write each number once for all of them."""
        values, offset = self._values, offsets.money
        for counter_offset in offsets.counter_offsets:
            values[counter_offset] += len(rows)
        cost_sum = values[offset + _COST]
        input_tokens = cached_tokens = output_tokens = 0
        for row in rows:
            cost = row.cost
            if (
                cost is None
                or row.wasted
                or row.estimate
                or row.baseline is not None
                or (row.wasted is None or row.cache_write or row.reasoning or row.cache == "hit")
                or row.computed_cost is not None
            ):
                values[offset + _COST] = cost_sum
                self._count_money(row, offset)
                self._count_bill(row, offset)
                cost_sum = values[offset + _COST]
                continue
            if cost > 0:
                cost_sum += float(cost)
            input_tokens += row.input or 0
            cached_tokens += row.cache_read or 0
            output_tokens += row.output or 0
        values[offset + _COST] = cost_sum
        offset += _TOKENS
        values[offset] += input_tokens
        values[offset + 1] += cached_tokens
        values[offset + 3] += output_tokens
        if rows[0].state in ANSWERED_STATES:
            self._fill_histogram(
                [row.duration for row in rows], CALL_SECONDS_BOUNDS, offsets.seconds
            )
        self._fill_histogram(
            [row.first_content for row in rows], FIRST_CONTENT_BOUNDS, offsets.first_content
        )
        if rows[0].state == "unknown_crash":
            values[self._recovered_offset] += len(rows)

    def _fill_histogram(
        self, durations: list[float | None], bounds: tuple[float, ...], offset: int
    ) -> None:
        """Add durations to a histogram: a count for each bucket, and the sum of seconds."""
        values, sum_offset = self._values, offset + len(bounds) + 1
        seconds_sum, last_bucket, bucket_count = values[sum_offset], 0, 0
        for seconds in durations:
            if seconds is not None:
                seconds_sum += seconds
                if (bucket := bisect_left(bounds, seconds)) != last_bucket:
                    values[offset + last_bucket] += bucket_count
                    last_bucket, bucket_count = bucket, 0
                bucket_count += 1
        values[offset + last_bucket] += bucket_count
        values[sum_offset] = seconds_sum

    def _count_money(self, row: FinalRow, offset: int) -> None:
        values = self._values
        if row.cost is None or row.wasted is None:
            values[offset + _UNKNOWN] += 1
            values[offset + _UNPRICED] += _is_unpriced(row)
        cost = _to_amount(row.cost) if row.cost else 0.0
        if cost:
            values[offset + _COST] += cost
        if row.wasted:
            values[offset + _WASTED] += _to_amount(row.wasted)
        if row.estimate:
            values[offset + _ESTIMATE] += _to_amount(row.estimate)
        if row.baseline is not None and row.cost is not None:
            values[offset + _BASELINE] += _to_amount(row.baseline)
            values[offset + _COMPARED] += cost
        if row.cache == "hit":
            return  # the call that filled the cache has used its tokens
        offset += _TOKENS
        if row.input:
            values[offset] += row.input
        if row.cache_read:
            values[offset + 1] += row.cache_read
        if row.cache_write:
            values[offset + 2] += row.cache_write
        if row.output:
            values[offset + 3] += row.output
        if row.reasoning:
            values[offset + 4] += row.reasoning

    def _count_bill(self, row: FinalRow, offset: int) -> None:
        """Count a bill that is not the gateway's sum."""
        if row.billed is None or row.computed_cost is None:
            return
        if difference := compute_bill_difference(row.billed, row.computed_cost):
            values = self._values
            values[offset + _DIVERGENT] += 1
            values[offset + (_BILLED_MORE if difference > 0 else _BILLED_LESS)] += float(
                abs(difference)
            )

    def _make_offsets(self, row: FinalRow) -> _CellOffsets:
        provider, model = row.provider or "", self._label_model(row.provider, row.model)
        lab, tier = row.lab or "", row.tier or ""
        target = lab, tier, provider, model
        caller = self._find_caller_values(row)
        stream = "true" if row.stream else "false"
        cache = _label_cache(row)
        timed_labels = (lab, tier, model, cache)
        cut_problem = row.problem if row.aborted_by in _CUT_CAUSES else ""
        find_offset = self._area.find_offset
        was_answered = row.attempts > 0 and row.state in _SERVED_STATES
        counter_offsets = [find_offset("calls", (*target, cache, row.state, stream, *caller), 1)]
        if was_answered:  # failed attempts have rows of their own
            counter_offsets.append(self._find_attempt_offset(provider, model, cut_problem or ""))
        if was_answered and _is_fallback(row):
            counter_offsets.append(find_offset("fallbacks", target, 1))
        if row.escalated is not None:
            served = "first" if row.tier == row.escalated else "second"
            labels = row.checked or "", served
            counter_offsets.append(find_offset("escalations", labels, 1))
        if row.source is not None and row.tier is not None:
            counter_offsets.append(find_offset("decisions", (lab, tier, row.source, *caller), 1))
        if row.problem is not None:
            counter_offsets.append(find_offset("problems", (lab, tier, row.problem), 1))
        return _CellOffsets(
            counter_offsets=tuple(counter_offsets),
            money=find_offset("money", (*target, *caller), _MONEY_SIZE),
            seconds=find_offset("seconds", timed_labels, len(CALL_SECONDS_BOUNDS) + 2),
            first_content=find_offset("first", timed_labels, len(FIRST_CONTENT_BOUNDS) + 2),
        )

    def _label_model(self, provider: str | None, model: str | None) -> str:
        """Return the label of a model: its name if a lab lists it."""
        if not model or not self._listed_models or (provider or "", model) in self._listed_models:
            return model or ""
        return UNLISTED_MODEL

    def _find_caller_values(self, row: FinalRow) -> Labels:
        """Return the values of the labels for tenant, team and key."""
        return tuple([getattr(row, name) or "" for name in self._caller_labels])

    def _find_attempt_offset(self, provider: str, model: str, problem: str) -> int:
        return self._area.find_offset("attempts", (provider, model, problem), 1)

    def _build_families(self) -> Iterator[MetricFamily]:
        sums, gauges = self._gather()
        caller_labels = self._caller_labels

        def read_cells(name: str, labels: Labels) -> Iterable[tuple[dict[str, str], list[float]]]:
            for values, numbers in sums.get(name, {}).items():
                yield dict(zip(labels, values, strict=True)), numbers

        def read_values(
            name: str, labels: Labels, index: int = 0
        ) -> Iterable[tuple[dict[str, str], float]]:
            return (
                (label_values, numbers[index]) for label_values, numbers in read_cells(name, labels)
            )

        yield prometheus_format.make_gauge(
            "tiergate_build_info", "The version, and that of the configuration.", [(self._info, 1)]
        )
        yield _make_counter(
            "calls",
            "Calls, by how they ended.",
            read_values("calls", (*_CALL_LABELS, *caller_labels)),
        )
        for index, (name, text) in enumerate(_MONEY_METRICS):
            yield _make_counter(
                name, text, read_values("money", (*_TARGET_LABELS, *caller_labels), index)
            )
        yield _make_counter(
            "tokens",
            "Tokens that providers read and wrote; the classes never overlap.",
            (
                ({**label_values, "class": token_class}, numbers[_TOKENS + index])
                for label_values, numbers in read_cells("money", (*_TARGET_LABELS, *caller_labels))
                for index, token_class in enumerate(_TOKEN_CLASSES)
            ),
        )
        yield prometheus_format.make_histogram(
            "tiergate_call_duration_seconds",
            "From receipt to the last byte, of calls that were answered.",
            CALL_SECONDS_BOUNDS,
            _drop_empty(read_cells("seconds", _TIMED_LABELS)),
        )
        yield prometheus_format.make_histogram(
            "tiergate_first_content_seconds",
            "From receipt to the first content sent.",
            FIRST_CONTENT_BOUNDS,
            _drop_empty(read_cells("first", _TIMED_LABELS)),
        )
        yield _make_counter(
            "attempts",
            "Requests to providers; those without a problem were answered.",
            read_values("attempts", ("provider", "model", "problem")),
        )
        yield _make_counter(
            "decisions",
            "Calls whose tier was decided, by what decided it.",
            read_values("decisions", ("lab", "tier", "source", *caller_labels)),
        )
        yield _make_counter(
            "fallbacks",
            "Calls served by a target after the first of their plan, by that target.",
            read_values("fallbacks", _TARGET_LABELS),
        )
        yield _make_counter(
            "escalations",
            "Calls whose first answer had a fault, so that the tier above was asked too.",
            read_values("escalations", ("fault", "served")),
        )
        yield _make_counter(
            "problems",
            "Calls that ended with an error, by its kind.",
            read_values("problems", ("lab", "tier", "problem")),
        )
        yield _make_counter(
            "refused", "Requests refused before they were calls.", read_values("refused", ("kind",))
        )
        yield _make_counter(
            "targets_opened",
            "Times that a circuit breaker opened for a target, or for an account (without a "
            "model).",
            read_values("opened", ("provider", "account", "model", "cause")),
        )
        yield _make_counter(
            "calls_recovered",
            "Calls of a crash that were closed after it.",
            read_values("recovered", ()),
        )
        yield _make_counter(
            "ledger_failures",
            "Times that the ledger failed, by what.",
            read_values("fails", ("what",)),
        )
        for name, (counter, _, _) in self._counters.items():
            counter_values = sums.get("count", {}).get((name,), [0.0])
            yield _make_counter(name, counter.help, [({}, counter_values[0])])
        for labelled, _ in self._labelled_gauges.values():
            yield prometheus_format.make_gauge(
                f"tiergate_{labelled.name}",
                labelled.help,
                (
                    (
                        dict(zip(labelled.labels, labels[1:], strict=True)),
                        _AGGREGATES[labelled.aggregation](parts),
                    )
                    for labels, parts in gauges.items()
                    if labels[0] == labelled.name
                ),
            )
        for name, (gauge, _) in self._gauges.items():
            parts = gauges.get((name,), ())
            yield prometheus_format.make_gauge(
                f"tiergate_{name}",
                gauge.help,
                [({}, _AGGREGATES[gauge.aggregation](parts))] if parts else (),
            )

    def _gather(self) -> tuple[dict[str, dict[Labels, list[float]]], dict[Labels, list[float]]]:
        """Return the sums of all processes, and the gauges of live ones, by name and labels."""
        sums: dict[str, dict[Labels, list[float]]] = {}
        gauges: dict[Labels, list[float]] = {}
        for name, labels, numbers, is_alive in self._area.read():
            if name == "gauge":
                if is_alive and not math.isnan(numbers[0]):
                    gauges.setdefault(labels, []).append(numbers[0])
                continue
            cells = sums.setdefault(name, {})
            previous = cells.get(labels)
            cells[labels] = (
                list(numbers)
                if previous is None
                else [left + right for left, right in zip(previous, numbers, strict=True)]
            )
        return sums, gauges


_AGGREGATES: Mapping[Aggregation, Callable[[Iterable[float]], float]] = {
    "sum": sum,
    "max": max,
    "min": min,
}


def _read_or_none[T](read: Callable[[], T]) -> T | None:
    try:
        return read()
    except Exception:  # noqa: BLE001 - one metric that fails hides no other
        return None


def _make_counter(
    name: str, text: str, samples: Iterable[tuple[Mapping[str, str], float]]
) -> MetricFamily:
    return prometheus_format.make_counter(f"tiergate_{name}", text, samples)


def _drop_empty(
    cells: Iterable[tuple[dict[str, str], list[float]]],
) -> Iterator[tuple[dict[str, str], list[float]]]:
    """Yield the cells with a number other than 0."""
    return (cell for cell in cells if any(cell[1]))


def _is_unpriced(row: FinalRow) -> bool:
    """Return True if only a price is missing for the cost of a call."""
    return row.cost is None and row.wasted is not None and row.usage is not None


def _to_amount(money: Decimal) -> float:
    """Return what a counter may grow by: it never falls."""
    return max(float(money), 0.0)


def _is_fallback(row: FinalRow) -> bool:
    """Return True if another target than the first of the plan served a call."""
    planned_target = row.basis.target if row.basis is not None else None
    if row.escalated not in (None, row.tier):
        return False  # the plan of another tier served
    return planned_target not in (None, f"{row.provider}/{row.model}")


def _label_cache(row: FinalRow) -> str:
    """Return the cache label of a call: "near" for an answer to a similar question."""
    return row.cache if row.near is None else "near"
