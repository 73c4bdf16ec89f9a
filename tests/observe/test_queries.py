"""The real Prometheus answers every expression, from a gateway that has served all kinds of calls."""

import hashlib
import math
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from gateway.core import jsonio
from tests.e2e.child import Child, until
from tests.e2e.prometheus import Prometheus, program
from tests.e2e.upstream import Answer, Request, Upstream, failing, frames, stream, whole
from tests.e2e.world import Config, Loop, chat, config
from tests.observe import board

ROOT = str(Path(__file__).parents[2])
ADMIN = "an-admin-key"
KEYS = {"ann": "tg-of-ann", "bob": "tg-of-bob"}
LATER = {
    "tiergate:upgrade_share:mean7d", "tiergate:upgrade_share:sigma7d",
}  # fmt: skip
"""Figures that need a week of data: tests/observe/test_rules.py makes one up."""


def settings(url: str) -> Config:
    """Configure two targets of a tier, a lab with one failing host, a model without a price, and budgets."""
    value = config(url)
    value["labs"]["acme"]["smart"].append({"model": "able-2", "provider": "spare"})
    value["models"]["able-2"] = value["models"]["able-1"]
    value["labs"]["other"]["fast"] = [{"model": "nameless-1"}]
    value["cache"] = {"default": "on", "ttl": "1h"}
    value["server"] = {"max_lag": "0s"}  # a busy machine is no overload here
    value["metrics"] = {"keys": True}
    value["ledger"] = {"baseline": "acme/reasoning"}
    value["budgets"] = [
        {"name": "bob", "key": "bob", "usd": 0.02, "every": "month"},
        {"name": "all", "usd": 1, "every": "day", "hard": False, "soft": 0.5},
    ]
    return value


def provider(request: Request) -> Answer:
    """Fail at the other lab, and at the first of two hosts if the prompt says so."""
    if request.path.startswith("/other") and request.json["model"] == "else-1":
        return failing(500)
    if "fail" in request.json["messages"][-1]["content"] and request.path.startswith("/acme"):
        return failing(500)
    counts = (700, 300)
    if request.json.get("stream"):
        return stream(*frames(counts=counts), bill=counts)
    return whole(counts=counts)


FULL = "count(tiergate_budget_used_ratio) > 1 and count(tiergate:budget:projected_ratio) > 1"


class ObservedGateway:
    """A gateway in a process of its own, and Prometheus with the rules and alerts of deploy/."""

    def __init__(self, folder: Path, upstream: str, redis: str) -> None:
        program("prometheus")  # skips before a gateway runs that nobody would stop
        file = folder / "gateway.yaml"
        file.write_bytes(jsonio.dumps(settings(upstream)))
        hashed = {name: hashlib.sha256(key.encode()).hexdigest() for name, key in KEYS.items()}
        self.child = Child(
            [sys.executable, "-m", "gateway", "--config", str(file), "serve", "--port", "0"],
            folder / "gateway",
            PYTHONPATH=ROOT, PYTHONUNBUFFERED="1", TIERGATE_DATA=str(folder / "data"),
            REDIS_URL=redis, TIERGATE_ADMIN_KEY=ADMIN,
            TIERGATE_KEYS=",".join(f"{name}={value}" for name, value in hashed.items()),
        )  # fmt: skip
        pattern = re.compile(r"on http://(127\.0\.0\.1:\d+) ")
        found = until(lambda: pattern.search(self.child.out), f"listening: {self.child.err}")
        assert found is not None
        self.place = found[1]
        self.calls = 0
        self.cache = ""
        """The last call's cache header."""
        rules = [board.RULES, board.ALERTS]
        self.prometheus = Prometheus(folder, self.place, rules, ADMIN)

    def stop(self) -> None:
        self.prometheus.stop()
        self.child.stop()

    def ask(
        self, statuses: set[int], model: str, text: str, key: str = "ann", **more: object
    ) -> int:
        body = chat(text, **{"model": model, **more})
        reply = httpx.post(
            f"http://{self.place}/v1/chat/completions", json=body, timeout=30, trust_env=False,
            headers={"authorization": f"Bearer {KEYS[key]}"},
        )  # fmt: skip
        assert reply.status_code in statuses, reply.text
        self.calls += 1
        self.cache = reply.headers.get("x-tiergate-cache", "")
        return reply.status_code

    def hits(self, text: str) -> bool:
        """True if an answer came from the cache; on a busy machine Redis may be too slow for that."""
        self.ask({200}, "smart", text)
        return self.cache == "hit"

    def breaks(self) -> bool:
        """True if the circuit breaker of the other lab's only host is open."""
        return self.ask({502, 503}, "other/smart", f"Nobody answers {self.calls}.") == 503

    def wave(self, name: str) -> None:
        """Make a call of each kind; `until` Prometheus has seen them all."""
        for model in ("fast", "auto", "reasoning"):
            self.ask({200}, model, f"Hello {name} {model}.")
        self.ask({200}, "auto", f"Prove, step by step, that the {name} theorem of Gauss is true.")
        self.ask({200}, "smart", f"Count {name}.", stream=True)
        until(lambda: self.hits(f"Count {name}."), "a hit")
        self.ask({200}, "smart", f"fail {name}")  # answered by the spare host
        self.ask({200}, "other/fast", f"A model without a price, {name}.")
        self.ask({502, 503}, "other/smart", f"Nobody answers {name}.")
        self.ask({200}, "smart", f"Bob asks {name}.", "bob", max_tokens=300)
        self.ask({429}, "reasoning", f"Bob has no money {name}.", "bob", max_tokens=30_000)
        self.ask({404}, "nobody-has-this", "Hello.")
        seen = "sum(tiergate_calls_total)"
        until(lambda: self.prometheus.one(seen) == self.calls, f"{self.calls} calls are seen")


@pytest.fixture(scope="module")
def scene(
    loop: Loop, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ObservedGateway]:
    upstream = Upstream()
    loop.run(upstream.start())
    upstream.on("/", provider)
    with ExitStack() as stack:
        stack.callback(lambda: loop.run(upstream.stop()))
        made = ObservedGateway(tmp_path_factory.mktemp("scene"), upstream.url, redis_url)
        stack.callback(made.stop)
        until(made.breaks, "a breaker that is open")
        made.wave("first")
        made.wave("second")
        until(lambda: made.prometheus.query(FULL), "budgets are looked at, twice")
        yield made


@pytest.mark.parametrize(
    "query", board.queries(), ids=lambda query: f"{query.panel}-{query.legend}"
)
def test_a_panel_has_data(scene: ObservedGateway, query: board.Query) -> None:
    """Each panel has numbers with a name each; figures of the week before have none yet.

    A budget of all tenants has no tenant, and one of all keys has no key.
    """
    if board.recorded(query.text) & LATER:
        assert scene.prometheus.query(query.text) == []
        return
    found = until(lambda: scene.prometheus.query(query.text), query.text)
    assert not any(math.isnan(value) for _, value in found) or "histogram" in query.text
    labels = re.findall(r"{{(\w+)}}", query.legend)
    assert any(set(labels) <= labelled.keys() | {"tenant", "key"} for labelled, _ in found), found


@pytest.mark.parametrize(
    ("panel", "legend", "least"),
    [
        ("Spent", "spent", 0.01), ("Saved", "saved", 0.01), ("Cost unknown", "without a price", 0.9),
        ("Answered from the cache", "hits", 0.05), ("Fallbacks", "fallbacks", 0.9),
        ("Sent above fast", "above fast", 0.1), ("Left in budgets", "{{budget}} {{tenant}} {{key}}", 0.001),
    ],
)  # fmt: skip
def test_a_figure_is_of_what_was_done(
    scene: ObservedGateway, panel: str, legend: str, least: float
) -> None:
    (query,) = [one for one in board.queries() if (one.panel, one.legend) == (panel, legend)]
    values = [value for _, value in scene.prometheus.query(query.text)]
    assert max(values) >= least


def test_what_each_variable_offers(scene: ObservedGateway) -> None:
    """The variables offer the labs, tiers, keys and gateways of the calls."""
    found = {
        name: {labels.get(name, "") for labels, _ in scene.prometheus.query(metric)}
        for name, metric in (
            ("lab", "tiergate_calls_total"), ("tier", "tiergate_calls_total"),
            ("key", "tiergate_calls_total"), ("instance", "tiergate_build_info"),
        )
    }  # fmt: skip
    assert found["lab"] == {"", "acme", "other"}
    assert found["tier"] == {"", "fast", "smart", "reasoning"}
    assert found["key"] == {"ann", "bob"}
    assert found["instance"] == {scene.place}


def test_every_rule_is_evaluated_and_records_what_there_is(scene: ObservedGateway) -> None:
    found = scene.prometheus.rules()
    assert {(rule["health"], rule.get("lastError", "")) for rule in found} == {("ok", "")}
    recorded = {rule["name"] for rule in found if rule["type"] == "recording"}
    for name in sorted(recorded - LATER):
        until(lambda name=name: scene.prometheus.query(name), name)  # type: ignore[misc]


def test_alerts_are_raised_by_what_went_wrong_and_no_others(scene: ObservedGateway) -> None:
    """Alerts that wait for some minutes are pending."""
    expected = {"TiergateBudgetRefuses", "TiergateTargetOut", "TiergateUnknownPrice"}

    def raised() -> set[str]:
        return {labels["alertname"] for labels, _ in scene.prometheus.query("ALERTS")}

    until(lambda: raised() >= expected, "three alerts")
    # There are few calls, and Redis may be too slow on a busy machine.
    assert raised() - {"TiergateErrors", "TiergateRedisAway"} == expected
    price = scene.prometheus.query('ALERTS{alertname="TiergateUnknownPrice"}')
    assert [(one["provider"], one["model"], one["alertstate"]) for one, _ in price] == [
        ("other", "nameless-1", "firing")
    ]


def test_zz_a_gateway_that_is_away_is_told(scene: ObservedGateway) -> None:
    """Run last in this file: the test ends the gateway."""
    scene.child.signal(signal.SIGKILL)
    away = 'ALERTS{alertname="TiergateAway"}'
    until(lambda: scene.prometheus.query(away), "an alert")
    (found,) = scene.prometheus.query(away)
    assert found[0]["instance"] == scene.place
