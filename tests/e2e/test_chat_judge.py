"""A judge over real sockets: its verdict decides, its calls are calls, and no call waits long."""

from typing import Any

import pytest

from gateway.core import jsonio
from gateway.evaluation.replay.replay import LedgerReplay
from tests.e2e.upstream import DROPPED, SILENT, Answer, Upstream, failing, whole
from tests.e2e.world import Change, Config, Make, World, chat
from tests.evaluation.replay.traffic import logged

EASY = "Hello"


def judged(timeout: str = "10s", **more: Any) -> Change:
    def change(value: Config) -> None:
        value["routing"] = {
            "classifier": "prior",
            "judge": {"model": "other/smart", "timeout": timeout},
        }
        value.update(more)

    return change


def says(tier: str) -> Answer:
    return whole(jsonio.dumps({"tier": tier}).decode())


def test_the_verdict_of_the_judge_decides(make: Make, upstream: Upstream) -> None:
    """The judge is called once for a text; its call is a row of its own, with its cost."""
    world = make(judged())
    upstream.on("/other", says("reasoning"))
    upstream.on("/acme", whole())
    first, second = (world.ask(chat(EASY, model="auto")) for _ in range(2))
    assert [reply.headers["x-tiergate-tier"] for reply in (first, second)] == ["reasoning"] * 2
    assert upstream.called == ["other", "acme", "acme"]
    question = upstream.requests[0].json
    assert (question["model"], question["response_format"]["type"]) == ("else-1", "json_schema")
    assert jsonio.loads(question["messages"][1]["content"].encode()) == {"request": EASY}
    judge, first_row, second_row = world.entries()
    assert (judge.id, judge.tags, judge.source) == (f"{first_row.id}.judge", ("judge",), "pin")
    assert judge.cost is not None
    assert judge.cost > 0
    assert [(row.source, row.tier, row.confidence) for row in (first_row, second_row)] == [("classifier", "reasoning", None)] * 2  # fmt: skip


def test_the_gateway_calls_no_judge_where_something_else_decides(
    make: Make, upstream: Upstream
) -> None:
    """A pin, a rule and an exemplar need no judge; nor does a count or an explanation."""
    rule = {"name": "r", "when": {"keywords": ["bonjour"]}, "tier": "smart"}
    taught = [{"prompt": "Sing a song about the sea", "tier": "fast"}]
    world = make(judged(choices=[rule], exemplars=taught))
    upstream.on("/other", says("reasoning"))
    upstream.on("/acme", whole())
    for body in (
        chat(EASY),
        chat("bonjour", model="auto"),
        chat("sing a song about the sea", model="auto"),
    ):
        assert world.ask(body).status_code == 200
    route = world.client.post("/v1/route", json=chat(EASY, model="auto")).json()
    assert route["tier"] == "fast"
    steps = {step["step"]: (step["effect"], step["why"]) for step in route["trace"]}
    assert steps["judge"] == ("degraded", "not asked here: a call would be judged first")
    assert set(upstream.called) == {"acme"}
    assert world.ask(chat(EASY, model="auto")).headers["x-tiergate-tier"] == "reasoning"
    route = world.client.post("/v1/route", json=chat(EASY, model="auto")).json()
    assert route["tier"] == "reasoning"  # the earlier verdict


@pytest.mark.parametrize("script", [whole("fast"), whole('{"tier": "best"}'), failing(400), failing(500), DROPPED], ids=["word", "best", "400", "500", "dropped"])  # fmt: skip
def test_without_a_verdict_the_classifier_decides(
    make: Make, upstream: Upstream, script: Answer
) -> None:
    world = make(judged())
    upstream.on("/other", script)
    upstream.on("/acme", whole())
    reply = world.ask(chat(EASY, model="auto"))
    assert (reply.status_code, reply.headers["x-tiergate-tier"]) == (200, "fast")
    assert sorted(row.tags for row in world.entries()) == [(), ("judge",)]


def test_the_gateway_does_not_wait_for_a_silent_judge(make: Make, upstream: Upstream) -> None:
    """After three silent calls it is not called any more."""
    world = make(judged(timeout="50ms"))
    upstream.on("/other", SILENT)
    upstream.on("/acme", whole())
    for at in range(5):
        reply = world.ask(chat(f"{EASY} {'a' * at}", model="auto"))
        assert (reply.status_code, reply.headers["x-tiergate-tier"]) == (200, "fast")
    # On a busy machine the time may be over before the request is sent.
    assert upstream.called.count("other") <= 3
    assert [row["text"] for row in world.log if row["event"] == "judge"] != []
    rows = world.entries()
    silent = [row for row in rows if row.tags]
    assert {row.state for row in silent} <= {"aborted", "failed"}
    assert {row.aborted_by for row in silent} <= {None, "timeout"}
    assert (len(rows), len(silent)) == (8, 3)


def test_the_limits_of_a_client_key_apply_to_its_judge_calls(
    make: Make, upstream: Upstream
) -> None:
    """A judge call that a limit refuses is no failure: the next call tries it again."""
    limit = {"name": "judges", "requests": "2/d", "tag": "judge"}
    world = make(judged(limits=[limit]))
    upstream.on("/other", says("smart"))
    upstream.on("/acme", whole())
    tiers = [
        world.ask(chat(f"{EASY} {'a' * at}", model="auto")).headers["x-tiergate-tier"]
        for at in range(7)
    ]
    assert tiers == ["smart"] * 2 + ["fast"] * 5
    refused = [row for row in world.entries() if row.state == "refused"]
    assert [row.tags for row in refused] == [("judge",)] * 5


def test_the_guards_of_a_call_apply_to_its_judge(make: Make, upstream: Upstream) -> None:
    """Guards of the call itself hold for its judge, and its tags are the judge's too."""
    guard = {"name": "g", "when": {"keywords": ["contract"]}, "deny": ["other"], "tag": "legal"}
    world = make(judged(guards=[guard]))
    upstream.on("/other", says("reasoning"))
    upstream.on("/acme", whole())
    reply = world.ask(chat("Hello contract", model="auto"))
    assert (reply.status_code, upstream.called) == (200, ["acme"])
    assert world.ask(chat(EASY, model="auto")).headers["x-tiergate-tier"] == "reasoning"
    assert [(row.tags, row.state) for row in world.entries()] == [
        ((), "refused"),
        (("legal",), "settled"),
        (("judge",), "settled"),
        ((), "settled"),
    ]


def test_a_guard_keeps_a_text_from_the_judge(make: Make, upstream: Upstream) -> None:
    """The classifier decides then, also in a replay under a later guard."""
    guard = {"name": "private", "when": {"keywords": ["contract"]}, "judge": "off"}
    world = make(judged(guards=[guard]))
    upstream.on("/other", says("reasoning"))
    upstream.on("/acme", whole())
    reply = world.ask(chat("Hello contract", model="auto"))
    assert (reply.headers["x-tiergate-tier"], upstream.called) == ("fast", ["acme"])
    route = world.client.post("/v1/route", json=chat("Hello contract", model="auto")).json()
    assert {"guard", "classifier"} <= {step["step"] for step in route["trace"]}
    assert "judge" not in {step["step"] for step in route["trace"]}
    assert [row.tags for row in world.entries()] == [()]


def test_a_judge_sees_neither_secrets_nor_other_turns(make: Make, upstream: Upstream) -> None:
    def change(value: Config) -> None:
        judged()(value)
        value["ledger"] = {**value.get("ledger", {}), "redact": [r"PRJ-\d+"]}

    world = make(change)
    upstream.on("/other", says("smart"))
    upstream.on("/acme", whole())
    body = chat("Mail jo@example.com about PRJ-7", model="auto")
    body["messages"] = [
        {"role": "system", "content": "Our system prompt"},
        {"role": "user", "content": "An earlier turn"},
        {"role": "assistant", "content": "An earlier answer"},
        *body["messages"],
    ]
    assert world.ask(body).status_code == 200
    sent = upstream.requests[0].json["messages"][1]["content"]
    assert jsonio.loads(sent.encode()) == {"request": "Mail [e-mail] about [struck out]"}
    assert "earlier" not in str(upstream.requests[0].json)
    assert "Our system prompt" not in str(upstream.requests[0].json)


def test_a_call_that_must_not_be_cached_is_judged_each_time(make: Make, upstream: Upstream) -> None:
    world = make(judged())
    upstream.on("/other", says("smart"))
    upstream.on("/acme", whole())
    for _ in range(2):
        world.ask(chat(EASY, model="auto"), x_tiergate_cache="off")
    assert upstream.called == ["other", "acme"] * 2


def test_replay_calls_no_judge_and_decides_the_same(make: Make, upstream: Upstream) -> None:
    """Verdicts, failures, remembered verdicts and exemplars are evidence of their rows."""
    world = make(judged(exemplars=[{"prompt": "Sing a song about the sea", "tier": "smart"}]))
    upstream.on("/other", says("reasoning"), says("smart"), failing(500))
    upstream.on("/acme", whole())
    for text in (EASY, "Hi", "Good day", EASY, "sing a song about the sea"):
        world.ask(chat(text, model="auto"))
    router, rows = world.gateway.built_config.router, world.entries()
    walk = LedgerReplay(router)
    for row in rows:
        walk.replay_row(logged(row))
    assert [row.tier for row in rows if not row.tags] == [
        "reasoning",
        "smart",
        "fast",
        "reasoning",
        "smart",
    ]
    total = walk.totals.total
    assert (total.calls, total.changed, total.undecided) == (8, 0, 0)


def leave_while_judged(world: World, upstream: Upstream) -> None:
    """Leave while a silent judge is asked; both calls end, and the rows say who ended them."""
    with world.leaving(chat(EASY, model="auto")) as client:
        request = upstream.arrived()
        client.close()
        assert request.left.wait(20)
    rows = world.entries()
    assert sorted((row.tags, row.state, row.aborted_by) for row in rows) == [
        ((), "aborted", "client"),
        (("judge",), "aborted", "client"),
    ]


def test_a_client_that_leaves_ends_the_judge_call(make: Make, upstream: Upstream) -> None:
    world: World = make(judged())
    upstream.on("/other", SILENT)
    leave_while_judged(world, upstream)
