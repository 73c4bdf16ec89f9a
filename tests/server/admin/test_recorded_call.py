"""Test one call as admins see it: the trace that `explain` prints, and its text only if kept."""

from gateway.core import jsonio
from gateway.ledger.journal import Journal
from gateway.runtime.reloader import ConfigVersion, ReloadResult
from tests.e2e.upstream import Upstream
from tests.e2e.world import Config, Make, World, chat
from tests.ledger.rows import entry

TOLD = "canary-4711"


def rules(value: Config) -> None:
    value["choices"] = [
        {"name": "<b>proofs</b>", "when": {"keywords": "prove"}, "tier": "reasoning"}
    ]


def _entries(world: World, id: str, what: str) -> dict[str, object]:
    reply = world.client.get(f"/admin/entries/{id}/{what}")
    found: dict[str, object] = reply.json()
    return {"status": reply.status_code, **found}


def test_the_trace_of_a_call_is_that_of_the_route_endpoint(make: Make, upstream: Upstream) -> None:
    world = make(rules)
    body = {**chat("Prove it."), "model": "auto"}
    id = world.ask(body).headers["x-request-id"]
    told = _entries(world, id, "decision")
    asked = world.client.post("/v1/route", json=body).json()
    for one in (*told["trace"], *asked["trace"]):  # type: ignore[misc]  # JSON
        assert one.keys() == {"step", "matched", "effect", "why", "ms"}
        one.pop("ms")
    assert told.pop("status") == 200
    assert told["rule"] == "<b>proofs</b>"
    assert [one.pop("losses") for one in told["plan"]] == [None]  # type: ignore[attr-defined]
    assert [one.pop("losses") for one in asked["plan"]] == [[]]
    assert told == asked


def test_a_call_that_the_configuration_before_decided_keeps_its_trace(make: Make) -> None:
    """An operator may have edited the rule meanwhile."""
    world, other = make(rules), make()
    gateway = world.gateway
    id = world.ask({**chat("Prove it."), "model": "auto"}).headers["x-request-id"]
    first = _entries(world, id, "decision")
    renewal = gateway.reloader.watcher
    new = ConfigVersion(other.gateway.built_config, other.gateway.built_config.source)
    renewal.note_result(ReloadResult("taken", new))

    async def swap() -> None:
        gateway.swap(new.built_config)

    world.loop.run(swap())
    told = _entries(world, id, "decision")
    assert told["rule"] == "<b>proofs</b>"
    for one in (*told["trace"], *first["trace"]):  # type: ignore[misc]  # JSON
        one.pop("ms")
    assert told == first
    renewal.previous = None
    assert _entries(world, id, "decision")["trace"] is None


def test_what_cannot_be_decided_again_says_why(world: World) -> None:
    version = world.gateway.revision.version
    journal = Journal(world.gateway.journal_folder)
    for row in (entry("tg-1", config="old"), entry("tg-2", config=version, basis=None)):
        journal.write(row)
    journal.close()
    told = _entries(world, "tg-1", "decision")
    assert str(told["why"]).startswith("Another configuration decided it, old:")
    assert (told["trace"], told["tier"]) == (None, "fast")
    told = _entries(world, "tg-2", "decision")
    assert (
        told["why"] == "Its steps are not known: the ledger does not have what it was decided on."
    )


def test_a_call_that_was_refused_is_told_with_the_reason(world: World) -> None:
    refused = world.ask({**chat(), "model": "nope"})
    assert refused.status_code == 404
    told = _entries(world, refused.headers["x-request-id"], "decision")
    assert told["trace"] is None
    assert "nope" in str(told["why"])


def test_texts_are_shown_only_where_they_are_kept(make: Make) -> None:
    world = make()
    id = world.ask(chat(TOLD)).headers["x-request-id"]
    told = _entries(world, id, "text")
    assert told["status"] == 404
    assert "ledger.content is off" in str(told["error"])
    kept = make(lambda value: value.update(ledger={"content": "on"}))
    id = kept.ask(chat(f"{TOLD} sk-proj-0123456789abcdefCANARY")).headers["x-request-id"]
    texts = kept.gateway.ledger_runtime._transcript_writer
    assert texts is not None
    texts.flush()
    reply = kept.client.get(f"/admin/entries/{id}/text")
    assert reply.headers["cache-control"] == "no-store"
    asked = jsonio.loads(reply.json()["prompt"].encode())["messages"][0]["content"]
    assert asked == f"{TOLD} [key]"
    journal = Journal(kept.gateway.journal_folder)
    journal.write(entry("tg-old"))
    journal.close()
    assert "kept no more" in str(_entries(kept, "tg-old", "text")["error"])


def test_a_call_that_nobody_knows_has_neither(world: World) -> None:
    for name in ("tg-none", "%00"):
        for what in ("decision", "text"):
            told = _entries(world, name, what)
            assert told["status"] == 404
            assert "no row of this call" in str(told["error"])
