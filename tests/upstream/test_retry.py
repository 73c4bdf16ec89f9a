"""What is tried after a failure, when, and how often."""

import pytest

from gateway.core.decision import Plan
from gateway.core.facts import Facts
from gateway.core.problem import Kind, Problem, ProblemError
from gateway.core.target import Account, Provider, Target
from gateway.upstream.retry import Candidate, Trail, after, again, candidates, told

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
    "two models": order(target("x/m"), target("x/n")),
    "a larger one last": order(target("x/m", window=8), target("y/m", window=8), target("z/m", window=9)),
    "none larger": order(target("x/m", window=8), target("y/m", window=8)),
    "windows unknown": order(target("x/m"), target("y/m")),
    "a window known": order(target("x/m"), target("y/m", window=9)),
}  # fmt: skip

AFTER: list[Row] = [
    # certain: the request itself, or the gateway
    ("upstream_rejected", "no", "two targets", None),
    ("invalid_request", "no", "two targets", None),
    ("ledger", "no", "two targets", None),
    # certain: the window, the model, the credential, the address, its connections
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
    ("upstream_moved", "no", "alone", None),
    ("upstream_moved", "no", "two targets", 2),
    ("overloaded", "no", "alone", None),
    ("overloaded", "no", "two targets", 2),
    # likely: the work was not done
    ("upstream_rate_limited", "no", "alone", 0),
    ("upstream_rate_limited", "no", "two accounts", 1),
    ("upstream_rate_limited", "maybe", "alone", 0),
    ("upstream_overloaded", "no", "alone", 0),
    ("upstream_overloaded", "maybe", "alone", 0),
    ("upstream_error", "no", "alone", 0),
    ("upstream_error", "no", "two targets", 1),
    ("upstream_unreachable", "no", "alone", 0),
    ("upstream_unreachable", "no", "two accounts", 1),
    ("upstream_unreachable", "no", "two targets", 2),
    ("upstream_timeout", "no", "alone", None),
    ("upstream_timeout", "no", "two targets", 2),
    # doubtful: it may have been done, and billed
    ("upstream_unreachable", "maybe", "alone", None),
    ("upstream_unreachable", "maybe", "two accounts", None),
    ("upstream_unreachable", "maybe", "two targets", 2),
    ("upstream_timeout", "maybe", "alone", None),
    ("upstream_timeout", "maybe", "two targets", 2),
    ("upstream_timeout", "maybe", "two models", 1),
    ("upstream_truncated", "maybe", "two targets", 2),
    ("upstream_error", "maybe", "alone", None),
    ("upstream_error", "maybe", "two targets", 2),
]


def failed(kind: Kind, spent: str = "no", **more: object) -> Problem:
    return Problem(kind=kind, message="", spent="maybe" if spent == "maybe" else "no", **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(("kind", "spent", "order", "place"), AFTER)
def test_what_comes_next(kind: Kind, spent: str, order: str, place: int | None) -> None:
    assert after(failed(kind, spent), Trail(ORDERS[order])) == place


@pytest.mark.parametrize("kind", ["upstream_truncated", "upstream_unreachable"])
def test_a_stream_that_was_cut_before_content_may_be_asked_again(kind: Kind) -> None:
    """Nobody has seen anything of it; a whole answer that was cut was made, and is not."""
    cut = failed(kind, "maybe")
    assert after(cut, Trail(ORDERS["alone"], stream=True)) == 0
    assert after(cut, Trail(ORDERS["two targets"], stream=True)) == 2
    assert after(failed("upstream_timeout", "maybe"), Trail(ORDERS["alone"], stream=True)) is None


def test_what_may_be_billed_is_taken_over_once() -> None:
    trail = Trail(ORDERS["a larger one last"], stream=True)
    trail.doubts = 1
    assert after(failed("upstream_timeout", "maybe"), trail) == 1
    trail.doubts = 2
    assert after(failed("upstream_timeout", "maybe"), trail) is None
    assert after(failed("upstream_truncated", "maybe"), trail) is None
    assert after(failed("upstream_overloaded", "maybe"), trail) == 1


def test_who_must_not_be_asked_is_passed_over() -> None:
    both = ORDERS["two targets"]
    trail = Trail(both, out=lambda one: one is both[1])
    assert after(BUSY, trail) == 2
    assert after(BUSY, Trail(both[:1], out=lambda _: True)) is None


@pytest.mark.parametrize(
    ("problem", "retried"),
    [
        (failed("upstream_error"), True),
        (failed("upstream_unreachable", lasting=True), False),
        (failed("upstream_rate_limited", retry_after=20.1), False),
    ],
    ids=["its client tries again", "a certificate", "a wait that is too long"],
)
def test_the_same_is_not_asked_again(problem: Problem, retried: bool) -> None:
    """But another is."""
    assert after(problem, Trail(ORDERS["alone"], retried=retried)) is None
    assert after(problem, Trail(ORDERS["windows unknown"], retried=retried)) == 1


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

    def __init__(self, *problems: Problem | None, left: float = 99.0, grants: int = 99) -> None:
        self.problems = list(problems)
        self.tried: list[str] = []
        self.waits: list[float] = []
        self.left = left
        self.grants = grants
        self.trail = Trail([])

    async def attempt(self, candidate: Candidate) -> str:
        name = f"{candidate.target.name}:{candidate.account.name}"
        self.tried.append(name)
        problem = self.problems.pop(0)
        if problem is not None:
            raise ProblemError(problem)
        return name

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)

    def grant(self, failed: Candidate, following: Candidate) -> bool:
        self.grants -= 1
        return self.grants >= 0

    async def run(self, order: str, first: Problem, jitter: float = 1.0) -> str:
        self.trail = Trail(ORDERS[order])
        return await again(
            self.attempt, self.trail, first, sleep=self.sleep, jitter=lambda: jitter,
            left=lambda: self.left, grant=self.grant,
        )  # fmt: skip


async def test_the_same_again_after_a_wait_that_doubles() -> None:
    trial = Trial(BUSY, None)
    assert await trial.run("alone", BUSY) == "x/m:a0"
    assert trial.waits == [1.0, 2.0]


async def test_a_wait_is_any_part_of_its_most() -> None:
    trial = Trial(BUSY, None)
    await trial.run("alone", BUSY, jitter=0.25)
    assert trial.waits == [0.25, 0.5]


async def test_the_same_is_asked_three_times_at_most() -> None:
    """The first one was made before."""
    last = Problem(kind="upstream_overloaded", message="the last")
    trial = Trial(BUSY, last, None)
    with pytest.raises(ProblemError, match="the last"):
        await trial.run("alone", BUSY)
    assert len(trial.tried) == 2


async def test_who_limits_the_rate_is_asked_twice_at_most() -> None:
    limited = failed("upstream_rate_limited", retry_after=0.5)
    trial = Trial(limited, None)
    with pytest.raises(ProblemError):
        await trial.run("alone", limited)
    assert len(trial.tried) == 1


async def test_four_attempts_are_the_most() -> None:
    five = Plan(targets=tuple(target(f"{name}/m") for name in "abcde"), doors=("openai-chat",) * 5)
    trial = Trial(BUSY, BUSY, BUSY, None)
    ORDERS["five"] = candidates(five)
    with pytest.raises(ProblemError):
        await trial.run("five", BUSY)
    assert trial.tried == ["b/m:a0", "c/m:a0", "d/m:a0"]


async def test_another_one_is_not_waited_for() -> None:
    trial = Trial(BUSY, None)
    assert await trial.run("two targets", BUSY) == "y/m:a0"
    assert trial.tried == ["x/m:a1", "y/m:a0"]
    assert trial.waits == [0.0, 0.0]


async def test_the_last_of_the_plan_is_asked_again() -> None:
    trial = Trial(BUSY, None)
    await trial.run("windows unknown", BUSY)
    assert trial.tried == ["y/m:a0", "y/m:a0"]
    assert trial.waits == [0.0, 2.0]


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
        return Problem(kind="upstream_overloaded", message=f"{seconds}", retry_after=seconds)

    trial = Trial(limited(21), None)
    with pytest.raises(ProblemError, match="21"):
        await trial.run("alone", limited(20))
    assert trial.waits == [20]
    other = Trial(None)
    await other.run("two targets", limited(3600))
    assert other.waits == [0.0]


async def test_what_does_not_fit_in_the_time_of_the_call_is_not_waited_for() -> None:
    for left, tried in ((1.0, 0), (1.1, 1)):
        trial = Trial(None, left=left)
        if tried:
            await trial.run("alone", BUSY)
        else:
            with pytest.raises(ProblemError):
                await trial.run("alone", BUSY)
        assert len(trial.tried) == tried


async def test_each_further_request_is_asked_for() -> None:
    trial = Trial(BUSY, None, grants=1)
    with pytest.raises(ProblemError):
        await trial.run("alone", BUSY)
    assert (len(trial.tried), trial.trail.denied) == (1, True)


async def test_a_bug_is_not_tried_again() -> None:
    class Broken(Trial):
        async def attempt(self, candidate: Candidate) -> str:
            self.tried.append(candidate.target.name)
            raise KeyError

    trial = Broken()
    with pytest.raises(KeyError):
        await trial.run("alone", BUSY)
    assert len(trial.tried) == 1


TOLD: list[tuple[str, Problem, int, bool, bool, bool | None]] = [
    ("tried once, for nothing", BUSY, 1, False, True, None),
    ("never reached in time", failed("upstream_timeout"), 1, False, True, None),
    ("the retries are used up", BUSY, 1, False, False, False),
    ("one was denied", BUSY, 1, True, True, False),
    ("tried twice", BUSY, 2, False, True, False),
    ("it may have been billed", failed("upstream_truncated", "maybe"), 1, False, True, False),
    ("a certificate", failed("upstream_unreachable", lasting=True), 1, False, True, False),
    ("the credential", failed("upstream_auth"), 1, False, True, False),
    ("the request", failed("upstream_rejected"), 1, False, True, False),
]


@pytest.mark.parametrize(
    ("problem", "tries", "denied", "allowed", "said"),
    [row[1:] for row in TOLD],
    ids=[row[0] for row in TOLD],
)
def test_whether_the_client_may_come_back(
    problem: Problem, tries: int, denied: bool, allowed: bool, said: bool | None
) -> None:
    """One layer tries again: where the gateway has, or must not, its client does not."""
    trail = Trail(ORDERS["alone"])
    trail.tried, trail.denied = [0] * tries, denied
    assert told(problem, trail, lambda: allowed, lambda: 0.0).should_retry is said


@pytest.mark.parametrize(
    ("kind", "after", "seconds"),
    [
        ("upstream_error", None, 3.0),
        ("upstream_overloaded", None, 3.0),
        ("upstream_unreachable", None, 3.0),
        ("upstream_overloaded", 17.0, 17.0),
        ("upstream_timeout", None, None),
        ("upstream_auth", None, None),
    ],
)
def test_who_asks_anew_after_a_bad_minute_waits_a_little(
    kind: Kind, after: float | None, seconds: float | None
) -> None:
    """1 to 5 s at random, where the provider has not said when; it says nothing of what lasts."""
    problem = Problem(kind=kind, message="", retry_after=after, spent="maybe")
    said = told(problem, Trail([]), lambda: True, lambda: 0.5)
    assert (said.retry_after, said.should_retry) == (seconds, False)
