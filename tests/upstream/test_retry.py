"""What is tried after a failure, when, and how often."""

import pytest

from gateway.core.decision import Plan
from gateway.core.facts import Facts
from gateway.core.problem import Kind, Problem, ProblemError
from gateway.core.target import Account, Provider, Target
from gateway.upstream.retry import Candidate, after, again, candidates

type Row = tuple[Kind, str, str, int | None]


def target(name: str, accounts: int = 1, window: int | None = None) -> Target:
    provider, _, model = name.partition("/")
    return Target(
        provider=Provider(
            name=provider,
            doors={},
            accounts=tuple(Account(f"a{at}", f"s{at}") for at in range(accounts)),
        ),
        model=model,
        facts=Facts(context=window),
    )


def order(*targets: Target) -> list[Candidate]:
    return candidates(Plan(targets=targets, doors=("openai-chat",) * len(targets)))


ORDERS: dict[str, list[Candidate]] = {
    "alone": order(target("x/m")),
    "two accounts": order(target("x/m", 2)),
    "two targets": order(target("x/m", 2), target("y/m")),
    "a larger one last": order(target("x/m", window=8), target("y/m", window=8), target("z/m", window=9)),
    "none larger": order(target("x/m", window=8), target("y/m", window=8)),
    "windows unknown": order(target("x/m"), target("y/m")),
    "a window known": order(target("x/m"), target("y/m", window=9)),
}  # fmt: skip

AFTER: list[Row] = [
    # certain: the request itself
    ("upstream_rejected", "no", "two targets", None),
    ("invalid_request", "no", "two targets", None),
    ("ledger", "no", "two targets", None),
    # certain: the window, the model, the credential
    ("upstream_context", "no", "alone", None),
    ("upstream_context", "no", "two accounts", None),
    ("upstream_context", "no", "a larger one last", 2),
    ("upstream_context", "no", "none larger", None),
    ("upstream_context", "no", "windows unknown", None),
    ("upstream_context", "no", "a window known", 1),
    ("upstream_model", "no", "alone", None),
    ("upstream_model", "no", "two accounts", None),
    ("upstream_model", "no", "two targets", 2),
    ("upstream_auth", "no", "alone", None),
    ("upstream_auth", "no", "two accounts", 1),
    ("upstream_auth", "no", "two targets", 1),
    # likely: the work was not done
    ("upstream_rate_limited", "no", "alone", 0),
    ("upstream_rate_limited", "no", "two accounts", 1),
    ("upstream_overloaded", "no", "alone", 0),
    ("upstream_error", "no", "alone", 0),
    ("upstream_error", "no", "two targets", 1),
    ("upstream_unreachable", "no", "alone", 0),
    ("upstream_unreachable", "no", "two accounts", 1),
    # doubtful: it may have been done, and billed
    ("upstream_unreachable", "maybe", "alone", None),
    ("upstream_unreachable", "maybe", "two accounts", None),
    ("upstream_unreachable", "maybe", "two targets", 2),
    ("upstream_timeout", "maybe", "alone", None),
    ("upstream_timeout", "maybe", "two targets", 2),
    ("upstream_truncated", "maybe", "two targets", 2),
    ("upstream_error", "maybe", "alone", None),
    ("upstream_error", "maybe", "two targets", 2),
]


@pytest.mark.parametrize(("kind", "spent", "order", "place"), AFTER)
def test_what_comes_next(kind: Kind, spent: str, order: str, place: int | None) -> None:
    problem = Problem(kind=kind, message="", spent="maybe" if spent == "maybe" else "no")
    assert after(problem, 0, ORDERS[order]) == place


def test_targets_in_order_each_with_its_accounts() -> None:
    order = ORDERS["two targets"]
    assert [(item.target.name, item.account.name) for item in order] == [
        ("x/m", "a0"),
        ("x/m", "a1"),
        ("y/m", "a0"),
    ]


BUSY = Problem(kind="upstream_overloaded", message="")


class Trial:
    """Attempts that fail as they are told, and what was waited for."""

    def __init__(self, *problems: Problem | None) -> None:
        self.problems = list(problems)
        self.tried: list[str] = []
        self.waits: list[float] = []

    async def attempt(self, candidate: Candidate) -> str:
        name = f"{candidate.target.name}:{candidate.account.name}"
        self.tried.append(name)
        problem = self.problems.pop(0)
        if problem is not None:
            raise ProblemError(problem)
        return name

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)

    async def run(self, order: str, first: Problem, jitter: float = 1.0) -> str:
        return await again(
            self.attempt, ORDERS[order], first, sleep=self.sleep, jitter=lambda: jitter
        )


async def test_the_same_again_after_a_wait_that_doubles() -> None:
    trial = Trial(BUSY, BUSY, None)
    assert await trial.run("alone", BUSY) == "x/m:a0"
    assert trial.waits == [1.0, 2.0, 4.0]


async def test_a_wait_is_any_part_of_its_most() -> None:
    trial = Trial(BUSY, None)
    await trial.run("alone", BUSY, jitter=0.25)
    assert trial.waits == [0.25, 0.5]


async def test_four_attempts_are_the_most() -> None:
    """The first one was made before."""
    last = Problem(kind="upstream_overloaded", message="the last")
    trial = Trial(BUSY, BUSY, last, None)
    with pytest.raises(ProblemError, match="the last"):
        await trial.run("alone", BUSY)
    assert len(trial.tried) == 3


async def test_another_one_is_not_waited_for() -> None:
    trial = Trial(BUSY, None)
    assert await trial.run("two targets", BUSY) == "y/m:a0"
    assert trial.tried == ["x/m:a1", "y/m:a0"]
    assert trial.waits == [0.0, 0.0]


async def test_the_last_of_the_plan_is_asked_again() -> None:
    trial = Trial(BUSY, BUSY, None)
    await trial.run("two targets", BUSY)
    assert trial.tried == ["x/m:a1", "y/m:a0", "y/m:a0"]
    assert trial.waits == [0.0, 0.0, 4.0]


@pytest.mark.parametrize("kind", ["upstream_rejected", "upstream_auth", "upstream_context"])
async def test_what_cannot_help_is_not_tried(kind: Kind) -> None:
    first = Problem(kind=kind, message="the first")
    trial = Trial()
    with pytest.raises(ProblemError, match="the first"):
        await trial.run("alone", first)
    assert (trial.tried, trial.waits) == ([], [])


async def test_a_rejection_in_between_ends_it() -> None:
    trial = Trial(Problem(kind="upstream_rejected", message="no"), None)
    with pytest.raises(ProblemError, match="no"):
        await trial.run("two targets", BUSY)
    assert trial.tried == ["x/m:a1"]


async def test_retry_after_is_honoured_up_to_20_seconds() -> None:
    def limited(seconds: float) -> Problem:
        return Problem(kind="upstream_rate_limited", message=f"{seconds}", retry_after=seconds)

    trial = Trial(limited(20), limited(21), None)
    with pytest.raises(ProblemError, match="21"):
        await trial.run("alone", limited(0.2))
    assert trial.waits == [1.0, 20]
    other = Trial(None)
    await other.run("two targets", limited(3600))
    assert other.waits == [0.0]


async def test_a_bug_is_not_tried_again() -> None:
    class Broken(Trial):
        async def attempt(self, candidate: Candidate) -> str:
            self.tried.append(candidate.target.name)
            raise KeyError

    trial = Broken()
    with pytest.raises(KeyError):
        await trial.run("alone", BUSY)
    assert len(trial.tried) == 1
