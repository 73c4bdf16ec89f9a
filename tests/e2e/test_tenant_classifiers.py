"""A gateway learns from its own calls: feedback trains a classifier for its tenant alone."""

import hashlib
from typing import Any

import pytest

from gateway.core import jsonio
from gateway.evaluation.training import refit_trial
from tests.cli.run import run
from tests.e2e.world import Make, World, chat
from tests.evaluation.training.test_refit_trial import EASY, HARD
from tests.evaluation.training.test_refit_trial import make_judged_texts as labelled_texts

HARD_TEXT = " ".join((*HARD, "word1", "word2", "word3"))
EASY_TEXT = " ".join((*EASY, "word1", "word2", "word3"))


def digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def learned(value: dict[str, Any]) -> None:
    """Configure two tenants, kept texts, and the classifier that ships."""
    value["keys"] = "keys.yaml"
    value["routing"] = {"classifier": "learned"}
    value["ledger"] = {"content": "on"}


FILE = {
    name: {"sha256": digest(name), "tenant": tenant}
    for name, tenant in (("ann", "acme"), ("bob", "other"))
}


def ask(world: World, key: str, path: str, body: object) -> Any:
    reply = world.client.post(path, json=body, headers={"authorization": f"Bearer {key}"})
    assert reply.status_code == 200, reply.text
    return reply


def get_route(world: World, key: str, text: str) -> dict[str, Any]:
    """Return what the gateway would decide for a text."""
    route: dict[str, Any] = ask(world, key, "/v1/route", chat(text, model="auto")).json()
    return route


def train(world: World, *words: str) -> Any:
    environ = {"TIERGATE_DATA": str(world.folder / "data")}
    return run("--config", world.folder / "gateway.yaml", "train", *words, environ=environ)


def load_new_classifiers(world: World) -> None:
    """Look for new classifiers once, as a running gateway does every few seconds."""
    ends = iter((None, InterruptedError()))

    async def once(_: float) -> None:
        if (end := next(ends)) is not None:
            raise end

    with pytest.raises(InterruptedError):
        world.loop.run(world.gateway._watch_classifiers(once))


def test_feedback_of_a_tenant_trains_its_own_classifier_and_no_other(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Feedback trains a classifier that is in force within seconds and can be rolled back.

    The artefact holds no text.
    """
    monkeypatch.setattr(refit_trial, "CONTROLS", 1)
    world = make(learned, files={"keys.yaml": FILE})
    before = {key: _fast(get_route(world, key, HARD_TEXT)) for key in ("ann", "bob")}
    assert before["ann"] == before["bob"]
    for text, lesson in labelled_texts(80).items():
        answer = ask(world, "ann", "/v1/chat/completions", chat(text, model="auto"))
        tier = "fast" if lesson.fast else "smart"
        id = answer.headers["x-request-id"]
        ask(world, "ann", "/v1/feedback", {"id": id, "tier": tier})
    none = train(world, "--from-ledger", "--tenant", "other")
    assert (none.exit_code, "0 labels can be used; 50 are needed" in none.output) == (3, True)
    dry = train(world, "--from-ledger", "--tenant", "acme", "--dry-run", "--json")
    assert dry.exit_code == 0, dry.output
    report = jsonio.loads(dry.stdout.encode())
    assert (report["tenant"], report["taken"], report["refused"]) == ("acme", False, "")
    assert report["origins"] == {"told": 80}
    assert report["gain"]["low"] > 0
    load_new_classifiers(world)
    assert world.gateway.engine.router.tenant_classifiers == {}

    done = train(world, "--from-ledger", "--tenant", "acme")
    assert done.exit_code == 0, done.output
    assert "is in force for the tenant acme" in done.output
    load_new_classifiers(world)
    hard, easy = get_route(world, "ann", HARD_TEXT), get_route(world, "ann", EASY_TEXT)
    assert _fast(hard) < _fast(easy)
    assert _fast(hard) != before["ann"]
    assert _fast(get_route(world, "bob", HARD_TEXT)) == before["bob"]
    artefacts = [*(world.folder / "data" / "classifiers").rglob("*.tiergate")]
    assert len(artefacts) == 1
    artefact = artefacts[0].read_bytes()
    assert not any(word.encode() in artefact for word in (*HARD, *EASY))

    assert (
        train(world, "--from-ledger", "--tenant", "acme").exit_code == 3
    )  # nothing has come since
    back = train(world, "--rollback", "--tenant", "acme")
    assert "uses the shared classifier again" in back.output
    load_new_classifiers(world)
    assert _fast(get_route(world, "ann", HARD_TEXT)) == before["ann"]
    again = train(world, "--rollback", "--tenant", "acme")
    assert (again.exit_code, "uses the shared classifier" in again.output) == (1, True)


def _fast(route: dict[str, Any]) -> float:
    """The probability that fast suffices, as the trace tells it."""
    why = next(step["why"] for step in route["trace"] if step["step"] == "classifier")
    return float(f"0{why.removeprefix('fast ').partition(',')[0]}")


def test_the_heuristic_classifier_cannot_be_trained(make: Make) -> None:
    world = make()
    result = train(world, "--from-ledger")
    assert (result.exit_code, "Only a learned classifier" in result.output) == (1, True)


@pytest.mark.parametrize(
    "words",
    [
        (), ("labels.jsonl",), ("--from-ledger", "--rollback"), ("--from-ledger", "labels.jsonl"),
        ("--rollback", "--out", "mine"),
    ],
)  # fmt: skip
def test_train_refuses_contradictory_options(make: Make, words: tuple[str, ...]) -> None:
    assert train(make(), *words).exit_code == 2
