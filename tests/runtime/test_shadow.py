"""A candidate decides beside the current configuration: repeatably, and no call waits for it."""

import asyncio
import contextlib
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from gateway.core.call import NO_OPTIONS, OPEN_KEY
from gateway.core.decision_context import DecisionContext
from gateway.core.errors import ProblemError
from gateway.core.ledger_rows import FinalRow
from gateway.dialects import OPENAI_CHAT, TranslatableRequest
from gateway.evaluation.replay.replay import LedgerReplay
from gateway.routing import features
from gateway.routing.decision_record import DecisionRecorder
from gateway.runtime import shadow
from gateway.runtime.build import BuiltConfig, build_config
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
    """The current configuration, its candidate, and calls."""

    def __init__(self, folder: Path, own: str = OWN, candidate: str = NEXT) -> None:
        self.folder = folder
        self.log: list[dict[str, object]] = []
        self.slept: list[float] = []
        self.times = 0
        self.own = self.build(own)
        write(folder, candidate, "next.yaml")
        self.shadow = Shadow(self.read, self.say, wall=lambda: 7.0, sleep=self.sleep)
        self.shadow.adopt(self.own)

    def build(self, text: str) -> BuiltConfig:
        return build_config(load(write(self.folder, text, "own.yaml"), ON), NOW)

    def read(self, file: Path, reads: FileSnapshot) -> BuiltConfig:
        self.times += 1
        return build_config(load(file, ON, reads), NOW)

    def say(self, event: str, **fields: object) -> None:
        self.log.append({"event": event, **fields})

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)

    def note(self, text: str, number: int = 1, **more: Any) -> None:
        """Note a call that has ended."""
        body = OPENAI_CHAT.read(
            b'{"model": "auto", "messages": [{"role": "user", "content": "%b"}]}' % text.encode()
        )
        router = self.own.router
        asked = TranslatableRequest(OPENAI_CHAT, body, router.fetched_media)
        call = features.read(body.prompt, "openai-chat", OPEN_KEY, NO_OPTIONS, asked)
        case = DecisionRecorder(router, call, OPENAI_CHAT, DecisionContext(at=1e9))
        decided: Mapping[str, Any] = {"state": "refused", "problem": "not_allowed"}
        with contextlib.suppress(ProblemError):
            decision, plan = case.decide()
            decided = {
                "state": "settled", "lab": decision.lab, "tier": decision.tier, "model": plan.targets[0].model,
                "provider": "acme", "source": decision.source, "cost": Decimal(7),
                "input": 1_000_000, "output": 1_000_000,
            }  # fmt: skip
        values: Mapping[str, Any] = {
            "id": f"tg-{number}", "at": 1e9, "key": "open", "dialect": "openai-chat", "asked": "auto",
            "status": 200, "duration": 0.1, "config": router.catalogue.version, "basis": case(),
        }  # fmt: skip
        self.shadow.enqueue(FinalRow(**{**values, **decided, **more}), case)

    async def work(self) -> dict[str, Any]:
        """Decide all that waits, and return the report."""
        waiting = self.shadow._queue
        task = asyncio.create_task(self.shadow.decide_queued())
        while waiting.qsize():  # noqa: ASYNC110 - a queue that is empty tells nobody
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        told: dict[str, Any] = self.shadow.state()
        return told


@pytest.fixture
async def trial(tmp_path: Path) -> Trial:
    """Make a trial whose candidate has been read."""
    one = Trial(tmp_path)
    await one.shadow.refresh()
    return one


async def test_it_decides_each_call_and_tells_what_differs(tmp_path: Path) -> None:
    """The candidate reads the text itself, which a replay of the ledger does not have."""
    trial = Trial(tmp_path)
    trial.note("Before anything was read.")
    await trial.shadow.refresh()
    trial.note("hello there", 2)
    trial.note("What is that?", 3)
    told = await trial.work()
    report = told["report"]
    assert (report["calls"], report["changed"], report["undecided"]) == (2, 1, 0)
    assert (told["failed"], told["skipped"], told["waiting"]) == (0, 0, 0)
    assert report["tiers"]["fast"] == {"before": 0, "after": 1}
    assert report["by"]["words"] == {"before": 0, "after": 1}
    (changed,) = report["list"]
    assert (changed["id"], changed["usd"]) == ("tg-2", "-4.666666")
    assert told["version"] == trial.own.built_catalogue.catalogue.version
    assert report["config"] == told["candidate"] not in (None, told["version"])
    assert told["file"] == str(trial.folder / "next.yaml")
    assert "hello" not in str(told)
    assert trial.log == [
        {"event": "shadow", "version": told["candidate"], "text": "decides beside what is in force"}
    ]


async def test_the_same_calls_give_the_same_report(tmp_path: Path) -> None:
    """A sample is repeatable too: it depends on the calls' ids."""
    reports = []
    for own in (OWN, OWN.replace("shadow:", "shadow_sample: 0.5, shadow:")) * 2:
        one = Trial(tmp_path, own)
        await one.shadow.refresh()
        for number in range(60):
            one.note("hello" if number % 3 else "Why?", number)
        reports.append((await one.work())["report"])
    assert reports[0] == reports[2]
    assert reports[1] == reports[3]
    assert reports[0]["calls"] == 60
    assert 15 < reports[1]["calls"] < 45


async def test_it_rests_nineteen_times_as_long_as_it_works(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter([1.0, 1.001])
    monkeypatch.setattr(time, "perf_counter", lambda: next(now))
    trial.note("hello")
    await trial.work()
    assert trial.slept == [pytest.approx(0.019)]


async def test_what_there_is_no_room_for_is_left_out_and_counted(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(300):
        trial.note("hello", number)
    assert (await trial.work())["skipped"] == 300 - 256
    trial.note("hello" * 20_001)
    monkeypatch.setattr(trial.shadow, "_load_shedder", type("Pressed", (), {"level": 1})())
    trial.note("hello")
    told = await trial.work()
    assert (told["skipped"], told["report"]["calls"]) == (46, 256)


async def test_a_candidate_that_fails_disturbs_nobody(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise KeyError("a secret of the prompt")

    monkeypatch.setattr(LedgerReplay, "replay_row", broken)
    trial.note("hello")
    told = await trial.work()
    assert (told["report"]["calls"], told["failed"]) == (0, 1)
    assert next(iter(told["failures"])).startswith("KeyError at test_shadow.py:")
    assert "secret" not in str(told)


async def test_one_with_a_mistake_is_told_of_and_used_once_it_is_mended(tmp_path: Path) -> None:
    trial = Trial(tmp_path, candidate="version: 1\nroutingg: {}\n")
    await trial.shadow.refresh()
    trial.note("hello")
    told = await trial.work()
    assert (told["candidate"], told["report"]) == (None, None)
    assert "routingg: no such key." in told["mistakes"][0]
    (line,) = trial.log
    assert (line["event"], line["line"]) == ("shadow", 2)
    for _ in range(3):
        await trial.shadow.refresh()
    assert trial.times == 1
    write(trial.folder, NEXT, "next.yaml")
    for _ in range(2):
        await trial.shadow.refresh()
    assert trial.shadow.state()["candidate"] is not None
    assert trial.shadow.state()["mistakes"] == []
    write(trial.folder, OWN, "next.yaml")
    await trial.shadow.refresh()
    write(trial.folder, NEXT + "# more\n", "next.yaml")
    await trial.shadow.refresh()
    assert trial.times == 2, "what is being written is waited for"
    trial.shadow._read = lambda *_: 1 / 0  # type: ignore[assignment]
    await trial.shadow.refresh()
    assert "ZeroDivisionError" in str(trial.shadow.state()["mistakes"])


async def test_counts_begin_anew_where_one_of_the_two_is_another(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The counts also begin anew after many calls."""
    trial.note("hello")
    assert (await trial.work())["report"]["calls"] == 1
    trial.note("hello")
    trial.shadow.adopt(trial.build(OWN.replace("large", "larger")))
    trial.note("hello", 2)
    (changed,) = (await trial.work())["report"]["list"]
    assert changed["id"] == "tg-2", "the first waited from before"
    assert trial.times == 1
    monkeypatch.setattr(shadow, "_MAX_COUNTED_CALLS", 2)
    trial.note("hello", 3)
    assert (await trial.work())["report"]["calls"] == 0
    trial.shadow.adopt(trial.build(OWN.replace("shadow: next.yaml", "shadow: none.yaml")))
    assert trial.shadow.state()["candidate"] is None
    await trial.shadow.refresh()
    assert "none.yaml: error: cannot be read" in str(trial.shadow.state()["mistakes"])


async def test_without_a_candidate_there_is_nothing(tmp_path: Path) -> None:
    trial = Trial(tmp_path, OWN.replace(", shadow: next.yaml", ""))
    assert not trial.shadow.is_enabled
    await trial.shadow.refresh()
    trial.note("hello")
    assert (trial.times, (await trial.work())["report"]) == (0, None)


async def test_another_that_is_asked_for_meanwhile_is_the_one(tmp_path: Path) -> None:
    trial = Trial(tmp_path)

    def slow(file: Path, reads: FileSnapshot) -> BuiltConfig:
        found = trial.read(file, reads)
        trial.shadow.adopt(trial.build(OWN.replace("next.yaml", "third.yaml")))
        return found

    trial.shadow._read = slow
    await trial.shadow.refresh()
    assert trial.shadow.state()["candidate"] is None


async def test_refusals_of_either_are_told(tmp_path: Path) -> None:
    guard = 'guards: [{name: no, when: {keywords: [hello]}, refuse: "No."}]\n'
    for own, candidate, before, after in ((OWN, OWN + guard, 0, 1), (OWN + guard, OWN, 1, 0)):
        one = Trial(tmp_path, own, candidate)
        await one.shadow.refresh()
        one.note("hello")
        report = (await one.work())["report"]
        assert report["changed"] == 1
        assert report["tiers"]["refused"] == {"before": before, "after": after}


async def test_a_call_of_which_nothing_was_decided_is_left_out(trial: Trial) -> None:
    entry = FinalRow(
        id="x", at=0.0, key="k", dialect="d", state="refused", status=1, duration=0.0, config="c"
    )
    trial.shadow.enqueue(entry, None)
    assert (await trial.work())["report"]["calls"] == 0


async def test_it_is_read_at_the_start_and_looked_at_once_a_second(tmp_path: Path) -> None:
    trial, enough = Trial(tmp_path), asyncio.Event()

    async def slept(seconds: float) -> None:
        await trial.sleep(seconds)
        if len(trial.slept) == 3:
            enough.set()

    trial.shadow._sleep = slept
    task = asyncio.create_task(trial.shadow.watch())
    await enough.wait()
    task.cancel()
    assert trial.slept[:3] == [1.0, 1.0, 1.0]
    assert trial.times == 1
