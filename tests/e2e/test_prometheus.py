"""Metrics of a gateway as the real Prometheus scrapes, stores and queries them."""

import math
import subprocess
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from gateway.core import jsonio
from gateway.core.ledger_rows import FinalRow
from gateway.telemetry.metrics import FIRST_CONTENT_BOUNDS
from tests.docs import pages
from tests.e2e.child import until
from tests.e2e.prometheus import Prometheus, program
from tests.e2e.redis_gateway import CANARY
from tests.e2e.upstream import Answer, Request, frames, stream, whole
from tests.e2e.world import Config, Make, World, chat

_RULES = """
groups:
  - name: tiergate
    rules:
"""


@pytest.fixture
def world(make: Make) -> World:
    return make(_spare)


def _spare(value: Config) -> None:
    value["labs"]["acme"]["smart"].append({"model": "able-2", "provider": "spare"})
    value["models"]["able-2"] = value["models"]["able-1"]


@pytest.fixture
def prometheus(world: World, tmp_path: Path) -> Iterator[Prometheus]:
    server = Prometheus(tmp_path, f"127.0.0.1:{world.port}")
    yield server
    server.stop()


def _provider(request: Request) -> Answer:
    """Stream where the request asks for it; fail at the first host where the prompt says so."""
    if request.json.get("stream"):
        return stream(*frames())
    if "fail" in request.json["messages"][-1]["content"] and request.path.startswith("/acme"):
        return Answer(pieces=(b'{"error": {"message": "no"}}',), status=500)
    return whole()


def test_prometheus_adds_up_to_the_figures_of_the_ledger(
    world: World, prometheus: Prometheus
) -> None:
    """Prometheus' own queries give USD, calls, attempts, tokens, and the time of 95 %."""
    until(lambda: prometheus.one("count(tiergate_build_info)") == 1, "a first scrape")
    until(lambda: prometheus.one("sum(tiergate_cost_usd_total)") == 0, "nothing spent yet")
    world.upstream.on("/", _provider)
    for number in range(12):
        reply = world.ask(chat(f"{CANARY} {number}", stream=number % 2 == 0))
        assert reply.status_code == 200
    assert world.ask(chat("fail")).status_code == 200
    assert world.ask(chat(model="nobody-has-this")).status_code == 404

    def all_calls() -> bool:
        return prometheus.one("sum(tiergate_calls_total)") == 14

    until(all_calls, "fourteen calls")
    increase = 'sum(increase(tiergate_cost_usd_total{model=~"able-.*"}[1m])) > 0'
    until(lambda: prometheus.query(increase), "an increase in USD")
    first = "histogram_quantile(0.95, sum by (le) (tiergate_first_content_seconds_bucket))"
    quantile = prometheus.one(first)
    spent = {
        labels["model"]: value
        for labels, value in prometheus.query("sum by (model) (tiergate_cost_usd_total) > 0")
    }
    attempts = {
        (labels["provider"], labels.get("problem", "")): value
        for labels, value in prometheus.query("tiergate_attempts_total > 0")
    }
    states = {
        labels["state"]: value
        for labels, value in prometheus.query("sum by (state) (tiergate_calls_total)")
    }
    words = 'sum(tiergate_tokens_total{class="output"})'
    output = prometheus.one(words)

    entries = world.entries()
    assert len(entries) == 14
    assert spent == pytest.approx(sum_costs_by_model(entries))
    assert sum(spent.values()) > 0
    assert attempts == {
        ("acme", ""): 12, ("acme", "upstream_error"): attempts["acme", "upstream_error"],
        ("spare", ""): 1,
    }  # fmt: skip
    assert states == {"settled": 13, "refused": 1}
    assert output == sum(entry.output or 0 for entry in entries) > 0
    times = sorted(entry.first_content for entry in entries if entry.first_content is not None)
    rank = times[math.ceil(0.95 * len(times)) - 1]
    above = next(bound for bound in FIRST_CONTENT_BOUNDS if rank <= bound)
    below = max((bound for bound in FIRST_CONTENT_BOUNDS if bound < rank), default=0.0)
    assert below <= quantile <= above


def sum_costs_by_model(entries: list[FinalRow]) -> dict[str, float]:
    sums: dict[str, Decimal] = {}
    for entry in entries:
        if entry.model is not None and entry.cost:
            sums[entry.model] = sums.get(entry.model, Decimal(0)) + entry.cost
    return {model: float(cost) for model, cost in sums.items()}


def test_metrics_hold_no_prompt_and_no_key(world: World) -> None:
    world.upstream.on("/", _provider)
    world.ask(chat(CANARY), authorization=f"Bearer {CANARY}", x_tiergate_tags=CANARY)
    world.ask(chat(model=CANARY))
    text = world.client.get("/metrics").text
    assert 'state="settled"' in text
    assert CANARY not in text


def test_promtool_accepts_the_metrics(world: World) -> None:
    """The checker looks at names, types and help texts."""
    world.upstream.on("/", _provider)
    world.ask(chat("fail"))
    text = world.client.get("/metrics").content
    run = subprocess.run(
        [program("promtool"), "check", "metrics"],
        check=False,
        input=text,
        capture_output=True,
        timeout=60,
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, b"", b"")


def _queries() -> list[str]:
    return [pages.codes(row[1])[0] for row in pages.table("question", "observing.md").rows]


def test_promtool_accepts_the_documented_queries(tmp_path: Path) -> None:
    """The queries ask only for metrics that the table of the same page lists."""
    file = tmp_path / "rules.yml"
    rules = "".join(
        f"      - record: tiergate:query{number}\n        expr: {jsonio.dumps(query).decode()}\n"
        for number, query in enumerate(_queries())
    )
    file.write_text(_RULES + rules)
    command = [program("promtool"), "check", "rules", str(file)]
    run = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stdout + run.stderr
    assert f"SUCCESS: {len(_queries())} rules found" in run.stdout
    listed = {pages.codes(row[0])[0] for row in pages.table("metric", "observing.md").rows}
    for query in _queries():
        names = {
            word.removesuffix("_bucket")
            for word in query.replace("(", " ").replace("{", " ").replace("[", " ").split()
            if word.startswith("tiergate_")
        }
        assert names
        assert names <= listed


def test_the_documents_list_every_metric(world: World) -> None:
    """The table also lists metrics that only some gateways have."""
    rows = {pages.codes(row[0])[0]: row for row in pages.table("metric", "observing.md").rows}
    text = world.client.get("/metrics").text
    exposed = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    some = {
        "tiergate_key_database_age_seconds", "tiergate_key_database_up", "tiergate_redis_up",
        "tiergate_traces_dropped_total", "tiergate_ledger_sink_lag_seconds", "tiergate_ledger_sink_pending_bytes",
        "tiergate_ledger_sink_failures",
    }  # fmt: skip
    assert rows.keys() == exposed | some
