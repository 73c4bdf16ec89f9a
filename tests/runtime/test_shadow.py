"""A candidate decides beside what is in force: never waited for, never in the way, the same again."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.core.call import NO_STEER, OPEN
from gateway.core.decision_context import DecisionContext, Thresholds
from gateway.core.ledger_rows import FinalRow
from gateway.dialects import OPENAI_CHAT, TranslatableRequest
from gateway.routing import features
from gateway.routing.decision_record import DecisionRecorder
from gateway.runtime.build import BuiltConfig, site
from gateway.runtime.shadow import Shadow
from gateway.settings.file_snapshot import FileSnapshot
from gateway.settings.loader import load
from tests.settings.world import ON, write

NOW = datetime(2026, 11, 24, tzinfo=UTC)
OWN = """\
version: 1
providers:
  acme: {base_url: "https://acme.example/v1", dialects: {openai-chat: /c}, auth: none}
labs:
  acme: {fast: [{model: small}], smart: [{model: large}], reasoning: [{model: huge}]}
models:
  small: {price: {input: 1, output: 2}}
  large: {price: {input: 3, output: 4}}
routing: {classifier: "off", shadow: next.yaml}
"""
NEXT = OWN + "choices: [{name: words, when: {keywords: [hello]}, tier: fast}]\n"


class Trial:
    """What is in force, its candidate, and calls."""

    def __init__(self, folder: Path, own: str = OWN, candidate: str = NEXT) -> None:
        self.folder = folder
        self.log: list[dict[str, object]] = []
        self.slept: list[float] = []
        self.now = 0.0
        self.passes = 0.001
        """Seconds that a decision takes."""
        self.times = 0
        self.own = self.build(own)
        write(folder, candidate, "next.yaml")
        self.shadow = Shadow(
            self.read, self.say, clock=self.clock, wall=lambda: 7.0, sleep=self.sleep
        )
        self.shadow.adopt(self.own)

    def build(self, text: str) -> BuiltConfig:
        return site(load(write(self.folder, text, "own.yaml"), ON), NOW)

    def read(self, file: Path, reads: FileSnapshot) -> BuiltConfig:
        self.times += 1
        return site(load(file, ON, reads), NOW)

    def say(self, event: str, **fields: object) -> None:
        self.log.append({"event": event, **fields})

    def clock(self) -> float:
        self.now += self.passes
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)

    def note(
        self,
        text: str,
        number: int = 1,
        own: BuiltConfig | None = None,
        evidence: DecisionContext | None = None,
        model: str = "auto",
        **more: Any,
    ) -> None:
        """A call that is over."""
        body = OPENAI_CHAT.read(
            b'{"model": "%b", "messages": [{"role": "user", "content": "%b"}]}'
            % (model.encode(), text.encode())
        )
        router = (own or self.own).router
        asked = TranslatableRequest(OPENAI_CHAT, body, router.fetches)
        call = features.read(body.prompt, "openai-chat", OPEN, NO_STEER, asked)
        case = DecisionRecorder(router, call, OPENAI_CHAT, evidence or DecisionContext(at=1e9))
        case.decide()
        values: Mapping[str, Any] = {
            "id": f"tg-{number}", "at": 1e9, "key": "open", "dialect": "openai-chat",
            "state": "settled", "status": 200, "duration": 0.1, "config": "c", "attempts": 1,
            "input": 1_000_000, "output": 1_000_000, **more,
        }  # fmt: skip
        self.shadow.note(own or self.own, FinalRow(**values), case)

    async def work(self) -> dict[str, Any]:
        """All that waits is decided; the report."""
        await self.shadow.settle()
        told: dict[str, Any] = self.shadow.state()
        return told


@pytest.fixture
def trial(tmp_path: Path) -> Trial:
    return Trial(tmp_path)


async def test_it_decides_each_call_and_tells_what_differs(trial: Trial) -> None:
    trial.note("Before anything was read.")
    await trial.shadow.look()
    trial.note("hello there", 2)
    trial.note("What is that?", 3)
    told = await trial.work()
    assert (told["calls"], told["agree"], told["failed"], told["skipped"]) == (2, 1, 0, 0)
    assert told["moves"] == [{"own": "smart", "candidate": "fast", "calls": 1}]
    assert told["rules"] == [{"own": "default", "candidate": "rule words", "calls": 1}]
    assert [one["id"] for one in told["examples"]] == ["tg-2"]
    assert told["cost"] == {
        "calls": 2, "unknown": 0, "own": "14", "candidate": "10", "difference": "-4",
    }  # fmt: skip
    assert told["version"] == trial.own.built.catalogue.version
    assert told["candidate"] not in (None, told["version"])
    assert told["file"] == str(trial.folder / "next.yaml")
    assert "hello" not in str(told)
    assert trial.log == [
        {"event": "shadow", "version": told["candidate"], "text": "decides beside what is in force"}
    ]


async def test_the_same_calls_give_the_same_report(trial: Trial, tmp_path: Path) -> None:
    """Also those that are in a share: it goes by their ids."""
    reports = []
    for own in (OWN, OWN, OWN.replace("shadow:", "shadow_share: 0.5, shadow:")) * 2:
        one = Trial(tmp_path / "other", own)
        await one.shadow.look()
        for number in range(60):
            one.note("hello" if number % 3 else "Why?", number)
        told = await one.work()
        reports.append({name: told[name] for name in ("calls", "agree", "moves", "examples")})
    assert reports[0] == reports[1] == reports[3]
    assert reports[2] == reports[5]
    assert reports[0]["calls"] == 60
    assert 15 < reports[2]["calls"] < 45


async def test_it_takes_a_twentieth_of_the_time(trial: Trial) -> None:
    await trial.shadow.look()
    trial.note("hello")
    told = await trial.work()
    assert trial.slept == [pytest.approx(0.019)]
    assert told["seconds"] == pytest.approx(0.001)


async def test_what_there_is_no_room_for_is_left_out_and_counted(trial: Trial) -> None:
    await trial.shadow.look()
    for number in range(300):
        trial.note("hello", number)
    assert (await trial.work())["skipped"] == 300 - 256
    trial.shadow._pressure = type("Pressed", (), {"level": 1})()
    trial.note("hello")
    told = await trial.work()
    assert (told["skipped"], told["calls"]) == (45, 256)


async def test_a_long_prompt_is_searched_beside_the_loop(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    apart = []
    to_thread = asyncio.to_thread

    async def noted(work: Any, *args: Any) -> Any:
        apart.append(work.__name__)
        return await to_thread(work, *args)

    await trial.shadow.look()
    monkeypatch.setattr(asyncio, "to_thread", noted)
    trial.note("hello " * 10_000)
    trial.note("hello")
    assert (await trial.work())["calls"] == 2
    assert apart == ["decide"]


async def test_a_candidate_that_fails_disturbs_nobody(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError("a secret of the prompt")

    await trial.shadow.look()
    monkeypatch.setattr(DecisionRecorder, "again", broken)
    trial.note("hello")
    told = await trial.work()
    assert (told["calls"], told["failed"]) == (0, 1)
    assert next(iter(told["failures"])).startswith("KeyError at test_shadow.py:")
    assert "secret" not in str(told)
    trial.shadow.failures = {str(number): 1 for number in range(20)}
    trial.note("hello")
    assert (await trial.work())["failures"]["(others)"] == 1


async def test_one_with_a_mistake_is_told_of_and_used_once_it_is_mended(trial: Trial) -> None:
    write(trial.folder, "version: 1\nroutingg: {}\n", "next.yaml")
    await trial.shadow.look()
    trial.note("hello")
    told = await trial.work()
    assert (told["candidate"], told["calls"]) == (None, 0)
    assert "routingg: no such key." in told["mistakes"][0]
    (line,) = trial.log
    assert (line["event"], line["line"]) == ("shadow", 2)
    for _ in range(3):
        await trial.shadow.look()
    assert trial.times == 1
    write(trial.folder, NEXT, "next.yaml")
    for _ in range(2):
        await trial.shadow.look()
    assert trial.shadow.state()["candidate"] is not None
    assert trial.shadow.state()["mistakes"] == []
    write(trial.folder, OWN, "next.yaml")
    await trial.shadow.look()
    write(trial.folder, NEXT, "next.yaml")
    await trial.shadow.look()
    assert trial.times == 2, "what is being written is waited for"
    trial.shadow._read = lambda *_: 1 / 0  # type: ignore[assignment]
    await trial.shadow.read()
    assert "ZeroDivisionError" in str(trial.shadow.state()["mistakes"])


async def test_counts_begin_anew_where_one_of_the_two_is_another(trial: Trial) -> None:
    await trial.shadow.look()
    trial.note("hello")
    assert (await trial.work())["calls"] == 1
    other = trial.build(OWN.replace("large", "larger"))
    trial.shadow.adopt(other)
    assert trial.shadow.state()["calls"] == 0
    trial.note("hello")
    trial.note("hello", 2, own=other)
    told = await trial.work()
    assert [one["id"] for one in told["examples"]] == ["tg-2"], "the first went by the other"
    assert trial.times == 1
    trial.shadow.adopt(trial.build(OWN.replace("shadow: next.yaml", "shadow: none.yaml")))
    assert trial.shadow.state()["candidate"] is None
    await trial.shadow.look()
    assert "none.yaml: error: cannot be read" in str(trial.shadow.state()["mistakes"])


async def test_without_a_candidate_there_is_nothing(trial: Trial) -> None:
    trial.shadow.adopt(trial.build(OWN.replace(", shadow: next.yaml", "")))
    assert not trial.shadow.on
    await trial.shadow.look()
    await trial.shadow.read()
    trial.note("hello")
    assert (trial.times, (await trial.work())["calls"]) == (0, 0)
    trial.note("hello")
    entry = FinalRow(
        id="x", at=0.0, key="k", dialect="d", state="refused", status=1, duration=0.0, config="c"
    )
    trial.shadow.decide(entry, None)  # type: ignore[arg-type]  # one that was put aside before


async def test_another_that_is_asked_for_meanwhile_is_the_one(trial: Trial) -> None:
    def slow(file: Path, reads: FileSnapshot) -> BuiltConfig:
        found = trial.read(file, reads)
        trial.shadow.adopt(trial.build(OWN.replace("next.yaml", "third.yaml")))
        return found

    trial.shadow._read = slow
    await trial.shadow.look()
    assert trial.shadow.state()["candidate"] is None


async def test_refusals_of_either_are_told(trial: Trial) -> None:
    """And what the cache answered has no price here."""
    guard = 'guards: [{name: no, when: {keywords: [hello]}, refuse: "No."}]\n'
    write(trial.folder, OWN + guard, "next.yaml")
    await trial.shadow.look()
    trial.note("hello")
    trial.note("Why?", 2, cache="hit", state="cache_hit")
    told = await trial.work()
    assert told["tiers"]["candidate"] == {"refused": 1, "smart": 1}
    assert told["rules"] == [{"own": "default", "candidate": "not_allowed", "calls": 1}]
    assert (told["cost"]["calls"], told["cost"]["unknown"]) == (0, 2)
    # and the other way round
    one = Trial(trial.folder / "other", OWN + guard, OWN)
    await one.shadow.look()
    with pytest.raises(Exception, match=r"No\."):
        one.note("hello")
    body = OPENAI_CHAT.read(
        b'{"model": "auto", "messages": [{"role": "user", "content": "hello"}]}'
    )
    call = features.read(body.prompt, "openai-chat", OPEN, NO_STEER)
    case = DecisionRecorder(one.own.router, call, OPENAI_CHAT, DecisionContext())
    entry = FinalRow(
        id="x", at=0.0, key="k", dialect="openai-chat", state="refused", status=403,
        problem="not_allowed", duration=0.0, config="c",
    )  # fmt: skip
    one.shadow.note(one.own, entry, case)
    told = await one.work()
    assert told["moves"] == [{"own": "refused", "candidate": "smart", "calls": 1}]


async def test_bounds_on_shares_hold_for_a_candidate_that_has_the_same(tmp_path: Path) -> None:
    """Else nobody knows what its own traffic would have made of them."""
    own = OWN.replace('classifier: "off"', "classifier: prior")
    never = Thresholds(fast=0.0, smart=0.0, id="all is fast")
    for candidate, agree in (
        (own, 1),
        (own.replace("prior,", "prior, max_share: {smart: 0.9},"), 0),
    ):
        one = Trial(tmp_path, own, candidate)
        await one.shadow.look()
        hard = (
            "Prove that the sum of two odd integers is even, and derive the formula step by step."
        )
        one.note(hard, evidence=DecisionContext(at=1e9, thresholds=never))
        assert (await one.work())["agree"] == agree


async def test_only_answers_are_decided_again(trial: Trial) -> None:
    await trial.shadow.look()
    entry = FinalRow(
        id="x", at=0.0, key="k", dialect="d", state="refused", status=1, duration=0.0, config="c"
    )
    trial.shadow.note(trial.own, entry, None)
    assert (await trial.work())["calls"] == 0


async def test_it_is_read_at_the_start_and_looked_at_once_a_second(trial: Trial) -> None:
    """And works on what comes meanwhile."""
    enough, sleep = asyncio.Event(), trial.sleep

    async def slept(seconds: float) -> None:
        await sleep(seconds)
        if trial.slept.count(1.0) == 3:
            enough.set()

    trial.shadow._sleep = slept
    tasks = [asyncio.create_task(work) for work in (trial.shadow.watch(), trial.shadow.work())]
    await enough.wait()
    enough.clear()
    trial.slept.clear()
    trial.note("hello")
    await enough.wait()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert trial.times == 1
    assert trial.shadow.state()["calls"] == 1
