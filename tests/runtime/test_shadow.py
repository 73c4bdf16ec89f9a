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
CURRENT = """\
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
NEXT = CURRENT + "choices: [{name: words, when: {keywords: [hello]}, tier: fast}]\n"


class ShadowTrial:
    """The current configuration, its candidate, and calls."""

    def __init__(self, folder: Path, own: str = CURRENT, candidate: str = NEXT) -> None:
        self.folder = folder
        self.log: list[dict[str, object]] = []
        self.slept: list[float] = []
        self.times = 0
        self.own = self.build(own)
        write(folder, candidate, "next.yaml")
        self.shadow = Shadow(self.read, self.record_event, wall=lambda: 7.0, sleep=self.sleep)
        self.shadow.adopt(self.own)

    def build(self, text: str) -> BuiltConfig:
        return build_config(load(write(self.folder, text, "own.yaml"), ON), NOW)

    def read(self, file: Path, reads: FileSnapshot) -> BuiltConfig:
        self.times += 1
        return build_config(load(file, ON, reads), NOW)

    def record_event(self, event: str, **fields: object) -> None:
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
        request = TranslatableRequest(OPENAI_CHAT, body, router.fetched_media)
        call = features.read(body.prompt, "openai-chat", OPEN_KEY, NO_OPTIONS, request)
        recorder = DecisionRecorder(router, call, OPENAI_CHAT, DecisionContext(at=1e9))
        outcome: Mapping[str, Any] = {"state": "refused", "problem": "not_allowed"}
        with contextlib.suppress(ProblemError):
            decision, plan = recorder.decide()
            outcome = {
                "state": "settled", "lab": decision.lab, "tier": decision.tier, "model": plan.targets[0].model,
                "provider": "acme", "source": decision.source, "cost": Decimal(7),
                "input": 1_000_000, "output": 1_000_000,
            }  # fmt: skip
        values: Mapping[str, Any] = {
            "id": f"tg-{number}", "at": 1e9, "key": "open", "dialect": "openai-chat", "asked": "auto",
            "status": 200, "duration": 0.1, "config": router.catalogue.version, "basis": recorder(),
        }  # fmt: skip
        self.shadow.enqueue(FinalRow(**{**values, **outcome, **more}), recorder)

    async def decide_waiting(self) -> dict[str, Any]:
        """Decide all that waits, and return the report."""
        waiting = self.shadow._queue
        task = asyncio.create_task(self.shadow.decide_queued())
        while waiting.qsize():  # noqa: ASYNC110 - a queue that is empty tells nobody
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        state: dict[str, Any] = self.shadow.state()
        return state


@pytest.fixture
async def trial(tmp_path: Path) -> ShadowTrial:
    """Make a trial whose candidate has been read."""
    made = ShadowTrial(tmp_path)
    await made.shadow.refresh()
    return made


async def test_the_candidate_decides_each_call_and_the_report_has_the_differences(
    tmp_path: Path,
) -> None:
    """The candidate reads the text itself, which a replay of the ledger does not have."""
    trial = ShadowTrial(tmp_path)
    trial.note("Before anything was read.")
    await trial.shadow.refresh()
    trial.note("hello there", 2)
    trial.note("What is that?", 3)
    state = await trial.decide_waiting()
    report = state["report"]
    assert (report["calls"], report["changed"], report["undecided"]) == (2, 1, 0)
    assert (state["failed"], state["skipped"], state["waiting"]) == (0, 0, 0)
    assert report["tiers"]["fast"] == {"before": 0, "after": 1}
    assert report["by"]["words"] == {"before": 0, "after": 1}
    (changed,) = report["list"]
    assert (changed["id"], changed["usd"]) == ("tg-2", "-4.666666")
    assert state["version"] == trial.own.built_catalogue.catalogue.version
    assert report["config"] == state["candidate"] not in (None, state["version"])
    assert state["file"] == str(trial.folder / "next.yaml")
    assert "hello" not in str(state)
    assert trial.log == [
        {
            "event": "shadow",
            "version": state["candidate"],
            "text": "decides beside what is in force",
        }
    ]


async def test_the_same_calls_give_the_same_report(tmp_path: Path) -> None:
    """A sample is repeatable too: it depends on the calls' ids."""
    reports = []
    for own in (CURRENT, CURRENT.replace("shadow:", "shadow_sample: 0.5, shadow:")) * 2:
        trial = ShadowTrial(tmp_path, own)
        await trial.shadow.refresh()
        for number in range(60):
            trial.note("hello" if number % 3 else "Why?", number)
        reports.append((await trial.decide_waiting())["report"])
    assert reports[0] == reports[2]
    assert reports[1] == reports[3]
    assert reports[0]["calls"] == 60
    assert 15 < reports[1]["calls"] < 45


async def test_the_candidate_pauses_nineteen_times_as_long_as_it_works(
    trial: ShadowTrial, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter([1.0, 1.001])
    monkeypatch.setattr(time, "perf_counter", lambda: next(now))
    trial.note("hello")
    await trial.decide_waiting()
    assert trial.slept == [pytest.approx(0.019)]


async def test_calls_beyond_the_queue_are_skipped_and_counted(
    trial: ShadowTrial, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(300):
        trial.note("hello", number)
    assert (await trial.decide_waiting())["skipped"] == 300 - 256
    trial.note("hello" * 20_001)
    monkeypatch.setattr(trial.shadow, "_load_shedder", type("Pressed", (), {"level": 1})())
    trial.note("hello")
    state = await trial.decide_waiting()
    assert (state["skipped"], state["report"]["calls"]) == (46, 256)


async def test_a_failing_candidate_is_counted_and_disturbs_no_call(
    trial: ShadowTrial, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise KeyError("a secret of the prompt")

    monkeypatch.setattr(LedgerReplay, "replay_row", fail)
    trial.note("hello")
    state = await trial.decide_waiting()
    assert (state["report"]["calls"], state["failed"]) == (0, 1)
    assert next(iter(state["failures"])).startswith("KeyError at test_shadow.py:")
    assert "secret" not in str(state)


async def test_a_candidate_with_a_mistake_is_reported_and_used_once_it_is_repaired(
    tmp_path: Path,
) -> None:
    trial = ShadowTrial(tmp_path, candidate="version: 1\nroutingg: {}\n")
    await trial.shadow.refresh()
    trial.note("hello")
    state = await trial.decide_waiting()
    assert (state["candidate"], state["report"]) == (None, None)
    assert "routingg: no such key." in state["mistakes"][0]
    (row,) = trial.log
    assert (row["event"], row["line"]) == ("shadow", 2)
    for _ in range(3):
        await trial.shadow.refresh()
    assert trial.times == 1
    write(trial.folder, NEXT, "next.yaml")
    for _ in range(2):
        await trial.shadow.refresh()
    assert trial.shadow.state()["candidate"] is not None
    assert trial.shadow.state()["mistakes"] == []
    write(trial.folder, CURRENT, "next.yaml")
    await trial.shadow.refresh()
    write(trial.folder, NEXT + "# more\n", "next.yaml")
    await trial.shadow.refresh()
    assert trial.times == 2, "what is being written is waited for"
    trial.shadow._read = lambda *_: 1 / 0  # type: ignore[assignment]
    await trial.shadow.refresh()
    assert "ZeroDivisionError" in str(trial.shadow.state()["mistakes"])


async def test_counts_restart_when_either_configuration_changes(
    trial: ShadowTrial, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The counts also begin anew after many calls."""
    trial.note("hello")
    assert (await trial.decide_waiting())["report"]["calls"] == 1
    trial.note("hello")
    trial.shadow.adopt(trial.build(CURRENT.replace("large", "larger")))
    trial.note("hello", 2)
    (changed,) = (await trial.decide_waiting())["report"]["list"]
    assert changed["id"] == "tg-2", "the first waited from before"
    assert trial.times == 1
    monkeypatch.setattr(shadow, "_MAX_COUNTED_CALLS", 2)
    trial.note("hello", 3)
    assert (await trial.decide_waiting())["report"]["calls"] == 0
    trial.shadow.adopt(trial.build(CURRENT.replace("shadow: next.yaml", "shadow: none.yaml")))
    assert trial.shadow.state()["candidate"] is None
    await trial.shadow.refresh()
    assert "none.yaml: error: cannot be read" in str(trial.shadow.state()["mistakes"])


async def test_without_a_candidate_there_is_no_report(tmp_path: Path) -> None:
    trial = ShadowTrial(tmp_path, CURRENT.replace(", shadow: next.yaml", ""))
    assert not trial.shadow.is_enabled
    await trial.shadow.refresh()
    trial.note("hello")
    assert (trial.times, (await trial.decide_waiting())["report"]) == (0, None)


async def test_a_candidate_that_was_replaced_while_it_was_read_is_dropped(tmp_path: Path) -> None:
    trial = ShadowTrial(tmp_path)

    def read_slowly(file: Path, reads: FileSnapshot) -> BuiltConfig:
        built = trial.read(file, reads)
        trial.shadow.adopt(trial.build(CURRENT.replace("next.yaml", "third.yaml")))
        return built

    trial.shadow._read = read_slowly
    await trial.shadow.refresh()
    assert trial.shadow.state()["candidate"] is None


async def test_the_report_counts_refusals_of_either_configuration(tmp_path: Path) -> None:
    guard = 'guards: [{name: no, when: {keywords: [hello]}, refuse: "No."}]\n'
    for current, candidate, before, after in (
        (CURRENT, CURRENT + guard, 0, 1),
        (CURRENT + guard, CURRENT, 1, 0),
    ):
        trial = ShadowTrial(tmp_path, current, candidate)
        await trial.shadow.refresh()
        trial.note("hello")
        report = (await trial.decide_waiting())["report"]
        assert report["changed"] == 1
        assert report["tiers"]["refused"] == {"before": before, "after": after}


async def test_a_call_without_a_decision_is_left_out(trial: ShadowTrial) -> None:
    entry = FinalRow(
        id="x", at=0.0, key="k", dialect="d", state="refused", status=1, duration=0.0, config="c"
    )
    trial.shadow.enqueue(entry, None)
    assert (await trial.decide_waiting())["report"]["calls"] == 0


async def test_the_candidate_is_read_at_the_start_and_checked_once_a_second(tmp_path: Path) -> None:
    trial, enough = ShadowTrial(tmp_path), asyncio.Event()

    async def sleep(seconds: float) -> None:
        await trial.sleep(seconds)
        if len(trial.slept) == 3:
            enough.set()

    trial.shadow._sleep = sleep
    task = asyncio.create_task(trial.shadow.watch())
    await enough.wait()
    task.cancel()
    assert trial.slept[:3] == [1.0, 1.0, 1.0]
    assert trial.times == 1
