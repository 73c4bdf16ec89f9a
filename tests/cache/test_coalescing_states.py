"""Whatever clients and a provider do, in any order, equal calls share one answer: a state machine.

Clients join and leave, fast and slow. The provider begins its answer, sends chunks, ends it, or breaks
it off. At each step each client has the chunks from the first one on, in order. One that stays to the
end has all of them, or the error. No key has two upstream calls that may be joined.
"""

import asyncio
import itertools
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field

import hypothesis.strategies as st
import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from gateway.cache.coalescing import Flight, Flights, Subscriber
from gateway.core.errors import Problem, ProblemError

_MAX_BYTES = 150
"""Bytes of an answer that the gateway keeps; a client that is further behind gets an error."""
_KEYS = st.sampled_from(["a", "a", "a", "b"])
_FORMS = st.sampled_from(["whole", "stream"])
_BROKEN = ProblemError(Problem(kind="upstream_error", message="the provider broke off"))


@dataclass(eq=False)
class _Upstream:
    """The provider's side of a flight."""

    flight: Flight[str]
    pieces: asyncio.Queue[bytes | ProblemError | None] = field(default_factory=asyncio.Queue)
    sent: list[bytes] = field(default_factory=list)
    beginning: asyncio.Future[str] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )
    """The head of the answer, for the first call."""
    has_begun: bool = False
    has_ended: bool = False
    """True if the provider has sent its last byte, or broken off."""
    reads: int = 0
    """Tasks that read the source now."""
    is_closed: bool = False

    async def read(self) -> AsyncGenerator[bytes]:
        try:
            while True:
                self.reads += 1
                assert self.reads == 1, "two clients read one source"
                try:
                    piece = await self.pieces.get()
                finally:
                    self.reads -= 1
                if isinstance(piece, ProblemError):
                    raise piece
                if piece is None:
                    return
                yield piece
        finally:
            self.is_closed = True


@dataclass(eq=False)
class _Client:
    """A client of a flight, and what it has got."""

    subscriber: Subscriber[str]
    upstream: _Upstream
    may_read: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    """The number of chunks that the client takes until it waits."""
    got: list[bytes] = field(default_factory=list)
    error: BaseException | None = None
    is_over: bool = False
    has_left: bool = False
    task: asyncio.Task[None] | None = None

    async def run(self, flights: Flights[str]) -> None:
        """Make the upstream call or wait for it, and read the answer, as the coalescer does."""
        flight = self.subscriber.flight
        try:
            if self.subscriber.is_first:
                await self.make_call(flight, flights)
            else:
                await flight.wait_for_start()
            async for chunk in self.subscriber.read_frames():
                if not self.has_left:
                    await self.may_read.acquire()
                self.got.append(chunk)
            self.is_over = True
        except ProblemError as error:
            self.error = error
        finally:
            await self.subscriber.close()

    async def make_call(self, flight: Flight[str], flights: Flights[str]) -> None:
        upstream = self.upstream

        async def close() -> None:
            upstream.is_closed = True

        try:
            answer = await upstream.beginning
        except BaseException as error:
            upstream.has_ended = True
            flights.drop(flight)
            flight.fail(error)
            raise
        upstream.has_begun = True
        flight.begin(answer, upstream.read(), lambda: flights.drop(flight), close)


class FlightStates(RuleBasedStateMachine):
    """See the module."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.flights = Flights[str](_MAX_BYTES)
        self.upstreams: list[_Upstream] = []
        self.clients: list[_Client] = []
        self.numbers = itertools.count()
        self.errors: list[BaseException] = []

    def run(self, act: Callable[[], object]) -> None:
        """Do something in the loop, and let all that follows from it happen."""

        async def run() -> None:
            act()
            for _ in range(20):
                await asyncio.sleep(0)

        self.runner.run(run())

    def note_end(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.errors.append(error)

    def add_client(self, subscriber: Subscriber[str], upstream: _Upstream) -> None:
        client = _Client(subscriber, upstream)
        client.task = asyncio.create_task(client.run(self.flights))
        client.task.add_done_callback(self.note_end)
        self.clients.append(client)

    # what clients do

    @rule(key=_KEYS, form=_FORMS)
    def call(self, key: str, form: str) -> None:
        """Join a flight, or start one, as the coalescer does."""

        def act() -> None:
            subscriber = self.flights.join(key, form)
            if subscriber is not None:
                assert form in ("whole", subscriber.flight.form)
                upstream = next(it for it in self.upstreams if it.flight is subscriber.flight)
                self.add_client(subscriber, upstream)
                return
            subscriber = self.flights.start(key, form)
            self.upstreams.append(_Upstream(subscriber.flight))
            self.add_client(subscriber, self.upstreams[-1])

        self.run(act)

    def list_active(self) -> list[_Client]:
        return [client for client in self.clients if client.task and not client.task.done()]

    @precondition(lambda self: self.list_active())
    @rule(choice=st.integers(0, 9), chunks=st.integers(1, 4))
    def take(self, choice: int, chunks: int) -> None:
        """Let a client read some chunks."""
        active = self.list_active()
        client = active[choice % len(active)]

        def act() -> None:
            for _ in range(chunks):
                client.may_read.release()

        self.run(act)

    @precondition(lambda self: any(not client.has_left for client in self.list_active()))
    @rule(choice=st.integers(0, 9))
    def leave(self, choice: int) -> None:
        """Let a client leave: its task may go on to read for others."""
        active = [client for client in self.list_active() if not client.has_left]
        client = active[choice % len(active)]
        client.has_left = True
        task = client.task
        assert task is not None

        def act() -> None:
            client.may_read.release()
            client.subscriber.abandon(task.cancel)

        self.run(act)

    # what the provider does

    def let_all_read(self) -> None:
        for client in self.clients:
            client.may_read.release()

    def list_running(self) -> list[_Upstream]:
        return [it for it in self.upstreams if not it.has_ended and not it.flight.is_over]

    @precondition(lambda self: any(not it.has_begun for it in self.list_running()))
    @rule(choice=st.integers(0, 9), fails=st.sampled_from([False, False, False, True]))
    def begin(self, choice: int, *, fails: bool) -> None:
        """Begin an answer, or refuse the call."""
        pending = [it for it in self.list_running() if not it.has_begun]
        upstream = pending[choice % len(pending)]

        def act() -> None:
            if fails:
                upstream.beginning.set_exception(_BROKEN)
            else:
                upstream.beginning.set_result("answer")

        self.run(act)

    @precondition(lambda self: any(it.has_begun for it in self.list_running()))
    @rule(choice=st.integers(0, 9), size=st.integers(1, 50))
    def send(self, choice: int, size: int) -> None:
        upstream = self.choose_begun(choice)
        chunk = b"%d-" % next(self.numbers) + b"x" * size
        upstream.sent.append(chunk)
        self.run(lambda: upstream.pieces.put_nowait(chunk))

    @precondition(lambda self: any(it.has_begun for it in self.list_running()))
    @rule(choice=st.integers(0, 9), breaks_off=st.booleans())
    def end(self, choice: int, *, breaks_off: bool) -> None:
        upstream = self.choose_begun(choice)
        upstream.has_ended = True
        self.run(lambda: upstream.pieces.put_nowait(_BROKEN if breaks_off else None))

    def choose_begun(self, choice: int) -> _Upstream:
        begun = [it for it in self.list_running() if it.has_begun]
        return begun[choice % len(begun)]

    # what must hold

    @invariant()
    def each_client_has_the_chunks_in_order(self) -> None:
        assert not self.errors
        for client in self.clients:
            sent = client.upstream.sent
            assert client.got == sent[: len(client.got)]
            if client.is_over:
                assert client.got == sent, "an answer was cut and called whole"
                assert client.upstream.has_ended

    @invariant()
    def an_error_reaches_all_or_nobody(self) -> None:
        """A client gets an error where the provider broke off, or if it reads too slowly."""
        for client in self.clients:
            if client.error is _BROKEN:
                assert client.upstream.has_ended
            elif client.error is not None:
                is_long = sum(map(len, client.upstream.sent)) > _MAX_BYTES
                assert is_long or client.has_left, "a client got an error, as another one left"

    @invariant()
    def one_upstream_call_may_be_joined(self) -> None:
        joinable = [
            (it.flight.key, it.flight.form)
            for it in self.upstreams
            if it.flight.is_open and not it.flight.is_over and it.flight.subscribers
        ]
        for key, form in joinable:
            assert joinable.count((key, form)) == 1, "two equal calls at a time"

    @invariant()
    def nobody_starves(self) -> None:
        """A client that may read gets what the provider has sent, while it or another waits for it."""
        for client in self.list_active():
            if client.upstream.has_begun and not client.has_left and client.may_read._value:
                assert client.got == client.upstream.sent, "a chunk reaches nobody"

    def teardown(self) -> None:
        try:
            for upstream in self.list_running():
                if not upstream.has_begun:
                    self.run(lambda: upstream.beginning.set_exception(_BROKEN))  # noqa: B023 - run at once
                else:
                    upstream.has_ended = True
                    self.run(lambda: upstream.pieces.put_nowait(None))  # noqa: B023 - run at once
            for _ in range(100):
                self.run(self.let_all_read)
            self.run(int)
            assert not self.list_active(), "a client waits for ever"
            self.each_client_has_the_chunks_in_order()
            assert all(it.is_closed for it in self.upstreams if it.has_begun), "a source stays open"
        finally:
            self.runner.close()


_SETTINGS = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_no_order_of_clients_and_chunks_gives_a_client_another_answer() -> None:
    run_state_machine_as_test(FlightStates, settings=_SETTINGS)


def _begin_late(patch: pytest.MonkeyPatch) -> None:
    """A client that joins gets the answer from the chunk that comes next."""
    join = Flight.join

    def join_late(self: Flight[str]) -> Subscriber[str]:
        subscriber = join(self)
        subscriber.position = self.chunk_count
        return subscriber

    patch.setattr(Flight, "join", join_late)


def _end_with_the_first(patch: pytest.MonkeyPatch) -> None:
    """The flight ends when the client leaves that reads for the others."""

    def abandon(self: Subscriber[str], cancel: Callable[[], object]) -> None:
        self.flight.subscribers.clear()
        cancel()

    patch.setattr(Subscriber, "abandon", abandon)


def _wake_nobody(patch: pytest.MonkeyPatch) -> None:
    """Clients that wait for a chunk are not woken."""
    patch.setattr(Flight, "_signal_change", lambda _: None)


@pytest.mark.parametrize("plant", [_begin_late, _end_with_the_first, _wake_nobody])
def test_the_machine_notices_a_planted_bug(
    plant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        run_state_machine_as_test(
            FlightStates,
            settings=settings(
                _SETTINGS, max_examples=200, derandomize=True, phases=(Phase.generate,)
            ),
        )
