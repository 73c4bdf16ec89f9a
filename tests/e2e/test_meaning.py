"""Exemplars by meaning over real sockets: a scripted embedding model, its calls, and its bounds."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.core import jsonio
from gateway.evaluation.replay.replay import build_replay
from tests.e2e.test_cache import keyed
from tests.e2e.test_chat_judge import says
from tests.e2e.upstream import DROPPED, SILENT, Answer, Request, Upstream, failing, whole
from tests.e2e.world import Change, Config, Make, World, chat
from tests.evaluation.replay.traffic import logged

CONTRACTS = "Review this contract for clauses that a court could void."
NEAR, FAR = "Welche Klauseln sind unwirksam?", "Hello"
VECTORS = {
    CONTRACTS: [1.0, 0.0],
    NEAR: [0.8, 0.6],
    "A kind of request": [0.0, -1.0],
    "Another wording": [-1.0, 0.0],
    "of that kind": [0.1, -0.9],
}


def meaning(part: Config | None = None, **more: Any) -> Change:
    """Configure an embedding model of a lab that compares turns with one exemplar."""

    def change(value: Config) -> None:
        acme = value["providers"]["acme"]
        url = acme["base_url"].removesuffix("/acme") + "/vectors"
        value["providers"]["vectors"] = {**acme, "base_url": url, "auth": "none", "accounts": {}}
        value["labs"]["vectors"] = {"embeddings": [{"model": "vec-1"}]}
        value["models"]["vec-1"] = {"price": {"input": 0.02, "output": 0, "as_of": "2026-11-24"}}
        embedder = {"embed": "vec-1", "timeout": "10s", **(part or {})}
        value["routing"] = {"classifier": "prior", "meaning": embedder}
        value["exemplars"] = [{"name": "contracts", "prompt": CONTRACTS, "tier": "reasoning"}]
        value.update(more)

    return change


def embedding(request: Request) -> Answer:
    """Return a vector for each text; that of an unknown text is near nothing."""
    texts = request.json["input"]
    texts = [texts] if isinstance(texts, str) else texts
    data = [
        {"object": "embedding", "index": index, "embedding": VECTORS.get(text, [0.0, 1.0])}
        for index, text in enumerate(texts)
    ]
    used = {"prompt_tokens": 7, "total_tokens": 7}
    body = jsonio.dumps({"object": "list", "data": data[::-1], "model": "vec-1", "usage": used})
    return Answer(pieces=(body,), length=len(body), bill=(7, 0))


@pytest.fixture
def upstream(upstream: Upstream) -> Upstream:
    upstream.on("/vectors", embedding)
    upstream.on("/acme", whole())
    return upstream


def ask(world: World, text: str, **headers: str) -> str:
    reply = world.ask(chat(text, model="auto"), **headers)
    assert reply.status_code == 200, reply.text
    return str(reply.headers["x-tiergate-tier"])


def route(world: World, text: str) -> dict[str, tuple[str, str]]:
    answer = world.client.post("/v1/route", json=chat(text, model="auto")).json()
    return {step["step"]: (step["effect"], step["why"]) for step in answer["trace"]}


def test_a_turn_near_an_exemplar_gets_its_tier(make: Make, upstream: Upstream) -> None:
    """Vectors of exemplars are asked for once, that of a text once; all calls have rows."""
    world = make(meaning())
    assert [ask(world, text) for text in (NEAR, NEAR, FAR, FAR)] == ["reasoning"] * 2 + ["fast"] * 2
    assert upstream.called == ["vectors", "vectors", "acme", "acme", "vectors", "acme", "acme"]
    assert [item.json["input"] for item in upstream.requests if "input" in item.json] == [
        CONTRACTS,
        NEAR,
        FAR,
    ]
    figures = world.client.get("/metrics").text
    assert "tiergate_compared_total 4" in figures
    assert "tiergate_compared_near_total 2" in figures
    assert "tiergate_uncompared_total 0" in figures
    rows = world.entries()
    calls = [row for row in rows if not row.tags]
    embedded = [row for row in rows if row.tags]
    assert [row.tags for row in embedded] == [("meaning",)] * 3
    assert [row.id for row in embedded] == [
        f"{calls[0].id}.exemplars0.meaning",
        f"{calls[0].id}.meaning",
        f"{calls[2].id}.meaning",
    ]
    assert all(row.cost is not None and row.cost > 0 for row in embedded)
    assert [(row.source, row.tier) for row in calls] == [("classifier", "reasoning")] * 2 + [("classifier", "fast")] * 2  # fmt: skip
    evidence = [row.basis.evidence for row in calls if row.basis is not None]
    nearest = [item.nearest for item in evidence if item is not None]
    assert [item and (item.name, item.near, item.is_near) for item in nearest] == [
        ("contracts", 0.8, True),
        ("contracts", 0.8, True),
        ("contracts", 0.0, False),
        ("contracts", 0.0, False),
    ]


def test_the_local_embedder_asks_nobody(make: Make, upstream: Upstream) -> None:
    """It has no rows, and a route endpoint compares with it at once."""
    world = make(meaning({"embed": "local", "timeout": "60s"}))
    text = "Prüfe diesen Vertrag auf Klauseln, die ein Gericht für unwirksam erklären könnte."
    assert route(world, text)["classifier"][1].startswith("near exemplar contracts (0.")
    assert ask(world, text) == "reasoning"
    assert ask(world, FAR) == "fast"
    assert set(upstream.called) == {"acme"}
    assert len(world.entries()) == 2


def test_nothing_is_compared_where_something_else_decides(make: Make, upstream: Upstream) -> None:
    """A pin, a rule, words near an exemplar and a route endpoint ask no model."""
    rule = {"name": "r", "when": {"keywords": ["bonjour"]}, "tier": "smart"}
    world = make(meaning(choices=[rule]))
    assert world.ask(chat(NEAR)).headers["x-tiergate-tier"] == "smart"
    assert ask(world, "bonjour") == "smart"
    assert ask(world, CONTRACTS.upper()) == "reasoning"
    steps = route(world, NEAR)
    assert steps["meaning"] == (
        "degraded",
        "not asked here: a call would be compared by meaning first",
    )
    assert set(upstream.called) == {"acme"}
    assert ask(world, NEAR) == "reasoning"
    assert route(world, NEAR)["classifier"] == (
        "reasoning",
        "near exemplar contracts (0.80) by meaning",
    )


def test_a_route_is_matched_and_comes_before_the_judge(make: Make, upstream: Upstream) -> None:
    def change(value: Config) -> None:
        meaning()(value)
        value["routing"]["judge"] = {"model": "other/smart", "timeout": "10s"}
        value["routes"] = [
            {
                "name": "kinds",
                "description": ["Another wording", "A kind of request"],
                "tier": "smart",
            }
        ]

    world = make(change)
    upstream.on("/other", says("reasoning"))
    assert ask(world, "of that kind") == "smart"
    assert route(world, "of that kind")["classifier"][1] == "near route kinds (0.99) by meaning"
    assert "other" not in upstream.called
    assert ask(world, FAR) == "reasoning"  # near nothing: the judge decides
    assert "other" in upstream.called


@pytest.mark.parametrize("script", [failing(400), failing(500), DROPPED, whole("no vectors")], ids=["400", "500", "dropped", "chat"])  # fmt: skip
def test_without_a_vector_the_classifier_decides(
    make: Make, upstream: Upstream, script: Answer
) -> None:
    world = make(meaning())
    upstream.on("/vectors", script)
    assert ask(world, NEAR) == "fast"
    (row,) = (row for row in world.entries() if not row.tags)
    assert row.basis is not None
    assert row.basis.evidence is not None
    assert "no vectors of the exemplars" in str(row.basis.evidence.uncompared)


def test_no_call_waits_for_a_silent_model(make: Make, upstream: Upstream) -> None:
    """After three silent calls the gateway pauses the model."""
    world = make(meaning({"timeout": "50ms"}))
    for _ in range(50):  # until the vector of the exemplar is there, in the background
        if ask(world, NEAR, x_tiergate_cache="off") == "reasoning":
            break
    upstream.on("/vectors", SILENT)
    asked = upstream.called.count("vectors")
    for _ in range(5):
        assert ask(world, FAR, x_tiergate_cache="off") == "fast"
    assert upstream.called.count("vectors") - asked <= 3
    texts = [str(row["text"]) for row in world.log if row["event"] == "meaning"]
    assert texts[-1].startswith("the embedding model is paused for a while")
    assert route(world, NEAR)["meaning"][0] == "degraded"


def test_a_restart_asks_for_no_vector_of_an_exemplar(make: Make, upstream: Upstream) -> None:
    world = make(meaning())
    assert ask(world, NEAR) == "reasoning"
    world.close()
    assert upstream.called.count("vectors") == 2
    again = World(world.loop, world.folder, upstream, world_config(world), {})
    try:
        assert ask(again, NEAR) == "reasoning"
    finally:
        again.close()
    assert upstream.called.count("vectors") == 3


def world_config(world: World) -> Config:
    value: Config = jsonio.loads((world.folder / "gateway.yaml").read_bytes())
    return value


def test_no_key_finds_what_another_key_had_compared(
    make: Make, upstream: Upstream, tmp_path: Path
) -> None:
    """Each key asks for the vector of the same text."""
    world = make(meaning(), keyed(tmp_path))
    for name in ("a", "a", "b"):
        assert ask(world, NEAR, authorization=f"Bearer {name}") == "reasoning"
    assert upstream.called.count("vectors") == 3  # the exemplar's, and one for each key


def test_a_key_that_may_not_use_the_lab_compares_nothing(
    make: Make, upstream: Upstream, tmp_path: Path
) -> None:
    """The vectors of exemplars that another key has paid for do not help it either."""
    make_keys = keyed(tmp_path)

    def change(value: Config) -> None:
        meaning()(value)
        make_keys(value)
        file = tmp_path / "keys.yaml"
        table: Any = jsonio.loads(file.read_bytes())
        table["c"]["labs"] = ["acme"]
        file.write_bytes(jsonio.dumps(table))

    world = make(change)
    tiers = [ask(world, NEAR, authorization=f"Bearer {name}") for name in ("c", "a", "c")]
    assert tiers == ["fast", "reasoning", "fast"]
    assert upstream.called.count("vectors") == 2


def test_guards_limits_and_keys_bind_the_embedding_model(make: Make, upstream: Upstream) -> None:
    """A denied lab, a limit of the tag, and `judge: off` each keep the text from it."""
    guards = [
        {"name": "g", "when": {"keywords": ["lease"]}, "deny": ["vectors"], "tag": "legal"},
        {"name": "private", "when": {"keywords": ["secret"]}, "judge": "off"},
    ]
    limit = {"name": "meanings", "requests": "2/d", "tag": "meaning"}
    world = make(meaning(guards=guards, limits=[limit]))
    assert ask(world, "A lease") == "fast"
    assert ask(world, "A secret") == "fast"
    assert "vectors" not in upstream.called
    assert "meaning" not in route(world, "A secret")
    assert ask(world, NEAR) == "reasoning"
    assert ask(world, "Hello again") == "fast"
    assert upstream.called.count("vectors") == 2
    embedded = [row for row in world.entries() if row.id.endswith(".meaning")]
    assert [(row.tags, row.state) for row in embedded] == [
        ((), "refused"),
        (("meaning",), "settled"),
        (("meaning",), "settled"),
        (("meaning",), "refused"),
    ]


def test_the_model_sees_the_last_turn_alone_and_no_secrets(make: Make, upstream: Upstream) -> None:
    def change(value: Config) -> None:
        meaning()(value)
        value["ledger"] = {**value.get("ledger", {}), "redact": [r"PRJ-\d+"]}

    world = make(change)
    body = chat("Mail jo@example.com about PRJ-7", model="auto")
    for role in ("assistant", "user", "system"):
        body["messages"].insert(0, {"role": role, "content": "Something earlier"})
    assert world.ask(body).status_code == 200
    sent = [item.json["input"] for item in upstream.requests if "input" in item.json]
    assert sent == [CONTRACTS, "Mail [e-mail] about [struck out]"]


def test_a_replay_uses_the_stored_match(make: Make, upstream: Upstream) -> None:
    """It asks nobody. A candidate that compares no meanings ignores the match."""
    world = make(meaning())
    assert [ask(world, text) for text in (NEAR, FAR)] == ["reasoning", "fast"]
    router, config = world.gateway.built_config.router, world.gateway.built_config.source.config
    rows, asked = world.entries(), len(upstream.called)
    without = config.model_copy(update={"routing": config.routing.model_copy(update={"meaning": None})})  # fmt: skip
    catalogue = msgspec.structs.replace(router.catalogue, version="candidate")
    candidate_router = msgspec.structs.replace(router, catalogue=catalogue)
    for candidate, changed in ((config, 0), (without, 1)):
        walk = build_replay(candidate_router, candidate)
        for row in rows:
            walk.replay_row(logged(row))
        total = walk.totals.total
        assert (total.changed, total.undecided) == (changed, 0)
    assert len(upstream.called) == asked
