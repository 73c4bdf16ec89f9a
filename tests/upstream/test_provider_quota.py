"""Test the tracker of providers' limits, and the order of candidates that follows from it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.decision import Plan
from gateway.upstream import provider_quota
from gateway.upstream.provider_quota import (
    FREE_HEADROOM,
    MAX_TRUST_SECONDS,
    Headroom,
    QuotaTracker,
    TokenEstimate,
    UsageSnapshot,
)
from gateway.upstream.rate_limit_headers import Fields
from gateway.upstream.retry import (
    Candidate,
    PinnedAccount,
    list_candidates,
    pin_candidates,
    sort_by_headroom,
)
from tests.upstream.test_rate_limit_headers import HEAD, Head, head
from tests.upstream.test_retry import target

NOW = 1_795_500_000.0
WHO = ("x", "main", "m")


def requests(remaining: int, reset: str = "60s", most: int | None = None) -> Head:
    lines = [f"x-ratelimit-remaining-requests: {remaining}", f"x-ratelimit-reset-requests: {reset}"]
    if most is not None:
        lines.append(f"x-ratelimit-limit-requests: {most}")
    return head("\n".join(lines))


def tokens(remaining: int, reset: str = "60s", most: int | None = None) -> Head:
    return [(name.replace(b"requests", b"tokens"), value) for name, value in requests(remaining, reset, most)]  # fmt: skip


class Shop:
    """A quota tracker and its clock."""

    def __init__(self) -> None:
        self.book = QuotaTracker()
        self.now = NOW

    def note(
        self, headers: Fields, status: int = 200, ticket: UsageSnapshot = None
    ) -> float | None:
        return self.book.record_response(WHO, headers, status, self.now, ticket)

    def take(self, prompt: int = 0, cap: int = 0) -> UsageSnapshot:
        return self.book.record_request(WHO, TokenEstimate(prompt, cap), self.now)

    def room(self, prompt: int = 0, cap: int = 0) -> Headroom:
        return self.book.get_headroom(WHO, TokenEstimate(prompt, cap), self.now)

    def wait(self, prompt: int = 0, cap: int = 0) -> float:
        """Return the seconds until there is room."""
        headroom = self.room(prompt, cap)
        return 0.0 if headroom.is_free else headroom.available_at - self.now


@pytest.fixture
def shop() -> Shop:
    return Shop()


def test_an_unknown_account_has_headroom(shop: Shop) -> None:
    assert shop.room(10**9) == FREE_HEADROOM
    assert shop.take(10**9) is None
    assert not shop.book.reported_keys


def test_an_exhausted_limit_has_no_headroom_until_its_reset(shop: Shop) -> None:
    shop.note(requests(0, "1m0s", most=5000))
    assert shop.room() == Headroom(NOW + 60)
    shop.now += 59.9
    assert shop.wait() == pytest.approx(0.1)
    shop.now += 0.1
    assert shop.room() == FREE_HEADROOM


@pytest.mark.parametrize(("remaining", "read"), [(2500, False), (2499, True)])
def test_with_much_headroom_the_tracker_skips_answers_for_20_ms(
    shop: Shop, remaining: int, read: bool
) -> None:
    """A busy gateway hears the same figures a hundred times; it counts its own requests itself."""
    shop.note(requests(remaining, most=5000))
    shop.now += 0.019
    shop.note(requests(0, most=5000))
    assert (shop.wait() > 0) == read
    shop.now += 0.001
    shop.note(requests(0, most=5000))
    assert shop.wait() > 0


def test_a_clock_set_back_does_not_make_the_tracker_skip_longer(shop: Shop) -> None:
    shop.note(requests(5000, most=5000))
    shop.now -= 60
    shop.note(requests(0, most=5000))
    assert shop.wait() > 0


def test_the_tracker_reads_a_refusal_at_once(shop: Shop) -> None:
    """After the refusal the tracker reads the next answer."""
    shop.note(requests(5000, most=5000))
    assert shop.note(head("retry-after: 7"), status=429) == 7
    shop.book.record_refusal(WHO, None, shop.now)
    shop.note(requests(0, most=5000))
    assert shop.wait() > 1


def test_a_quota_counts_for_one_account_and_model(shop: Shop) -> None:
    shop.note(requests(0))
    for who in (("x", "main", "n"), ("x", "spare", "m"), ("y", "main", "m")):
        assert shop.book.get_headroom(who, TokenEstimate(), NOW) == FREE_HEADROOM


def test_sent_requests_reduce_the_headroom_until_an_answer_reports_more(shop: Shop) -> None:
    shop.note(requests(2))
    shop.take()
    assert shop.wait() == 0
    shop.take()
    assert shop.wait() == 60
    shop.now += 10
    shop.note(requests(2))
    assert shop.wait() == 0


def test_an_answer_does_not_count_requests_sent_after_its_own(shop: Shop) -> None:
    """Three calls leave at once; the provider wrote the first answer when only that call had come."""
    shop.note(requests(9))
    first_ticket, second_ticket, third_ticket = (shop.take() for _ in range(3))
    shop.now += 0.5
    shop.note(requests(2), ticket=first_ticket)
    assert shop.wait() == 60
    shop.note(requests(2), ticket=third_ticket)
    assert shop.wait() == 0
    shop.note(requests(9), ticket=second_ticket)
    assert shop.book.list_states(shop.now)[0].levels[0].remaining == 2
    shop.note(requests(0), ticket=second_ticket)
    assert shop.wait() == 60


def test_requests_sent_during_a_long_answer_are_counted_once(shop: Shop) -> None:
    """While a whole answer was written the gateway sent many more, which its head counts already."""
    shop.note(requests(9))
    first = shop.take()
    for _ in range(5):
        shop.take()
    shop.now += 30
    shop.note(requests(2), ticket=first)
    assert shop.wait() == 0


def test_the_limit_with_the_least_headroom_counts(shop: Shop) -> None:
    shop.note([*requests(5, "10s"), *tokens(100, "30s")])
    assert shop.wait(100) == 0
    assert shop.wait(101) == 30
    shop.note([*requests(0, "50s"), *tokens(100, "30s")])
    assert shop.wait(101) == 50


@pytest.mark.parametrize(
    ("text", "cap"),
    [
        ("x-ratelimit-remaining-tokens: 100", True),
        ("anthropic-ratelimit-tokens-remaining: 100", False),
        ("anthropic-ratelimit-input-tokens-remaining: 100", False),
        ("x-ratelimit-remaining-tokens-minute: 100", False),
        ("x-ratelimit-remaining-tokens-prompt: 100", False),
        ("x-tokenlimit-remaining: 100", False),
    ],
)
def test_only_openai_counts_the_output_cap_as_tokens(shop: Shop, text: str, cap: bool) -> None:
    shop.note(head(text))
    assert shop.room(100).is_free
    assert not shop.room(101).is_free
    assert shop.room(50, 51).is_free is not cap
    shop.take(30, 40)
    assert shop.room(31).is_free is not cap
    assert not shop.room(71).is_free


@pytest.mark.parametrize("remaining", [0, 1])
def test_output_tokens_run_out_only_at_zero(shop: Shop, remaining: int) -> None:
    """Anthropic counts the tokens written: a call may begin while anything is left."""
    shop.note(head(f"anthropic-ratelimit-output-tokens-remaining: {remaining}"))
    shop.take(10, 10**6)
    assert shop.room(10, 10**6).is_free is bool(remaining)


def test_a_refilling_limit_has_headroom_once_enough_tokens_are_back(shop: Shop) -> None:
    """600 of 1,000 tokens are missing and return within 60 s: 100 more are there in 10."""
    shop.note(tokens(400, "60s", most=1000))
    assert shop.wait(500) == pytest.approx(10)
    shop.take(50)
    assert shop.wait(500) == pytest.approx(15)
    shop.now += 15.01
    assert shop.wait(500) == 0
    assert shop.wait(1000) == pytest.approx(44.99)


def test_a_limit_per_minute_refills_all_at_once(shop: Shop) -> None:
    limits = [(b"x-ratelimit-remaining-tokens-minute", b"400"), (b"x-ratelimit-limit-tokens-minute", b"1000")]  # fmt: skip
    shop.note([*limits, (b"x-ratelimit-reset-tokens-minute", b"30")])
    assert shop.wait(500) == 30
    shop.note(limits)
    assert shop.wait(500) == 60


def test_a_limit_without_a_reset_time_refills_after_its_period(shop: Shop) -> None:
    shop.note(tokens(400, "soon", most=1000))
    assert shop.wait(500) == 60


def test_a_call_that_never_fits_waits_for_a_whole_limit_at_most(shop: Shop) -> None:
    shop.note(tokens(1000, "60s", most=1000))
    assert shop.wait(10**6) == 0


@pytest.mark.parametrize("reset", ["33011.38", "1d", "9999-12-31T23:59:59Z", "1e300"])
def test_the_tracker_trusts_a_report_for_ten_minutes_at_most(shop: Shop, reset: str) -> None:
    shop.note(requests(0, reset))
    assert shop.wait() == MAX_TRUST_SECONDS
    shop.book.record_refusal(WHO, 86_400.0, NOW)
    assert shop.room() == Headroom(NOW + MAX_TRUST_SECONDS, is_parked=True)


def test_a_reset_time_follows_the_providers_clock(shop: Shop) -> None:
    """The provider's clock is two minutes ahead of ours."""
    text = """
        date: Tue, 24 Nov 2026 06:02:00 GMT
        anthropic-ratelimit-requests-remaining: 0
        anthropic-ratelimit-requests-reset: 2026-11-24T06:02:30Z
        """
    shop.note(head(text))
    assert shop.wait() == 30


def test_a_refusal_parks_the_account(shop: Shop) -> None:
    assert shop.note([(b"retry-after", b"30")], 429) == 30
    shop.book.record_refusal(WHO, 30.0, NOW)
    assert shop.room() == Headroom(NOW + 30, is_parked=True)
    shop.now += 30
    assert shop.room() == FREE_HEADROOM


def test_a_refusal_without_a_time_pauses_the_account_briefly(shop: Shop) -> None:
    assert shop.note([], 429) is None
    shop.book.record_refusal(WHO, None, NOW)
    assert shop.room() == Headroom(NOW + 1)


def test_retry_after_in_a_success_is_ignored(shop: Shop) -> None:
    assert shop.note([(b"retry-after", b"30")], 200) is None
    assert not shop.book.reported_keys


def test_an_account_over_its_limit_goes_last_for_a_while(shop: Shop) -> None:
    shop.note([(b"x-ratelimit-over-limit", b"yes")])
    assert shop.room() == Headroom(NOW + 10)
    shop.now += 10
    assert shop.room() == FREE_HEADROOM


def test_a_clock_set_back_makes_no_wait_longer(shop: Shop) -> None:
    shop.note([*requests(0), (b"x-ratelimit-over-limit", b"yes")])
    shop.book.record_refusal(WHO, 30.0, NOW)
    shop.now -= 86_400
    assert shop.room() == FREE_HEADROOM


def test_the_trackers_memory_is_bounded(shop: Shop) -> None:
    """The tracker drops the entry that was reported longest ago."""
    for at in (
        *range(provider_quota._MAX_ENTRIES),
        0,
        *range(provider_quota._MAX_ENTRIES, provider_quota._MAX_ENTRIES + 5),
    ):
        shop.book.record_response(("x", f"a{at}", "m"), requests(0), 200, NOW)
    assert len(shop.book._entries) == provider_quota._MAX_ENTRIES
    free = [
        at
        for at in range(8)
        if shop.book.get_headroom(("x", f"a{at}", "m"), TokenEstimate(), NOW).is_free
    ]
    assert free == [1, 2, 3, 4, 5]


def test_the_tracker_drops_stale_entries(shop: Shop) -> None:
    shop.note(requests(0))
    shop.now += MAX_TRUST_SECONDS + 1
    ticket = shop.take()
    assert shop.book.list_states(shop.now) == []
    for account in ("b", "c"):
        shop.book.record_response(("x", account, "m"), requests(5), 200, shop.now)
    assert [account for _, account, _ in shop.book._entries] == ["b", "c"]
    shop.note(requests(1), ticket=ticket)
    shop.take()
    assert not shop.room().is_free


def test_list_states_shows_the_quota_of_an_account(shop: Shop) -> None:
    shop.note([*requests(2, most=5), *tokens(0), (b"x-ratelimit-over-limit", b"yes")])
    for _ in range(3):
        shop.take(7)
    shop.book.record_refusal(WHO, 30.0, NOW)
    shop.now += 4
    assert shop.book.list_states(shop.now) == [
        provider_quota.QuotaState(
            provider="x", account="main", model="m", parked_seconds=26.0, demoted_seconds=6.0,
            levels=(provider_quota.QuotaLevel(name="requests", remaining=0, limit=5), provider_quota.QuotaLevel(name="tokens", remaining=0, limit=None)),
        )
    ]  # fmt: skip


LOADS = st.builds(TokenEstimate, st.integers(0, 10**7), st.integers(0, 10**7))


@given(heads=st.lists(st.tuples(HEAD, st.floats(0, 1000), LOADS), max_size=6))
def test_any_headers_give_a_bounded_wait(
    heads: list[tuple[Head, float, TokenEstimate]],
) -> None:
    """Junk never raises, and no wait is longer than the tracker trusts a report."""
    book, now = QuotaTracker(), NOW
    for headers, later, load in heads:
        ticket = book.record_request(WHO, load, now)
        now += later
        book.record_response(WHO, headers, 200, now, ticket)
        room = book.get_headroom(WHO, load, now)
        assert room.is_free or now < room.available_at <= now + MAX_TRUST_SECONDS
        assert book.get_headroom(WHO, load, now + MAX_TRUST_SECONDS) == FREE_HEADROOM
        assert all(level.remaining >= 0 for one in book.list_states(now) for level in one.levels)


PLAN = Plan(targets=(target("x/m", 2), target("y/m")), dialects=("openai-chat",) * 2)


def names(order: list[Candidate]) -> list[str]:
    return [f"{candidate.target.provider.name} {candidate.account.name}" for candidate in order]


SHORT, SOON, LATE = (
    Headroom(NOW + 9),
    Headroom(NOW + 5, is_parked=True),
    Headroom(NOW + 50, is_parked=True),
)


@pytest.mark.parametrize(
    ("rooms", "seat", "order", "first_headroom"),
    [
        ({}, None, ["x a0", "x a1", "y a0"], FREE_HEADROOM),
        ({"x a0": SHORT}, None, ["x a1", "y a0", "x a0"], FREE_HEADROOM),
        ({"x a0": SHORT, "x a1": SHORT}, None, ["y a0", "x a0", "x a1"], FREE_HEADROOM),
        ({"x a0": LATE, "x a1": SHORT}, None, ["y a0", "x a1", "x a0"], FREE_HEADROOM),
        # None has room: the plan's order.
        ({"x a0": SHORT, "x a1": SHORT, "y a0": SHORT}, None, ["x a0", "x a1", "y a0"], SHORT),
        ({"x a0": LATE, "x a1": SOON, "y a0": SHORT}, None, ["y a0", "x a1", "x a0"], SHORT),
        # All are parked: the first to be free.
        ({"x a0": LATE, "x a1": SOON, "y a0": LATE}, None, ["x a1", "x a0", "y a0"], SOON),
        # A pinned account stays first in a shortage, but not while it is parked.
        ({"x a1": SHORT}, PinnedAccount("x", "a1"), ["x a1", "x a0", "y a0"], SHORT),
        ({"x a1": SHORT, "x a0": SHORT}, PinnedAccount("x", "a1"), ["x a1", "y a0", "x a0"], SHORT),
        ({"x a1": SOON}, PinnedAccount("x", "a1"), ["x a0", "y a0", "x a1"], FREE_HEADROOM),
    ],
)
def test_candidates_without_headroom_go_last(
    rooms: dict[str, Headroom],
    seat: PinnedAccount | None,
    order: list[str],
    first_headroom: Headroom,
) -> None:
    """The order drops no candidate, and keeps the plan's order among equals."""

    def room(candidate: Candidate) -> Headroom:
        return rooms.get(names([candidate])[0], FREE_HEADROOM)

    candidates, headroom = sort_by_headroom(pin_candidates(list_candidates(PLAN), seat), room, seat)
    assert (names(candidates), headroom) == (order, first_headroom)
