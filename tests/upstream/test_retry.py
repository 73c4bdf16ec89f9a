"""Test retries: which target comes next after a failure, when, and how often."""

import pytest

from gateway.core.decision import Plan
from gateway.core.errors import Problem, ProblemError, ProblemKind
from gateway.core.target import Account, ModelFacts, Provider, Target, TargetGroup
from gateway.upstream.retry import (
    Candidate,
    RetryPolicy,
    RetryState,
    build_client_problem,
    choose_next,
    list_candidates,
    retry_candidates,
)

type Row = tuple[ProblemKind, str, str, int | None]


def target(
    name: str, accounts: int = 1, window: int | None = None, *, replicas: int = 0, group: str = ""
) -> Target:
    provider, _, model = name.partition("/")
    return Target(
        provider=Provider(
            name=provider,
            urls={},
            accounts=tuple(Account(f"r{at}", "", f"http://r{at}") for at in range(replicas))
            or tuple(Account(f"a{at}", f"s{at}") for at in range(accounts)),
        ),
        model=model,
        facts=ModelFacts(context=window),
        group=TargetGroup(lab="x", tier="smart", label=group) if group else None,
    )


def order(*targets: Target) -> list[Candidate]:
    return list_candidates(Plan(targets=targets, dialects=("openai-chat",) * len(targets)))


ORDERS: dict[str, list[Candidate]] = {
    "alone": order(target("x/m")),
    "two accounts": order(target("x/m", 2)),
    "two targets": order(target("x/m", 2), target("y/m")),
    "two models": order(target("x/m"), target("x/n")),
    "a larger one last": order(target("x/m", window=8), target("y/m", window=8), target("z/m", window=9)),
    "none larger": order(target("x/m", window=8), target("y/m", window=8)),
    "windows unknown": order(target("x/m"), target("y/m")),
    "a window known": order(target("x/m"), target("y/m", window=9)),
    "one unknown": order(target("x/m", window=8), target("y/m", 2), target("z/m", window=9)),
    "replicas": order(target("x/m", replicas=3), target("y/m")),
    "a group": order(target("x/m", group="g"), target("z/m", group="g"), target("y/m")),
    "only an unknown": order(target("x/m", window=8), target("y/m"), target("z/m", window=8)),
}  # fmt: skip

AFTER: list[Row] = [
    # certain: the request itself is wrong, or the gateway failed
    ("upstream_rejected", "no", "two targets", None),
    ("invalid_request", "no", "two targets", None),
    ("ledger", "no", "two targets", None),
    # certain: the window, the model, the credential, the address, its connections
    ("upstream_context", "no", "alone", None),
    ("upstream_context", "no", "two accounts", None),
    ("upstream_context", "no", "a larger one last", 2),
    ("upstream_context", "no", "none larger", None),
    ("upstream_context", "no", "windows unknown", 1),
    ("upstream_context", "no", "one unknown", 3),
    ("upstream_context", "no", "only an unknown", 1),
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
    # likely: the provider did not do the work
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
    # doubtful: the provider may have done the work, and billed it
    ("upstream_unreachable", "maybe", "alone", None),
    ("upstream_unreachable", "maybe", "two accounts", None),
    ("upstream_unreachable", "maybe", "two targets", 2),
    ("upstream_timeout", "maybe", "alone", None),
    ("upstream_timeout", "maybe", "two targets", 2),
    ("upstream_timeout", "maybe", "two models", 1),
    ("upstream_truncated", "maybe", "two targets", 2),
    ("upstream_error", "maybe", "alone", None),
    ("upstream_error", "maybe", "two targets", 2),
    # a replica fails alone; the next one takes over before another target
    ("upstream_unreachable", "no", "replicas", 1),
    ("upstream_unreachable", "maybe", "replicas", 1),
    ("upstream_timeout", "no", "replicas", 1),
    ("upstream_timeout", "maybe", "replicas", 1),
    ("upstream_truncated", "maybe", "replicas", 1),
    ("upstream_error", "no", "replicas", 1),
    ("upstream_error", "maybe", "replicas", 1),
    ("upstream_model", "no", "replicas", 1),
    ("upstream_moved", "no", "replicas", 1),
    ("upstream_context", "no", "replicas", 3),
    ("upstream_error", "no", "a group", 1),
    ("upstream_error", "maybe", "a group", 1),
]


def failed(kind: ProblemKind, spent: str = "no", **more: object) -> Problem:
    return Problem(kind=kind, message="", spent="maybe" if spent == "maybe" else "no", **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(("kind", "spent", "order", "place"), AFTER)
def test_choose_next_returns_the_next_candidate_for_each_failure(
    kind: ProblemKind, spent: str, order: str, place: int | None
) -> None:
    assert choose_next(failed(kind, spent), RetryState(ORDERS[order])) == place


MISSING = Problem(kind="upstream_rejected", message="", body=b"Previous response not found")


def test_the_gateway_looks_for_an_earlier_answer_in_each_account_once() -> None:
    """If an account lacks the answer, its other models lack it too."""
    models = order(target("x/m", 2), target("x/n", 2), target("y/m"))
    trail = RetryState(models, seeks_response=True)
    for place in (1, 4, None):
        assert choose_next(MISSING, trail) == place
        if place is not None:
            trail.current_index = place
            trail.tried_indices.append(place)
    assert choose_next(MISSING, RetryState(models)) is None
    rejection = failed("upstream_rejected")
    assert choose_next(rejection, RetryState(models, seeks_response=True)) is None


@pytest.mark.parametrize("kind", ["upstream_truncated", "upstream_unreachable"])
def test_a_stream_that_was_cut_before_content_may_be_retried(kind: ProblemKind) -> None:
    """The client has seen nothing of it. A whole answer that was cut is not retried: it was made."""
    cut = failed(kind, "maybe")
    assert choose_next(cut, RetryState(ORDERS["alone"], stream=True)) == 0
    assert choose_next(cut, RetryState(ORDERS["two targets"], stream=True)) == 2
    assert (
        choose_next(failed("upstream_timeout", "maybe"), RetryState(ORDERS["alone"], stream=True))
        is None
    )


def test_an_attempt_that_may_be_billed_is_retried_once() -> None:
    trail = RetryState(ORDERS["a larger one last"], stream=True)
    trail.doubtful_attempts = 1
    assert choose_next(failed("upstream_timeout", "maybe"), trail) == 1
    trail.doubtful_attempts = 2
    assert choose_next(failed("upstream_timeout", "maybe"), trail) is None
    assert choose_next(failed("upstream_truncated", "maybe"), trail) is None
    assert choose_next(failed("upstream_overloaded", "maybe"), trail) == 1


def test_an_excluded_candidate_is_skipped() -> None:
    both = ORDERS["two targets"]
    trail = RetryState(both, is_excluded=lambda candidate: candidate is both[1])
    assert choose_next(BUSY, trail) == 2
    assert choose_next(BUSY, RetryState(both[:1], is_excluded=lambda _: True)) is None


@pytest.mark.parametrize(
    ("problem", "retried"),
    [
        (failed("upstream_error"), True),
        (failed("upstream_unreachable", is_permanent=True), False),
        (failed("upstream_rate_limited", retry_after=20.1), False),
    ],
    ids=["its client tries again", "a certificate", "a wait that is too long"],
)
def test_some_failures_are_not_retried_on_the_same_target(problem: Problem, retried: bool) -> None:
    """The gateway may ask another target."""
    assert choose_next(problem, RetryState(ORDERS["alone"], client_retried=retried)) is None
    assert choose_next(problem, RetryState(ORDERS["windows unknown"], client_retried=retried)) == 1


def test_candidates_are_in_order_of_target_and_account() -> None:
    order = ORDERS["two targets"]
    assert [(item.target.name, item.account.name) for item in order] == [
        ("x/m", "a0"),
        ("x/m", "a1"),
        ("y/m", "a0"),
    ]


def test_a_target_with_an_unknown_window_is_tried_last() -> None:
    """The unknown window comes last even after a larger one, later in the plan, was too small."""
    trail = RetryState(ORDERS["one unknown"])
    trail.current_index, trail.tried_indices = 3, [0, 3]
    assert choose_next(failed("upstream_context"), trail) == 1
    trail.current_index, trail.tried_indices = 1, [0, 3, 1]
    assert choose_next(failed("upstream_context"), trail) is None


RESTS = {"x/m": 4.0, "y/m": 3.0, "z/m": 0.0}


@pytest.mark.parametrize(
    ("order", "rests", "place"),
    [
        ("a larger one last", RESTS, 2),
        ("a larger one last", RESTS | {"z/m": 5.0}, 1),
        ("a larger one last", RESTS | {"y/m": 21.0, "z/m": 21.0}, 0),
        ("two accounts", RESTS, 1),
        ("alone", {"x/m": 21.0}, None),
    ],
    ids=["free", "soonest", "itself", "of two as soon the first", "too late"],
)
def test_no_target_is_retried_before_the_time_that_its_provider_names(
    order: str, rests: dict[str, float], place: int | None
) -> None:
    """Free targets come first, then the soonest to be free, as long as a call may wait for them."""
    trail = RetryState(ORDERS[order], get_cooldown=lambda candidate: rests[candidate.target.name])
    assert choose_next(BUSY, trail) == place


def test_a_target_at_another_effort_shares_the_cooldown() -> None:
    """A target at another effort shares the limits; another account has its own."""
    again = target("x/m")
    twice = order(again, again, target("y/m"))
    assert twice[0].key == twice[1].key
    trail = RetryState(
        twice, get_cooldown=lambda candidate: 4.0 if candidate.key == twice[0].key else 0.0
    )
    assert choose_next(failed("upstream_rate_limited", retry_after=4.0), trail) == 2


BUSY = Problem(kind="upstream_overloaded", message="")


class RetryTrial:
    """Attempts that fail as set; it records the waits."""

    def __init__(self, *problems: Problem | None, left: float = 99.0, grants: int = 99) -> None:
        self.problems = list(problems)
        self.tried: list[str] = []
        self.waits: list[float] = []
        self.left = left
        self.grants = grants
        self.policy = RetryPolicy(preferred_again=0)
        self.rests: dict[str, float] = {}
        self.trail = RetryState([])

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

    def may_wait(self, following: Candidate, seconds: float) -> bool:
        return seconds < self.left

    async def run(self, order: str, first: Problem, jitter: float = 1.0) -> str:
        def rest(candidate: Candidate) -> float:
            return self.rests.get(candidate.target.name, 0.0)

        self.trail = RetryState(ORDERS[order], self.policy, get_cooldown=rest)
        return await retry_candidates(
            self.attempt, self.trail, first, sleep=self.sleep, jitter=lambda: jitter,
            may_wait=self.may_wait, grant=self.grant,
        )  # fmt: skip


async def test_the_wait_before_a_retry_doubles() -> None:
    trial = RetryTrial(BUSY, None)
    assert await trial.run("alone", BUSY) == "x/m:a0"
    assert trial.waits == [1.0, 2.0]


async def test_a_wait_is_a_random_part_of_its_maximum() -> None:
    trial = RetryTrial(BUSY, None)
    await trial.run("alone", BUSY, jitter=0.25)
    assert trial.waits == [0.25, 0.5]


async def test_the_same_target_is_tried_three_times_at_most() -> None:
    """The first attempt was made before."""
    last = Problem(kind="upstream_overloaded", message="the last")
    trial = RetryTrial(BUSY, last, None)
    with pytest.raises(ProblemError, match="the last"):
        await trial.run("alone", BUSY)
    assert len(trial.tried) == 2


async def test_a_rate_limited_target_is_tried_twice_at_most() -> None:
    limited = failed("upstream_rate_limited", retry_after=0.5)
    trial = RetryTrial(limited, None)
    with pytest.raises(ProblemError):
        await trial.run("alone", limited)
    assert len(trial.tried) == 1


async def test_for_a_client_that_retries_a_target_is_tried_twice_at_most() -> None:
    """With the client's own two retries that is one request more than without the gateway."""
    trail = RetryState(ORDERS["alone"], client_retries=True)
    assert choose_next(BUSY, trail) == 0
    trail.tried_indices = [0, 0]
    assert choose_next(BUSY, trail) is None
    trail.client_retries = False
    assert choose_next(BUSY, trail) == 0


async def test_a_call_has_four_attempts_at_most() -> None:
    five = Plan(
        targets=tuple(target(f"{name}/m") for name in "abcde"), dialects=("openai-chat",) * 5
    )
    trial = RetryTrial(BUSY, BUSY, BUSY, None)
    ORDERS["five"] = list_candidates(five)
    with pytest.raises(ProblemError):
        await trial.run("five", BUSY)
    assert trial.tried == ["b/m:a0", "c/m:a0", "d/m:a0"]


async def test_another_target_is_tried_without_a_wait() -> None:
    trial = RetryTrial(BUSY, None)
    assert await trial.run("two targets", BUSY) == "y/m:a0"
    assert trial.tried == ["x/m:a1", "y/m:a0"]
    assert trial.waits == [0.0, 0.0]


async def test_the_last_target_of_the_plan_is_retried() -> None:
    trial = RetryTrial(BUSY, None)
    await trial.run("windows unknown", BUSY)
    assert trial.tried == ["y/m:a0", "y/m:a0"]
    assert trial.waits == [0.0, 2.0]


@pytest.mark.parametrize("kind", ["upstream_rejected", "upstream_auth", "upstream_context"])
async def test_a_failure_that_a_retry_cannot_help_is_not_retried(kind: ProblemKind) -> None:
    first = Problem(kind=kind, message="the first")
    trial = RetryTrial()
    with pytest.raises(ProblemError, match="the first"):
        await trial.run("alone", first)
    assert (trial.tried, trial.waits) == ([], [])


async def test_a_rejection_ends_the_retries() -> None:
    trial = RetryTrial(Problem(kind="upstream_rejected", message="no"), None)
    with pytest.raises(ProblemError, match="no"):
        await trial.run("two targets", BUSY)
    assert trial.tried == ["x/m:a1"]


async def test_retry_after_is_honoured_up_to_20_seconds() -> None:
    def limited(seconds: float) -> Problem:
        return Problem(kind="upstream_overloaded", message=f"{seconds}", retry_after=seconds)

    trial = RetryTrial(limited(21), None)
    with pytest.raises(ProblemError, match="21"):
        await trial.run("alone", limited(20))
    assert trial.waits == [21.0]
    other = RetryTrial(None)
    await other.run("two targets", limited(3600))
    assert other.waits == [0.0]


async def test_a_wait_that_does_not_fit_into_the_calls_time_ends_the_retries() -> None:
    for remaining, tried in ((1.0, 0), (1.1, 1)):
        trial = RetryTrial(None, left=remaining)
        if tried:
            await trial.run("alone", BUSY)
        else:
            with pytest.raises(ProblemError):
                await trial.run("alone", BUSY)
        assert len(trial.tried) == tried


async def test_each_retry_takes_from_the_budget() -> None:
    trial = RetryTrial(BUSY, None, grants=1)
    with pytest.raises(ProblemError):
        await trial.run("alone", BUSY)
    assert len(trial.tried) == 1


async def test_an_exception_is_not_retried() -> None:
    class Broken(RetryTrial):
        async def attempt(self, candidate: Candidate) -> str:
            self.tried.append(candidate.target.name)
            raise KeyError

    trial = Broken()
    with pytest.raises(KeyError):
        await trial.run("alone", BUSY)
    assert len(trial.tried) == 1


@pytest.mark.parametrize(
    ("problem", "expected"),
    [
        (BUSY, None),
        (failed("upstream_rate_limited"), None),
        (failed("upstream_error"), None),
        (failed("upstream_timeout"), None),
        (failed("upstream_timeout", "maybe"), None),
        (failed("upstream_unreachable", "maybe"), None),
        (failed("upstream_truncated", "maybe"), None),
        (failed("upstream_rate_limited", retryable=False), False),
        (failed("upstream_rate_limited", is_permanent=True), False),
        (failed("upstream_error", "maybe"), False),
        (failed("upstream_overloaded", "maybe"), False),
        (failed("upstream_unreachable", is_permanent=True), False),
        (failed("upstream_auth"), False),
        (failed("upstream_rejected"), False),
    ],
    ids=str,
)
@pytest.mark.parametrize("tries", [1, 3])
def test_the_answer_says_if_the_client_should_retry(
    problem: Problem, tries: int, expected: bool | None
) -> None:
    """The provider's own rule decides, however often the gateway has tried."""
    trail = RetryState(ORDERS["alone"])
    trail.tried_indices = [0] * tries
    assert build_client_problem(problem, trail, lambda: 0.0).should_retry is expected


@pytest.mark.parametrize(
    ("kind", "after", "tries", "seconds"),
    [
        ("upstream_error", None, 1, None),
        ("upstream_error", None, 2, 3.0),
        ("upstream_overloaded", None, 2, 3.0),
        ("upstream_unreachable", None, 2, 3.0),
        ("upstream_overloaded", 17.0, 2, 17.0),
        ("upstream_rate_limited", 90.0, 1, 90.0),
        ("upstream_timeout", None, 2, None),
        ("upstream_auth", None, 2, None),
    ],
)
def test_after_several_attempts_the_client_is_asked_to_wait(
    kind: ProblemKind, after: float | None, tries: int, seconds: float | None
) -> None:
    """The wait is 1 to 5 s at random, unless the provider has named a time, which is passed on."""
    problem = Problem(kind=kind, message="", retry_after=after)
    trail = RetryState(ORDERS["alone"])
    trail.tried_indices = [0] * tries
    assert build_client_problem(problem, trail, lambda: 0.5).retry_after == seconds


@pytest.mark.parametrize(("seconds", "shown"), [(0.0, 1), (0.4, 1), (2.0, 2), (2.1, 3)])
def test_the_message_names_the_seconds_of_the_header(seconds: float, shown: int) -> None:
    """A provider may name no wait at all; the header then says one second."""
    problem = failed("upstream_rate_limited", retry_after=seconds)
    trail = RetryState(ORDERS["alone"])
    message = build_client_problem(problem, trail, lambda: 0.0).message
    assert message.endswith(f"Try again in {shown} s.")


def test_a_client_whose_time_is_up_should_not_retry() -> None:
    """The gateway has used the time up. SDKs do not retry a stream that had begun either."""
    trail = RetryState(ORDERS["alone"])
    assert build_client_problem(BUSY, trail, lambda: 0.0, is_time_up=True).should_retry is False
    trail.stream = True
    assert (
        build_client_problem(failed("upstream_truncated", "maybe"), trail, lambda: 0.0).should_retry
        is False
    )


def test_retry_after_names_when_the_first_target_is_free() -> None:
    trail = RetryState(
        ORDERS["windows unknown"],
        get_cooldown=lambda candidate: {"x/m": 5.0}.get(candidate.target.name, 60),
    )
    trail.current_index, trail.tried_indices = 1, [0, 1]
    problem = failed("upstream_rate_limited", retry_after=60.0)
    assert build_client_problem(problem, trail, lambda: 0.0).retry_after == 5.0


LIMITED = failed("upstream_rate_limited", retry_after=2.0)


class Preferring(RetryTrial):
    """A call whose preferred target is asked once more before another takes over."""

    def __init__(self, *problems: Problem | None, grants: int = 99) -> None:
        super().__init__(*problems, grants=grants)
        self.policy = RetryPolicy()


@pytest.mark.parametrize(
    ("first", "waits"),
    [
        (LIMITED, [3.0]),
        (failed("upstream_overloaded", retry_after=2.0), [3.0]),
        (BUSY, [1.0]),
        (failed("upstream_error"), [1.0]),
        (failed("upstream_unreachable"), [1.0]),
        (failed("upstream_unreachable", "maybe"), [1.0]),
    ],
    ids=str,
)
async def test_a_short_failure_does_not_change_the_model(
    first: Problem, waits: list[float]
) -> None:
    trial = Preferring(None)
    assert await trial.run("windows unknown", first) == "x/m:a0"
    assert trial.waits == waits


@pytest.mark.parametrize(
    "first",
    [
        failed("upstream_rate_limited", retry_after=3.1),
        failed("upstream_rate_limited"),
        failed("upstream_overloaded", retry_after=3.1),
        failed("upstream_error", "maybe"),
        failed("upstream_overloaded", "maybe"),
        failed("upstream_rate_limited", retry_after=1.0, is_permanent=True),
        failed("upstream_timeout", "maybe"),
        failed("upstream_truncated", "maybe"),
        failed("upstream_auth"),
        failed("upstream_unreachable", is_permanent=True),
    ],
    ids=str,
)
async def test_a_longer_failure_changes_the_model_at_once(first: Problem) -> None:
    trial = Preferring(None)
    assert await trial.run("windows unknown", first) == "y/m:a0"
    assert trial.waits == [0.0]


async def test_another_target_takes_over_after_a_second_failure() -> None:
    """Broken connections count too, though the provider may bill each attempt."""
    for kind in ("upstream_error", "upstream_unreachable"):
        broken = failed(kind, "maybe" if kind == "upstream_unreachable" else "no")
        trial = Preferring(broken, None)
        assert await trial.run("windows unknown", broken) == "y/m:a0"
        assert trial.tried == ["x/m:a0", "y/m:a0"]
        assert trial.waits == [1.0, 0.0]


async def test_the_waits_for_the_preferred_target_are_bounded_together() -> None:
    trial = Preferring(LIMITED, None)
    trial.policy = RetryPolicy(preferred_again=2)
    assert await trial.run("windows unknown", LIMITED) == "y/m:a0"
    assert trial.tried == ["x/m:a0", "y/m:a0"]


async def test_another_account_of_the_preferred_target_is_tried_first() -> None:
    trial = Preferring(BUSY, None)
    assert await trial.run("two targets", BUSY) == "y/m:a0"
    assert trial.tried == ["x/m:a1", "y/m:a0"]


@pytest.mark.parametrize(
    ("order", "tried"),
    [("replicas", ["x/m:r1", "x/m:r2", "y/m:a0"]), ("a group", ["z/m:a0", "y/m:a0"])],
)
async def test_equals_take_over_before_another_target(order: str, tried: list[str]) -> None:
    """None of them is asked twice: its equals are as good."""
    trial = Preferring(*[BUSY] * (len(tried) - 1), None)
    assert await trial.run(order, BUSY) == tried[-1]
    assert trial.tried == tried
    assert trial.waits == [0.0] * len(tried)


async def test_without_a_retry_in_the_budget_another_target_takes_over_at_once() -> None:
    class Poor(Preferring):
        def grant(self, failed: Candidate, following: Candidate) -> bool:
            return failed.target.name != following.target.name

    trial = Poor(None)
    assert await trial.run("windows unknown", BUSY) == "y/m:a0"
    assert trial.waits == [0.0]


async def test_a_call_that_the_client_retries_gets_no_preferred_retry() -> None:
    trail = RetryState(ORDERS["windows unknown"], client_retried=True)
    assert trail.find_preferred_retry(BUSY) is None
    assert RetryState(ORDERS["windows unknown"]).find_preferred_retry(BUSY) == 0


async def test_the_gateway_waits_for_a_parked_target_if_no_other_is_free() -> None:
    trial = RetryTrial(None)
    trial.rests = {"x/m": 9.0, "y/m": 2.0}
    limited = failed("upstream_rate_limited", retry_after=9.0)
    assert await trial.run("windows unknown", limited) == "y/m:a0"
    assert trial.waits == [3.0]
