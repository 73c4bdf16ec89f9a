"""A credential is refreshed before its end, by one caller, while the old one serves."""

import asyncio
import gc
from collections.abc import Callable

import pytest

from gateway.upstream.credentials.refreshing_credential import (
    IssuedCredential,
    RefreshingCredential,
)
from gateway.upstream.credentials.request_signer import CredentialError, CredentialStatus
from tests.upstream.credentials.clocks import SetClocks

type Answer = float | Exception | None
"""Seconds that the next credential lives, None for one without an end, or what the source raises."""


class Source:
    """A source of credentials that answers as a test says; it can be held."""

    def __init__(self, clocks: SetClocks, *answers: Answer) -> None:
        self._clocks = clocks
        self.answers = list(answers)
        self.calls = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def fetch(self) -> IssuedCredential[str]:
        self.calls += 1
        number = self.calls
        await self.gate.wait()
        answer = self.answers.pop(0) if self.answers else 3600.0
        if isinstance(answer, Exception):
            raise answer
        expires_at = None if answer is None else self._clocks.wall() + answer
        status = CredentialStatus(source="the test", expires_at=expires_at)
        return IssuedCredential(value=f"secret-{number}", status=status)


def make(
    source: Source, clocks: SetClocks, jitter: Callable[[], float] = lambda: 0.5
) -> RefreshingCredential[str]:
    return RefreshingCredential(
        source.fetch, wall=clocks.wall, jitter=jitter, clock=clocks.monotonic
    )


async def settle() -> None:
    """Let tasks run until they wait for something that does not come."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_concurrent_callers_share_one_fetch() -> None:
    clocks = SetClocks()
    source = Source(clocks)
    source.gate.clear()
    credential = make(source, clocks)
    callers = [asyncio.create_task(credential.get()) for _ in range(200)]
    await settle()
    source.gate.set()
    values = {issued.value for issued in await asyncio.gather(*callers)}
    assert (values, source.calls) == ({"secret-1"}, 1)


@pytest.mark.parametrize(("jitter", "part"), [(0.0, 0.70), (0.5, 0.75), (1.0, 0.80)])
async def test_a_refresh_begins_at_a_part_of_the_life(jitter: float, part: float) -> None:
    clocks = SetClocks()
    source = Source(clocks, 3600.0)
    credential = make(source, clocks, lambda: jitter)
    await credential.get()
    clocks.move(3600 * part - 1)
    await credential.get()
    await settle()
    assert source.calls == 1
    clocks.move(2)
    assert (await credential.get()).value == "secret-1"  # this caller does not wait
    await settle()
    assert source.calls == 2
    assert (await credential.get()).value == "secret-2"


async def test_the_old_credential_serves_while_a_refresh_hangs_and_ends_before_its_end() -> None:
    clocks = SetClocks()
    source = Source(clocks, 3600.0)
    credential = make(source, clocks)
    await credential.get()
    clocks.move(3000)
    source.gate.clear()
    values = [(await credential.get()).value for _ in range(200)]
    assert set(values) == {"secret-1"}
    clocks.move(594)  # 6 s before the end
    assert (await credential.get()).value == "secret-1"
    clocks.move(1.5)  # 4.5 s before the end: it could end on its way
    late = asyncio.create_task(credential.get())
    await settle()
    assert not late.done()
    assert source.calls == 2
    source.gate.set()
    assert (await late).value == "secret-2"


async def test_the_old_credential_serves_while_refreshes_fail_every_ten_seconds() -> None:
    clocks = SetClocks()
    source = Source(clocks, 100.0, *[CredentialError("the source is down")] * 50)
    credential = make(source, clocks)
    await credential.get()
    clocks.move(76)
    calls = []
    for _ in range(19):
        assert (await credential.get()).value == "secret-1"
        await settle()
        calls.append(source.calls)
        clocks.move(1)
    assert calls == [2] * 10 + [3] * 9
    with pytest.raises(CredentialError, match="the source is down"):
        await credential.get()  # at its end it serves no more, though the last failure is young


async def test_a_failure_is_the_answer_for_a_second() -> None:
    clocks = SetClocks()
    source = Source(clocks, CredentialError("no"), CredentialError("still no"))
    credential = make(source, clocks)
    errors = await asyncio.gather(*[credential.get() for _ in range(200)], return_exceptions=True)
    assert {str(error) for error in errors} == {"no"}
    clocks.move(0.9)
    with pytest.raises(CredentialError, match=r"^no$"):
        await credential.get()
    assert source.calls == 1
    clocks.move(0.2)
    with pytest.raises(CredentialError, match="still no"):
        await credential.get()
    clocks.move(1.1)
    assert (await credential.get()).value == "secret-3"


async def test_callers_get_exceptions_of_their_own() -> None:
    # One exception that is raised again grows by a frame each time, and keeps requests alive.
    clocks = SetClocks()
    credential = make(Source(clocks, CredentialError("no")), clocks)
    errors = await asyncio.gather(*[credential.get() for _ in range(5)], return_exceptions=True)
    assert len({id(error) for error in errors}) == 5


async def test_any_exception_of_a_source_is_a_failure_without_its_text() -> None:
    clocks = SetClocks()
    source = Source(clocks, KeyError("the-secret"), 100.0, ValueError("the-secret"))
    credential = make(source, clocks)
    with pytest.raises(CredentialError) as caught:
        await credential.get()
    assert "KeyError at test_refreshing_credential.py" in str(caught.value)
    assert "the-secret" not in str(caught.value)
    clocks.move(1.1)
    await credential.get()
    clocks.move(80)
    for _ in range(20):
        await credential.get()
        await settle()
    assert source.calls == 3  # a refresh that fails by a fault waits ten seconds too


@pytest.mark.jumping_clock
async def test_a_refresh_that_hangs_is_given_up() -> None:
    clocks = SetClocks()
    source = Source(clocks)
    source.gate.clear()
    with pytest.raises(CredentialError, match="within 30 s"):
        await make(source, clocks).get()


async def test_a_caller_that_leaves_does_not_end_the_fetch() -> None:
    clocks = SetClocks()
    source = Source(clocks)
    source.gate.clear()
    credential = make(source, clocks)
    leaving, staying = (asyncio.create_task(credential.get()) for _ in range(2))
    await settle()
    leaving.cancel()
    await settle()
    assert leaving.cancelled()
    source.gate.set()
    assert (await staying).value == "secret-1"
    assert source.calls == 1


async def test_a_failure_that_nobody_awaits_is_no_error_of_the_loop() -> None:
    clocks = SetClocks()
    source = Source(clocks, CredentialError("no"))
    source.gate.clear()
    credential = make(source, clocks)
    messages: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: messages.append(context))
    caller = asyncio.create_task(credential.get())
    await settle()
    caller.cancel()
    source.gate.set()
    await settle()
    del credential, caller
    gc.collect()
    assert messages == []


async def test_close_ends_a_refresh_and_its_callers_get_an_error() -> None:
    clocks = SetClocks()
    source = Source(clocks)
    source.gate.clear()
    credential = make(source, clocks)
    caller = asyncio.create_task(credential.get())
    await settle()
    await credential.close()
    with pytest.raises(CredentialError, match="stops"):
        await caller
    await credential.close()  # nothing runs


async def test_a_credential_without_an_end_is_fetched_once() -> None:
    clocks = SetClocks()
    source = Source(clocks, None)
    credential = make(source, clocks)
    await credential.get()
    clocks.move(1e9)
    assert (await credential.get()).value == "secret-1"


@pytest.mark.parametrize("life", [-10.0, 0.0, 5.0])
async def test_a_credential_that_has_ended_already_is_a_failure(life: float) -> None:
    clocks = SetClocks()
    source = Source(clocks, life)
    credential = make(source, clocks)
    with pytest.raises(CredentialError, match="Is the clock of this machine right"):
        await credential.get()
    with pytest.raises(CredentialError, match="Is the clock"):
        await credential.get()
    assert source.calls == 1


async def test_an_ended_credential_does_not_replace_one_that_is_valid() -> None:
    clocks = SetClocks()
    source = Source(clocks, 100.0, 1.0)
    credential = make(source, clocks)
    await credential.get()
    clocks.move(80)
    await credential.get()
    await settle()
    assert source.calls == 2
    assert (await credential.get()).value == "secret-1"


async def test_a_credential_with_less_life_is_refreshed_by_its_own_life() -> None:
    clocks = SetClocks()
    source = Source(clocks, 3600.0, 8.0)  # a source that keeps tokens may give one near its end
    credential = make(source, clocks)
    await credential.get()
    clocks.move(3000)
    await credential.get()
    await settle()
    assert (await credential.get()).value == "secret-2"
    clocks.move(2.9)
    assert (await credential.get()).value == "secret-2"
    clocks.move(0.2)  # 4.9 s before its end
    assert (await credential.get()).value == "secret-3"


async def test_a_wall_clock_that_is_set_back_lengthens_no_life() -> None:
    clocks = SetClocks()
    source = Source(clocks, 3600.0)
    credential = make(source, clocks)
    await credential.get()
    clocks.move(600)
    clocks.wall.now -= 7200
    assert (await credential.get()).value == "secret-1"
    clocks.move(2997)
    assert (await credential.get()).value == "secret-2"
    assert source.calls == 2


async def test_a_monotonic_clock_that_stood_still_lengthens_no_life() -> None:
    clocks = SetClocks()
    source = Source(clocks, 3600.0)
    credential = make(source, clocks)
    await credential.get()
    clocks.wall.now += 4000  # the machine slept
    assert (await credential.get()).value == "secret-2"


async def test_a_failure_is_forgotten_in_time_when_the_wall_clock_is_set_back() -> None:
    clocks = SetClocks()
    source = Source(clocks, CredentialError("no"))
    credential = make(source, clocks)
    with pytest.raises(CredentialError):
        await credential.get()
    clocks.wall.now -= 7200
    clocks.monotonic.now += 2
    assert (await credential.get()).value == "secret-2"


def test_a_refresh_of_a_loop_that_has_ended_is_begun_again() -> None:
    clocks = SetClocks()
    source = Source(clocks)
    source.gate.clear()
    credential = make(source, clocks)
    first = asyncio.new_event_loop()
    caller = first.create_task(credential.get())
    first.run_until_complete(settle())
    source.gate = asyncio.Event()
    source.gate.set()

    async def use_in_another_loop() -> str:
        value = (await credential.get()).value
        await credential.close()
        return value

    try:
        assert asyncio.run(use_in_another_loop()) == "secret-2"
    finally:
        caller.cancel()
        for task in asyncio.all_tasks(first):
            task.cancel()
        first.run_until_complete(settle())
        first.close()


async def test_the_secret_is_not_in_the_representation() -> None:
    clocks = SetClocks()
    issued = await make(Source(clocks), clocks).get()
    assert "the test" in repr(issued)
    assert "secret" not in repr(issued)
