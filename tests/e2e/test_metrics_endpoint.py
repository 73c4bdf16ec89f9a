"""`/metrics` of `tiergate serve`: open, summed over workers, for admins where it names keys."""

import os
import re
import signal
import time
from collections.abc import Iterator
from datetime import UTC
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from gateway.core import jsonio
from gateway.limits import window
from gateway.state.errors import StoreUnavailable
from tests.e2e.child import GatewayChild, until
from tests.e2e.redis_gateway import echo
from tests.e2e.upstream import Upstream
from tests.e2e.world import Config, Make, chat, config

ADMIN = "an-admin-key"
COST = 0.000019
"""USD of 7 tokens in and 3 out of able-1."""
STRICT = {"accept": "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3"}


class TwoWorkerGateway:
    """A running `tiergate serve --workers 2`."""

    def __init__(self, folder: Path, value: Config) -> None:
        file = folder / "gateway.yaml"
        file.write_bytes(jsonio.dumps(value))
        self.child = GatewayChild(file, "--workers", "2")

    @property
    def pids(self) -> list[int]:
        rows = [jsonio.loads(line.encode()) for line in self.child.err.splitlines()]
        return [row["pid"] for row in rows if row.get("text") == "started"]

    def started(self, number: int) -> bool:
        """True if exactly `number` workers have started."""
        return len(self.pids) == number

    def ask(self, text: str) -> None:
        """Ask on a new connection, which any worker may accept."""
        url = f"{self.child.url}/v1/chat/completions"
        reply = httpx.post(url, json=chat(text), timeout=20, trust_env=False)
        assert reply.status_code == 200

    def totals(self) -> tuple[float, float]:
        """Return the number of calls and their USD that any one worker reports."""
        text = httpx.get(f"{self.child.url}/metrics", timeout=20, trust_env=False).text
        calls, cost = (
            sum(
                float(value)
                for value in re.findall(rf"^tiergate_{name}\{{.*\}} (.*)", text, re.MULTILINE)
            )
            for name in ("calls_total", "cost_usd_total")
        )
        return calls, cost


@pytest.fixture
def two_workers(upstream: Upstream, tmp_path: Path) -> Iterator[TwoWorkerGateway]:
    upstream.on("/", echo)
    gateway = TwoWorkerGateway(tmp_path, config(upstream.url))
    yield gateway
    gateway.child.stop()


def test_each_worker_reports_all_calls_even_after_a_kill(two_workers: TwoWorkerGateway) -> None:
    """Each worker reports the calls and costs of all, up to the last call that was answered."""
    calls = 0
    for deaths in range(3):
        for _ in range(10):
            two_workers.ask(f"Hello {calls}.")
            calls += 1
        for _ in range(6):
            assert two_workers.totals() == pytest.approx((calls, calls * COST))
        os.kill(two_workers.pids[-1], signal.SIGKILL)
        until(partial(two_workers.started, 3 + deaths), "a successor")
    assert two_workers.totals() == pytest.approx((30, 30 * COST))


def test_the_metrics_endpoint_needs_no_key(make: Make) -> None:
    """`/metrics` needs no key, in the Prometheus format and in OpenMetrics."""
    world = make()
    assert world.ask(chat()).status_code == 200
    assert world.client.post("/v1/chat/completions", content=b"x" * 33_000_000).status_code == 413
    reply = world.client.get("/metrics")
    assert reply.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    lines = reply.text.splitlines()
    assert "tiergate_calls_in_flight 0.0" in lines
    assert "tiergate_ledger_rows_total 2.0" in lines
    assert 'tiergate_refused_total{kind="request_too_large"} 1.0' in lines
    assert (
        'tiergate_cost_usd_total{lab="acme",tier="fast",provider="acme",model="swift-1"} 0.0'
        in lines
    ), "what is not spent yet"
    strict = world.client.get("/metrics", headers=STRICT)
    assert strict.headers["content-type"].startswith("application/openmetrics-text")
    parse: Any = text_string_to_metric_families
    names = {family.name for family in parse(strict.text)}
    assert {"tiergate_calls", "tiergate_build_info", "tiergate_call_duration_seconds"} <= names
    assert "tiergate_redis_up" not in names


@pytest.mark.parametrize("named", [False, True])
def test_metrics_show_how_full_each_budget_is(make: Make, *, named: bool) -> None:
    """Metrics show the fullest counter of each budget.

    Where metrics name keys, they show every key's counter and its owner.
    """

    def budgets(value: Config) -> None:
        value["budgets"] = [{"name": "each", "usd": 0.001, "every": "month", "per": "key"}]
        value["metrics"] = {"keys": named}

    world = make(budgets, TIERGATE_KEYS="ann=" + "a" * 64, TIERGATE_ADMIN_KEY=ADMIN)
    toll = world.gateway.limit_runtime

    async def seed() -> None:
        when = window.find_window("month", time.time(), UTC).name
        await world.gateway._counter_store.seed("default", f"usd|each|key=ann|{when}", 250)
        await world.gateway._counter_store.seed("default", f"usd|each|key=bob|{when}", 750)
        await toll.refresh_levels()

    world.loop.run(seed())
    headers = {"authorization": f"Bearer {ADMIN}"}
    text = world.client.get("/metrics", headers=headers).text
    figures = dict(re.findall(r"^(tiergate_budget_\w+\{.*\}) (.*)$", text, re.MULTILINE))
    ratios = {name: value for name, value in figures.items() if "used_ratio" in name}
    if named:
        assert ratios == {
            'tiergate_budget_used_ratio{budget="each",key="ann"}': "0.25",
            'tiergate_budget_used_ratio{budget="each",key="bob"}': "0.75",
        }
    else:
        assert ratios == {'tiergate_budget_used_ratio{budget="each"}': "0.75"}
        assert figures['tiergate_budget_limit_usd{budget="each"}'] == "0.001"
        assert float(figures['tiergate_budget_end_timestamp_seconds{budget="each"}']) > time.time()
        assert (
            float(figures['tiergate_budget_start_timestamp_seconds{budget="each"}']) <= time.time()
        )

    async def lose() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(world.gateway._counter_store, "read_counters", gone)
            await toll.refresh_levels()

    world.loop.run(lose())
    assert "tiergate_budget_used_ratio{" not in world.client.get("/metrics", headers=headers).text


def test_metrics_of_budgets_name_tenants_and_teams_where_configured(make: Make) -> None:
    """A budget for all tenants has an empty tenant label, and one of no team an empty team label.

    Names of tenants and teams are for admins, as names of keys are.
    """

    def budgets(value: Config) -> None:
        value["budgets"] = [
            {"name": "all", "usd": 0.001, "every": "total"},
            {"name": "own", "usd": 0.001, "every": "total", "per": "tenant"},
            {"name": "team", "usd": 0.001, "every": "total", "per": "team"},
        ]
        value["metrics"] = {"tenants": True, "teams": True}

    world = make(budgets, TIERGATE_ADMIN_KEY=ADMIN)
    meter, toll = world.gateway._counter_store, world.gateway.limit_runtime

    async def seed() -> None:
        for owner, name, spent in (
            (None, "all", 900),
            ("default", "own", 250),
            ("acme", "own", 500),
        ):
            await meter.seed(owner, f"usd|{name}|all|total", spent)
        await meter.seed("acme", "usd|team|team=web|total", 100)
        world.gateway.limiter.tenants.add("acme")
        await toll.refresh_levels()

    world.loop.run(seed())
    assert world.client.get("/metrics").status_code == 401
    text = world.client.get("/metrics", headers={"authorization": f"Bearer {ADMIN}"}).text
    ratios = dict(re.findall(r"^tiergate_budget_used_ratio(\{.*\}) (.*)$", text, re.MULTILINE))
    assert ratios == {
        '{budget="all",tenant="",team=""}': "0.9",
        '{budget="own",tenant="default",team=""}': "0.25",
        '{budget="own",tenant="acme",team=""}': "0.5",
        '{budget="team",tenant="acme",team="web"}': "0.1",
    }


async def gone(_: str | None) -> dict[str, int]:
    raise StoreUnavailable


def test_a_gateway_without_budgets_reads_no_counters(make: Make) -> None:
    world = make()

    async def look() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(world.gateway._counter_store, "read_counters", pytest.fail)
            await world.gateway.limit_runtime.refresh_levels()

    world.loop.run(look())
    assert world.gateway.limit_runtime.levels == ()
