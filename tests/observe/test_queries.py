"""The real Prometheus answers every expression, from a gateway that has served all kinds of calls."""

import hashlib
import math
import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from gateway.core import jsonio
from tests.e2e.child import GatewayChild, until
from tests.e2e.prometheus import Prometheus, program
from tests.e2e.upstream import Answer, Request, Upstream, failing, frames, stream, whole
from tests.e2e.world import Config, Loop, chat, config
from tests.observe import board

ADMIN = "an-admin-key"
KEYS = {"ann": "tg-of-ann", "bob": "tg-of-bob"}
LATER = {
    "tiergate:upgrade_share:mean7d", "tiergate:upgrade_share:sigma7d",
}  # fmt: skip
"""Figures that need a week of data: tests/observe/test_rules.py makes one up."""


def gateway_settings(url: str) -> Config:
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


def answer_or_fail(request: Request) -> Answer:
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
        file.write_bytes(jsonio.dumps(gateway_settings(upstream)))
        hashed = {name: hashlib.sha256(key.encode()).hexdigest() for name, key in KEYS.items()}
        self.child = GatewayChild(
            file, REDIS_URL=redis, TIERGATE_ADMIN_KEY=ADMIN,
            TIERGATE_KEYS=",".join(f"{name}={value}" for name, value in hashed.items()),
        )  # fmt: skip
        self.address = f"127.0.0.1:{self.child.port}"
        self.calls = 0
        self.cache = ""
        """The last call's cache header."""
        rules = [board.RULES, board.ALERTS]
        self.prometheus = Prometheus(folder, self.address, rules, ADMIN)

    def stop(self) -> None:
        self.prometheus.stop()
        self.child.stop()

    def ask(
        self, statuses: set[int], model: str, text: str, key: str = "ann", **more: object
    ) -> int:
        body = chat(text, **{"model": model, **more})
        reply = httpx.post(
            f"http://{self.address}/v1/chat/completions", json=body, timeout=30, trust_env=False,
            headers={"authorization": f"Bearer {KEYS[key]}"},
        )  # fmt: skip
        assert reply.status_code in statuses, reply.text
        self.calls += 1
        self.cache = reply.headers.get("x-tiergate-cache", "")
        return reply.status_code

    def is_hit(self, text: str) -> bool:
        """True if an answer came from the cache; on a busy machine Redis may be too slow for that."""
        self.ask({200}, "smart", text)
        return self.cache == "hit"

    def breaker_is_open(self) -> bool:
        """True if the circuit breaker of the other lab's only host is open."""
        return self.ask({502, 503}, "other/smart", f"Nobody answers {self.calls}.") == 503

    def make_calls(self, name: str) -> None:
        """Make a call of each kind; `until` Prometheus has seen them all."""
        for model in ("fast", "auto", "reasoning"):
            self.ask({200}, model, f"Hello {name} {model}.")
        self.ask({200}, "auto", f"Prove, step by step, that the {name} theorem of Gauss is true.")
        self.ask({200}, "smart", f"Count {name}.", stream=True)
        until(lambda: self.is_hit(f"Count {name}."), "a hit")
        self.ask({200}, "smart", f"fail {name}")  # answered by the spare host
        self.ask({200}, "other/fast", f"A model without a price, {name}.")
        self.ask({502, 503}, "other/smart", f"Nobody answers {name}.")
        self.ask({200}, "smart", f"Bob asks {name}.", "bob", max_tokens=300)
        self.ask({429}, "reasoning", f"Bob has no money {name}.", "bob", max_tokens=30_000)
        self.ask({404}, "nobody-has-this", "Hello.")
        counted = "sum(tiergate_calls_total)"
        until(lambda: self.prometheus.one(counted) == self.calls, f"{self.calls} calls are seen")


@pytest.fixture(scope="module")
def observed(
    loop: Loop, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ObservedGateway]:
    upstream = Upstream()
    loop.run(upstream.start())
    upstream.on("/", answer_or_fail)
    with ExitStack() as stack:
        stack.callback(lambda: loop.run(upstream.stop()))
        gateway = ObservedGateway(tmp_path_factory.mktemp("scene"), upstream.url, redis_url)
        stack.callback(gateway.stop)
        until(gateway.breaker_is_open, "a breaker that is open")
        gateway.make_calls("first")
        gateway.make_calls("second")
        until(lambda: gateway.prometheus.query(FULL), "budgets are looked at, twice")
        yield gateway


@pytest.mark.parametrize(
    "query", board.queries(), ids=lambda query: f"{query.panel}-{query.legend}"
)
def test_each_panel_has_data(observed: ObservedGateway, query: board.Query) -> None:
    """Each panel has numbers with a name each; figures of the week before have none yet.

    A budget of all tenants has no tenant, and one of all keys has no team and no key.
    """
    if board.recorded_names(query.text) & LATER:
        assert observed.prometheus.query(query.text) == []
        return
    values = until(lambda: observed.prometheus.query(query.text), query.text)
    assert not any(math.isnan(value) for _, value in values) or "histogram" in query.text
    labels = re.findall(r"{{(\w+)}}", query.legend)
    assert any(
        set(labels) <= labelled.keys() | {"tenant", "team", "key"} for labelled, _ in values
    ), values


@pytest.mark.parametrize(
    ("panel", "legend", "least"),
    [
        ("Spent", "spent", 0.01), ("Saved", "saved", 0.01), ("Cost unknown", "without a price", 0.9),
        ("Answered from the cache", "hits", 0.05), ("Fallbacks", "fallbacks", 0.9),
        ("Sent above fast", "above fast", 0.1), ("Left in budgets", "{{budget}} {{tenant}} {{team}} {{key}}", 0.001),
    ],
)  # fmt: skip
def test_a_figure_shows_what_the_calls_did(
    observed: ObservedGateway, panel: str, legend: str, least: float
) -> None:
    (query,) = [
        candidate
        for candidate in board.queries()
        if (candidate.panel, candidate.legend) == (panel, legend)
    ]
    values = [value for _, value in observed.prometheus.query(query.text)]
    assert max(values) >= least


def test_the_variables_offer_the_labels_of_the_calls(observed: ObservedGateway) -> None:
    """The variables offer the labs, tiers, keys and gateways of the calls."""
    options = {
        name: {labels.get(name, "") for labels, _ in observed.prometheus.query(metric)}
        for name, metric in (
            ("lab", "tiergate_calls_total"), ("tier", "tiergate_calls_total"),
            ("key", "tiergate_calls_total"), ("instance", "tiergate_build_info"),
        )
    }  # fmt: skip
    assert options["lab"] == {"", "acme", "other"}
    assert options["tier"] == {"", "fast", "smart", "reasoning"}
    assert options["key"] == {"ann", "bob"}
    assert options["instance"] == {observed.address}


def test_every_rule_is_evaluated_and_recorded(observed: ObservedGateway) -> None:
    rules = observed.prometheus.rules()
    assert {(rule["health"], rule.get("lastError", "")) for rule in rules} == {("ok", "")}
    recorded = {rule["name"] for rule in rules if rule["type"] == "recording"}
    for name in sorted(recorded - LATER):
        until(lambda name=name: observed.prometheus.query(name), name)  # type: ignore[misc]


def test_only_the_expected_alerts_are_pending_or_fire(observed: ObservedGateway) -> None:
    """Alerts that wait for some minutes are pending."""
    expected = {"TiergateBudgetRefuses", "TiergateTargetOut", "TiergateUnknownPrice"}

    def alert_names() -> set[str]:
        return {labels["alertname"] for labels, _ in observed.prometheus.query("ALERTS")}

    until(lambda: alert_names() >= expected, "three alerts")
    # There are few calls, of small budgets, and Redis may be too slow on a busy machine.
    possible = {
        "TiergateErrors", "TiergateRedisAway", "TiergateBudgetBurnsFast", "TiergateBudgetBurnsSteadily",
    }  # fmt: skip
    assert alert_names() - possible == expected
    price = observed.prometheus.query('ALERTS{alertname="TiergateUnknownPrice"}')
    assert [(sample["provider"], sample["model"], sample["alertstate"]) for sample, _ in price] == [
        ("other", "nameless-1", "firing")
    ]


def test_a_killed_gateway_raises_an_alert(observed: ObservedGateway) -> None:
    """Run last in this file: the test ends the gateway."""
    observed.child.signal(signal.SIGKILL)
    query = 'ALERTS{alertname="TiergateAway"}'
    until(lambda: observed.prometheus.query(query), "an alert")
    (sample,) = observed.prometheus.query(query)
    assert sample[0]["instance"] == observed.address
