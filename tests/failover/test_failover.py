"""The short form of `make failover`: every fault, policy, program and call, with short timers."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.chaos.sdk.clients import SdkAnswer
from tests.docs import pages
from tests.failover import table
from tests.failover.faults import FAULTS
from tests.failover.play import (
    PROGRAMS,
    SECOND_TEXT,
    Experience,
    check_answer,
    list_cells,
    play,
)
from tests.failover.policies import SHIPPED, WRITTEN, read_policies

# google-genai requires an older tenacity than the gateway does, and calls it in the older way.
pytestmark = pytest.mark.filterwarnings("ignore:The 'initial' parameter is deprecated")


@pytest.fixture(scope="module")
def experiences(tmp_path_factory: pytest.TempPathFactory) -> Sequence[Experience]:
    return list(play(list_cells(short=True), tmp_path_factory.mktemp("failover"), short=True))


def test_no_program_takes_a_cut_answer_for_a_whole_one(experiences: Sequence[Experience]) -> None:
    """Nor is a model unnamed, an error empty or not its SDK's, or a row missing in the ledger."""
    assert table.list_wrong(experiences) == {}


def test_the_recommended_policy_loses_no_answer(experiences: Sequence[Experience]) -> None:
    """Each fault that leaves a second target costs no program its answer; whole answers never."""
    lost = [
        str(seen.cell)
        for seen in experiences
        if seen.answered_by is None and seen.cell.fault.answerable
        if seen.cell.fault.second != "none"
        if seen.cell.policy == WRITTEN or seen.cell.mode == "whole"
    ]
    assert lost == []


def test_programs_see_what_the_page_says(experiences: Sequence[Experience], tmp_path: Path) -> None:
    """The page is written by `make failover WRITE=1`; its seconds are those of that run.

    A stall of the machine may make a timer strike too early. It does not do so twice at one place.
    """
    differences = table.list_differences(experiences)
    if differences:
        again = table.list_differences(list(play(list_cells(short=True), tmp_path, short=True)))
        differences = [text for text in differences if text in again]
    assert differences == []


def test_the_promise_has_the_number_of_the_page(experiences: Sequence[Experience]) -> None:
    counts = {count.policy: count for count in table.count_kept(experiences)}
    promises = (pages.ROOT / "docs/promises.md").read_text("utf-8")
    assert f"[none of {counts[WRITTEN].kept_faults} faults](failover.md)" in promises
    assert f"see of {len(FAULTS)} faults" in (pages.ROOT / "docs/README.md").read_text("utf-8")


def test_the_page_has_every_fault() -> None:
    assert {row.fault for row in table.read_page()} == {table.name_fault(it) for it in FAULTS}


def test_each_kind_of_fault_meets_each_program_and_policy() -> None:
    groups = {
        "rate limits", "blips", "outages", "cuts", "hangs", "context", "malformed", "blanks", "one target",
    }  # fmt: skip
    assert {fault.group for fault in FAULTS} == groups
    met = {(it.fault.group, it.policy, it.program, it.mode) for it in list_cells(short=False)}
    assert len(met) >= len(groups) * 2 * len(PROGRAMS) * 2
    names = [cell.name for cell in list_cells(short=False)]
    assert len(names) == len(set(names))


def test_the_policies_are_those_of_the_two_files() -> None:
    policies = read_policies()
    assert policies[SHIPPED]["routing"]["complete"] == "off"
    assert policies[WRITTEN]["routing"]["complete"] == "hold"
    assert policies[SHIPPED]["retry"] == policies[WRITTEN]["retry"]


@pytest.mark.parametrize(
    ("answer", "header", "wrong"),
    [
        (SdkAnswer("Hello you.", "stop", "served-chat"), "", ""),
        (SdkAnswer(SECOND_TEXT, "stop", "second-chat"), "-second", ""),
        (SdkAnswer(SECOND_TEXT, "stop", "second-chat"), None, ""),
        (SdkAnswer("Hell", "length", "served-chat"), "", ""),
        (SdkAnswer("Hell", None, "served-chat"), "", "a cut answer as a whole one"),
        (SdkAnswer("Hell", "stop", "served-chat"), "", "a cut answer as a whole one"),
        (SdkAnswer("HellGood day.", "stop", "second-chat"), "-second", "a cut answer"),
        (SdkAnswer(SECOND_TEXT, "stop", "second-chat"), "", "the header names"),
        (SdkAnswer(SECOND_TEXT, "stop", "served-chat"), None, "the body names"),
    ],
)
def test_the_judge_notices_a_cut_answer_and_an_unnamed_model(
    answer: SdkAnswer, header: str | None, wrong: str
) -> None:
    cell = list_cells(short=True)[0]
    headers = {} if header is None else {"x-tiergate-model": f"m-{cell.name}{header}"}
    found = check_answer(cell, answer, headers)
    assert len(found) == bool(wrong)
    assert all(wrong in text for text in found)


@pytest.mark.parametrize(
    ("policy", "second", "finish", "header", "is_wrong"),
    [
        (SHIPPED, "none", None, "unknown", False),
        (SHIPPED, "none", None, None, True),
        (SHIPPED, "none", "stop", "unknown", True),
        (SHIPPED, "well", None, "unknown", True),
        (WRITTEN, "none", None, "unknown", True),
    ],
)
def test_half_an_answer_without_a_reason_passes_only_where_the_rules_say(
    policy: str, second: str, finish: str | None, header: str | None, *, is_wrong: bool
) -> None:
    cell = next(
        cell
        for cell in list_cells(short=True)
        if (cell.policy, cell.fault.second) == (policy, second)
    )
    headers = {} if header is None else {"x-tiergate-finish": header}
    answer = SdkAnswer("Hell", finish, "served-chat")
    assert bool(check_answer(cell, answer, headers)) == is_wrong


def test_a_changed_outcome_is_a_difference(experiences: Sequence[Experience]) -> None:
    """The page notices another outcome of one call of one program."""
    changed = [replace(experiences[0], said="the second model"), *experiences[1:]]
    assert len(table.list_differences(changed)) >= 2
    lost = [replace(experiences[0], answered_by=None), *experiences[1:]]
    assert any("other sums" in text for text in table.list_differences(lost))
