"""Hold the provider's bill against all that a gateway tells of money and tokens."""

import math
import re
import sqlite3
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, suppress
from fractions import Fraction
from typing import Any

import httpx
import orjson
import redis

from gateway.core.ledger_rows import FinalRow
from gateway.ledger import journal
from tests.applications.modalities.calls import (
    ADMIN,
    KEY_OF_UNKNOWN,
    KEYS,
    BilledCall,
    ModalityBench,
    ProviderReply,
)
from tests.applications.modalities.models import MEDIA, PROMPT, Answered
from tests.applications.process import ROOT
from tests.clients.model_turns import CHAT, GEMINI, MESSAGES, RESPONSES
from tests.e2e.child import until
from tests.e2e.upstream import PATIENCE

type Json = Any
type Row = dict[str, Any]

_CLASSES = ("input", "cache_read", "cache_write", "output", "reasoning")
_COST_COMMENT = re.compile(rb": x-tiergate-cost: (\S+)\n")
_METRIC = re.compile(r"(tiergate_\w+_total)\{([^}]*)\} (\S+)")
_LABEL = re.compile(r'(\w+)="([^"]*)"')
_WRITTEN = ("5m", "1h", "30m", "12h")


class Sums:
    """What some calls cost and consist of, by the provider's count."""

    def __init__(self, calls: Iterable[BilledCall]) -> None:
        self.calls = list(calls)
        costs = [call.usd for call in self.calls]
        self.unknown = costs.count(None)
        self.cost = sum((cost for cost in costs if cost is not None), Fraction(0))
        self.tokens = {
            name: sum(count_class(call.answered, name) for call in self.calls) for name in _CLASSES
        }

    def differ(self, place: str, row: Json) -> Iterator[str]:
        """Yield what a row of sums says otherwise."""
        if (row["calls"], row["unknown"]) != (len(self.calls), self.unknown):
            yield f"{place}: {row['calls']} calls, {row['unknown']} unknown; billed {len(self.calls)}, {self.unknown}"  # fmt: skip
        if Fraction(row["cost"] or 0) != self.cost:
            yield f"{place}: {row['cost']} USD, billed {float(self.cost)}"
        had = {name: int(row[name] or 0) for name in _CLASSES}
        if had != self.tokens:
            yield f"{place}: {had}, the provider counted {self.tokens}"


def count_class(answered: Answered, name: str) -> int:
    """Count the tokens of a class of the ledger."""
    return answered.sum(*_WRITTEN) if name == "cache_write" else answered.sum(name)


def judge(bench: ModalityBench) -> list[str]:
    """List all that any interface tells otherwise than the provider's bill."""
    replies = bench.replies
    wrong = [f"call {number} was sent {times} times" for number, times in bench.provider.served.items() if times != 1]  # fmt: skip
    wrong += [f"call {it.call.number}: {it.status} {it.body[:300]!r}" for it in replies if it.status != 200]  # fmt: skip
    if wrong:
        return wrong
    rows = read_rows(bench)
    for reply in replies:
        wrong += [f"call {reply.call.number} ({reply.call.dialect} to {reply.call.model.name}, {reply.call.stream=}): {what}" for what in (*_judge_reply(reply), *_judge_row(reply.call, rows[reply.headers["x-request-id"]]))]  # fmt: skip
    calls = [reply.call for reply in replies]
    for check in (_judge_costs, _judge_command, _judge_own_usage, _judge_metrics, _judge_files):
        wrong += check(bench, calls)
    return [*wrong, *_judge_budgets(bench, calls, rows)]


def ask(bench: ModalityBench, path: str, key: str = ADMIN) -> httpx.Response:
    headers = {"authorization": f"Bearer {key}"}
    answer = httpx.get(bench.child.url + path, headers=headers, timeout=PATIENCE, trust_env=False)
    assert answer.status_code == 200, answer.text
    return answer


def read_rows(bench: ModalityBench) -> dict[str, Row]:
    """Wait until the ledger has all calls; return its rows by id."""
    rows: dict[str, Row] = {}
    cursor = ""

    def has_all() -> bool:
        nonlocal cursor
        for line in ask(bench, f"/admin/entries?limit=10000&after={cursor}").content.splitlines():
            row = orjson.loads(line)
            rows[row["id"]], cursor = row, row["cursor"]
        return len(rows) >= len(bench.replies)

    until(has_all, f"the ledger has {len(bench.replies)} calls")
    return rows


def _judge_reply(reply: ProviderReply) -> Iterator[str]:
    """Check the cost and the counts that the client got."""
    call = reply.call
    told = reply.headers.get("x-tiergate-cost")
    if call.stream:
        comment = _COST_COMMENT.search(reply.body)
        told = comment[1].decode() if comment else None
        if comment is None and call.dialect != GEMINI:
            yield "its stream tells no cost"
    is_silent = told is None and (call.usd is None or call.stream)
    if not is_silent and (None if told in (None, "unknown") else Fraction(told)) != call.usd:
        yield f"told {told} USD, billed {call.usd and float(call.usd)}"
    counts = _READ[call.dialect](_read_usage(call, reply.body))
    if counts != (call.answered.prompt, call.answered.completion):
        yield f"told {counts} tokens, not {call.answered.prompt}, {call.answered.completion}"


def _read_usage(call: BilledCall, body: bytes) -> Json:
    """Return the usage that a client reads, of a stream with later counts over earlier ones."""
    if not call.stream:
        return _find_usage(orjson.loads(body))
    usage: Json = {}
    for line in body.splitlines():
        if line.startswith(b"data: {"):
            usage |= _find_usage(orjson.loads(line[6:]))
    return usage


def _find_usage(value: Json) -> Json:
    for inner in (value, value.get("response"), value.get("message")):
        if isinstance(inner, dict):
            found = inner.get("usage") or inner.get("usageMetadata")
            if found:
                return found
    return {}


def _read_chat(usage: Json) -> tuple[int, int]:
    """Return both sides of a usage, which may leave parts out as some hosts do."""
    completion = usage["completion_tokens"]
    beside = (
        usage["completion_tokens_details"]["reasoning_tokens"]
        if usage.get("citation_tokens")
        else 0
    )
    return usage["total_tokens"] - completion, completion + beside


_READ: dict[str, Callable[[Json], tuple[int, int]]] = {
    CHAT: _read_chat,
    RESPONSES: lambda usage: (usage["input_tokens"], usage["output_tokens"]),
    MESSAGES: lambda usage: (
        usage["input_tokens"] + usage.get("cache_read_input_tokens", 0) + usage.get("cache_creation_input_tokens", 0),
        usage["output_tokens"],
    ),
    GEMINI: lambda usage: (
        usage["promptTokenCount"], usage.get("candidatesTokenCount", 0) + usage.get("thoughtsTokenCount", 0),
    ),
}  # fmt: skip


def _judge_row(call: BilledCall, row: Row) -> Iterator[str]:
    """Check the row of a call, class by class and modality by modality."""
    answered = call.answered
    cost = None if row["cost"] is None else Fraction(row["cost"])
    if cost != call.usd:
        yield f"the row has {row['cost']} USD, billed {call.usd and float(call.usd)} for {answered}"
    if call.model.states_bill and (row["price"], row["billed"]) != ("provider", row["cost"]):
        yield f"the bill that its provider states is not the cost: {row}"
    counts = {name: int(row[name] or 0) for name in _CLASSES}
    billed = {name: count_class(answered, name) for name in _CLASSES}
    if counts != billed:
        yield f"the row has {counts}, the provider {billed}"
    lifetimes = {name: tokens for name in _WRITTEN if (tokens := answered.sum(name))}
    if row["cache_write_by"] != lifetimes:
        yield f"the row has {row['cache_write_by']} written, the provider {lifetimes}"
    tools = {name: units for name, units in answered.tools.items() if units}
    if row["tools"] != tools:
        yield f"the row has {row['tools']}, the provider {tools}"
    media = {
        f"{direction}_{name}": tokens
        for direction, parts in (("input", PROMPT), ("cache_read", ("cache_read",)), ("output", ("output",)))
        for name in MEDIA
        if (tokens := answered.sum(*parts, modality=name))
    }  # fmt: skip
    if {name: tokens for name, tokens in row["media"].items() if tokens} != media:
        yield f"the row has {row['media']}, the provider {media}"


def _group(calls: Iterable[BilledCall], name: Callable[[BilledCall], str]) -> dict[str, Sums]:
    groups = defaultdict(list)
    for call in calls:
        groups[name(call)].append(call)
    return {group: Sums(members) for group, members in groups.items()}


def _differ(place: str, groups: dict[str, Sums], rows: Iterable[Json], name: str) -> Iterator[str]:
    by_name = {row[name]: row for row in rows}
    if set(by_name) != set(groups):
        yield f"{place}: {sorted(by_name)}, not {sorted(groups)}"
        return
    for group, sums in groups.items():
        yield from sums.differ(f"{place} {group}", by_name[group])


def _by_model(call: BilledCall) -> str:
    return call.model.name


def _by_key(call: BilledCall) -> str:
    return call.key


def _judge_costs(bench: ModalityBench, calls: list[BilledCall]) -> Iterator[str]:
    """Check what admins ask for, and what the charts of the dashboard show."""
    for path, groups in (("/admin/costs", "groups"), ("/admin/series", "totals")):
        for name, find_name in (("model", _by_model), ("key", _by_key)):
            answer = ask(bench, f"{path}?by={name}&since=23h").json()
            yield from _differ(path, _group(calls, find_name), answer[groups], name)
            yield from Sums(calls).differ(path, answer["total"])


def _judge_command(bench: ModalityBench, calls: list[BilledCall]) -> Iterator[str]:
    """Check `tiergate costs`."""
    command = [sys.executable, "-m", "gateway", "--config", str(bench.folder / "gateway.yaml"), "costs", "--by", "model", "--json"]  # fmt: skip
    environ = {"PYTHONPATH": str(ROOT), "TIERGATE_DATA": str(bench.folder / "data"), "PATH": "/usr/bin:/bin"}  # fmt: skip
    ran = subprocess.run(command, env=environ, capture_output=True, check=False)
    assert ran.returncode == 0, ran.stderr
    answer = orjson.loads(ran.stdout)
    yield from _differ("tiergate costs", _group(calls, _by_model), answer["groups"], "model")
    yield from Sums(calls).differ("tiergate costs", answer["total"])


def _judge_own_usage(bench: ModalityBench, calls: list[BilledCall]) -> Iterator[str]:
    """Check what the owner of each key sees."""
    for key, sums in _group(calls, _by_key).items():
        answer = ask(bench, "/v1/usage?since=2d", key).json()
        yield from sums.differ(f"/v1/usage of {key}", answer["total"])
        for model, own in _group(sums.calls, _by_model).items():
            rows = [row for row in answer["days"] if row["model"] == model]
            summed = {name: sum(int(row[name] or 0) for row in rows) for name in ("calls", "unknown", *_CLASSES)}  # fmt: skip
            cost = sum(Fraction(row["cost"] or 0) for row in rows)
            yield from own.differ(f"/v1/usage of {key}, {model}", {**summed, "cost": cost})


def _judge_metrics(bench: ModalityBench, calls: list[BilledCall]) -> Iterator[str]:
    """Check what Prometheus reads: sums of doubles, of which the last digits may differ."""
    figures: dict[tuple[str, str], float] = defaultdict(float)
    tokens: Counter[tuple[str, str]] = Counter()
    for name, text, value in _METRIC.findall(ask(bench, "/metrics").text):
        labels = dict(_LABEL.findall(text))
        if name == "tiergate_tokens_total":
            tokens[labels["model"], labels["class"]] += int(float(value))
        elif "model" in labels:
            figures[name, labels["model"]] += float(value)
    for model, sums in _group(calls, _by_model).items():
        cost = figures["tiergate_cost_usd_total", model]
        if not math.isclose(cost, float(sums.cost), rel_tol=1e-12):
            yield f"/metrics: {cost} USD of {model}, billed {float(sums.cost)}"
        if figures["tiergate_calls_unknown_cost_total", model] != sums.unknown:
            yield f"/metrics: {figures['tiergate_calls_unknown_cost_total', model]} unknown of {model}"
        had = {name: tokens[model, name] for name in _CLASSES}
        if had != sums.tokens:
            yield f"/metrics: {had} of {model}, the provider counted {sums.tokens}"


def _judge_files(bench: ModalityBench, calls: list[BilledCall]) -> Iterator[str]:
    """Check the journal, and the store as SQL reads it."""
    sums = Sums(calls)
    segments = journal.list_segments(bench.folder / "data" / "ledger")
    found = [row for path in segments for row, _ in journal.read_rows(path)]
    costs = [row.cost for row in found if isinstance(row, FinalRow)]
    with closing(sqlite3.connect(bench.folder / "data" / "ledger.db")) as store:
        stored = [cost for (cost,) in store.execute("SELECT cost FROM costs")]
    for place, them in (("the journal", costs), ("the store", stored)):
        total = sum((Fraction(cost) for cost in them if cost is not None), Fraction(0))
        if (len(them), them.count(None), total) != (len(calls), sums.unknown, sums.cost):
            yield f"{place}: {len(them)} calls, {them.count(None)} unknown, {float(total)} USD, billed {float(sums.cost)}"  # fmt: skip


def _judge_budgets(
    bench: ModalityBench, calls: list[BilledCall], rows: dict[str, Row]
) -> Iterator[str]:
    """Check the counters in Redis. Each call counts in whole micro-USD, rounded up.

    A call whose cost is unknown stays charged with its reservation, which is no less than its row
    says.
    """
    billed = {key: sum(math.ceil(call.usd * 1_000_000) for call in calls if call.key == key and call.usd is not None) for key in KEYS}  # fmt: skip
    reserved = sum((Fraction(row["reserved"] or 0) for row in rows.values()), Fraction(0))
    unknown = math.ceil(reserved * 1_000_000)

    def differ(counted: dict[str, int]) -> list[str]:
        known = {key: counted.get(key) for key in KEYS if key != KEY_OF_UNKNOWN}
        apart = {key: micros for key, micros in billed.items() if key != KEY_OF_UNKNOWN}
        wrong = [f"{known}, billed {apart} micro-USD"] if known != apart else []
        if counted.get(KEY_OF_UNKNOWN, 0) < billed[KEY_OF_UNKNOWN] + unknown:
            wrong.append(f"{counted}, billed {billed} and {unknown} reserved micro-USD")
        if counted.get("all") != sum(counted.get(key, 0) for key in KEYS):
            wrong.append(f"keys do not add up: {counted}")
        return wrong

    with suppress(AssertionError):  # the limiter settles a call soon after its row
        until(lambda: not differ(_read_counters(bench)), "counters are what was billed", 5.0)
    yield from (f"Redis: {what}" for what in differ(_read_counters(bench)))
    budgets = ask(bench, "/admin/budgets").json()["budgets"]
    shown = {row["subject"] or "all": int(Fraction(row["used"]) * 1_000_000) for row in budgets}
    yield from (f"/admin/budgets: {what}" for what in differ(shown))


def _read_counters(bench: ModalityBench) -> dict[str, int]:
    """Return the micro-USD of the budget of each key, and of the one of all."""
    with redis.Redis.from_url(bench.redis_url) as admin:
        hashes = [admin.hgetall(name) for name in admin.scan_iter("tiergate:*:spent")]
    fields = {name.decode(): int(value) for one in hashes for name, value in one.items()}
    return {name.split("|")[2].removeprefix("key="): value for name, value in fields.items()}
