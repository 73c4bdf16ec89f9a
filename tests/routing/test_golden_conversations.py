"""Conversations written by hand, through the shipped configuration: which turns get their tier."""

from pathlib import Path

import pytest

from gateway.evaluation import golden
from gateway.evaluation.golden import GoldenPrompt, GoldenResult
from gateway.routing.router import Router
from gateway.settings import yaml
from tests.config import shipped

FILES = ("agents", "turn_hard", "turn_easy", "side_calls")
DISAGREEMENTS = {
    "agent-06, turn 1": "fast",
    "agent-06, turn 1, tool loop 1": "fast",
    "agent-06, turn 1, tool loop 2": "fast",
    "agent-06, turn 2": "smart",
    "agent-06, turn 2, tool loop 1": "smart",
    "agent-06, turn 3": "smart",
    "hard-08, turn 1": "smart",
    "hard-08, turn 2": "reasoning",
    "side-05, turn 3": "smart",
}
"""Turns that the shipped classifier decides otherwise, and the tier that they get.

Most are first turns that it takes for a tier harder or easier, and their consequences.
"""


def read_file(name: str) -> list[GoldenPrompt]:
    path = Path(__file__).parent / "golden" / f"{name}.yaml"
    return golden.read_prompts(yaml.read(path.read_text("utf-8"), str(path)))


@pytest.fixture(scope="module")
def router() -> Router:
    return shipped.learned_router()


def label(result: GoldenResult) -> str:
    return f"{result.golden.why.partition(':')[0]}, {result.turn}"


def test_each_file_has_enough_golden_conversations() -> None:
    conversations = [conversation for name in FILES for conversation in read_file(name)]
    assert len(conversations) == len({conversation.why for conversation in conversations}) >= 24
    assert all(conversation.turns for conversation in conversations)
    assert all(len(read_file(name)) >= 6 for name in FILES)


@pytest.mark.parametrize("name", FILES)
def test_all_turns_get_their_tier_except_the_listed_disagreements(
    name: str, router: Router
) -> None:
    results = golden.decide_prompts(router, read_file(name))
    kind = read_file(name)[0].why.partition("-")[0]
    disagreements = {label(result): result.tier for result in results if not result.passed}
    assert disagreements == {
        turn: why for turn, why in DISAGREEMENTS.items() if turn.startswith(kind)
    }


def test_most_turns_get_their_tier(router: Router) -> None:
    results = [
        result for name in FILES for result in golden.decide_prompts(router, read_file(name))
    ]
    assert (len(results), sum(result.passed for result in results)) == (135, 126)


def test_evidence_raises_no_golden_side_call(router: Router) -> None:
    """No side call of a conversation has a line of evidence."""
    results = [item for name in FILES for item in golden.decide_prompts(router, read_file(name))]
    sides = {
        (item.why, turn.prompt)
        for name in FILES
        for item in read_file(name)
        for turn in item.turns
        if turn.side
    }
    raised = [item for item in results if any(line.startswith("evidence") for line in item.changes)]
    assert len(raised) > 20
    assert not [item for item in raised if (item.golden.why, item.golden.prompt) in sides]
