"""Test one call as admins see it: the trace that `explain` prints, and its text only if kept."""

from gateway.core import jsonio
from gateway.ledger.journal import Journal
from gateway.runtime.reloader import ConfigVersion, ReloadResult
from tests.e2e.upstream import Upstream
from tests.e2e.world import Config, Make, World, chat
from tests.ledger.rows import entry

CANARY = "canary-4711"


def rules(value: Config) -> None:
    value["choices"] = [
        {"name": "<b>proofs</b>", "when": {"keywords": "prove"}, "tier": "reasoning"}
    ]


def _get_entry(world: World, id: str, part: str) -> dict[str, object]:
    reply = world.client.get(f"/admin/entries/{id}/{part}")
    body: dict[str, object] = reply.json()
    return {"status": reply.status_code, **body}


def test_the_trace_of_a_recorded_call_is_that_of_the_route_endpoint(
    make: Make, upstream: Upstream
) -> None:
    world = make(rules)
    body = {**chat("Prove it."), "model": "auto"}
    id = world.ask(body).headers["x-request-id"]
    recorded = _get_entry(world, id, "decision")
    routed = world.client.post("/v1/route", json=body).json()
    for item in (*recorded["trace"], *routed["trace"]):  # type: ignore[misc]  # JSON
        assert item.keys() == {"step", "matched", "effect", "why", "ms"}
        item.pop("ms")
    assert recorded.pop("status") == 200
    assert recorded["rule"] == "<b>proofs</b>"
    assert [item.pop("losses") for item in recorded["plan"]] == [None]  # type: ignore[attr-defined]
    assert [item.pop("losses") for item in routed["plan"]] == [[]]
    assert recorded == routed


def test_a_call_that_the_previous_configuration_decided_keeps_its_trace(make: Make) -> None:
    """An operator may have edited the rule meanwhile."""
    world, other = make(rules), make()
    gateway = world.gateway
    id = world.ask({**chat("Prove it."), "model": "auto"}).headers["x-request-id"]
    first = _get_entry(world, id, "decision")
    watcher = gateway.reloader.watcher
    new = ConfigVersion(other.gateway.built_config, other.gateway.built_config.source)
    watcher.note_result(ReloadResult("taken", new))

    async def swap() -> None:
        gateway.swap(new.built_config)

    world.loop.run(swap())
    later = _get_entry(world, id, "decision")
    assert later["rule"] == "<b>proofs</b>"
    for step in (*later["trace"], *first["trace"]):  # type: ignore[misc]  # JSON
        step.pop("ms")
    assert later == first
    watcher.previous = None
    assert _get_entry(world, id, "decision")["trace"] is None


def test_a_call_without_a_trace_says_why(world: World) -> None:
    version = world.gateway.revision.version
    journal = Journal(world.gateway.journal_folder)
    for row in (entry("tg-1", config="old"), entry("tg-2", config=version, basis=None)):
        journal.write(row)
    journal.close()
    decision = _get_entry(world, "tg-1", "decision")
    assert str(decision["why"]).startswith("Another configuration, old, decided it")
    assert (decision["trace"], decision["tier"]) == (None, "fast")
    decision = _get_entry(world, "tg-2", "decision")
    assert (
        decision["why"]
        == "Its steps are unknown: the ledger does not have the inputs of the decision."
    )


def test_a_refused_call_is_shown_with_its_reason(world: World) -> None:
    refused = world.ask({**chat(), "model": "nope"})
    assert refused.status_code == 404
    decision = _get_entry(world, refused.headers["x-request-id"], "decision")
    assert decision["trace"] is None
    assert "nope" in str(decision["why"])


def test_texts_are_shown_only_if_the_gateway_records_them(make: Make) -> None:
    world = make()
    id = world.ask(chat(CANARY)).headers["x-request-id"]
    reply_json = _get_entry(world, id, "text")
    assert reply_json["status"] == 404
    assert "ledger.content is off" in str(reply_json["error"])
    recording = make(lambda value: value.update(ledger={"content": "on"}))
    id = recording.ask(chat(f"{CANARY} sk-proj-0123456789abcdefCANARY")).headers["x-request-id"]
    texts = recording.gateway.ledger_runtime._transcript_writer
    assert texts is not None
    texts.flush()
    reply = recording.client.get(f"/admin/entries/{id}/text")
    assert reply.headers["cache-control"] == "no-store"
    recorded_text = jsonio.loads(reply.json()["prompt"].encode())["messages"][0]["content"]
    assert recorded_text == f"{CANARY} [key]"
    journal = Journal(recording.gateway.journal_folder)
    journal.write(entry("tg-old"))
    journal.close()
    assert "it was deleted" in str(_get_entry(recording, "tg-old", "text")["error"])


def test_an_unknown_call_has_neither_decision_nor_text(world: World) -> None:
    for name in ("tg-none", "%00"):
        for part in ("decision", "text"):
            reply_json = _get_entry(world, name, part)
            assert reply_json["status"] == 404
            assert "no row of this call" in str(reply_json["error"])
