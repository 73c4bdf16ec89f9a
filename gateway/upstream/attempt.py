"""One upstream request of a call, up to its commit point: an answer begun, or a Problem."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Protocol

import msgspec

from gateway.core.call import Call
from gateway.core.decision import Plan
from gateway.core.loss import Loss
from gateway.core.problem import Problem, ProblemError
from gateway.core.target import Account, Provider, Target, Timers, timers
from gateway.dialects import (
    OPERATIONS,
    Abroad,
    Asked,
    Body,
    Dialect,
    Fetched,
    Glance,
    Telling,
    Watch,
    Written,
    links,
    note,
)  # fmt: skip
from gateway.dialects.maker import maker
from gateway.dialects.note import Ear, Home, Note
from gateway.dialects.openai_chat import replay
from gateway.routing.features import tokens
from gateway.upstream.client import Answer, Client
from gateway.upstream.limit import REFUSED, delay
from gateway.upstream.media import Fetch
from gateway.upstream.quota import Book, Load, Room
from gateway.upstream.retry import LONGEST_WAIT, Candidate, Seat, again, by_room, candidates

_MOST = 64_000_000
"""Bytes of a whole answer; ten times what the longest outputs come to."""
_MOST_ERROR = 1_000_000


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What a call asks of upstream."""

    call: Call
    body: Body
    asked: Asked
    dialect: Dialect
    plan: Plan
    tier: str
    began: float
    """When the call began, on the running loop's clock, seconds."""
    dialling: Callable[[Target, Account], Awaitable[None] | None]
    """Told before each request is sent, which waits for what it returns."""
    failing: Callable[[Problem], None]
    """Told of each attempt that gave no answer."""
    own: Body | None = None
    """What is said to the provider in `seat`, which has the earlier answer that it names."""
    seat: Seat | None = None
    """Who has what the call goes on from."""
    notes: Mapping[str, Note] = {}
    """Reasoning that did not come back with the request, by the first call of its turn."""
    listens: bool = False
    """Whether reasoning of the answer is to be noted."""
    bare: bool = False
    """No reasoning state is sent: its maker did not take it."""
    fetched: dict[str, Fetched] = {}
    """Media that were fetched for the call, by URL; all its attempts share them."""


class Begun(msgspec.Struct, kw_only=True):
    """An answer that is past its commit point: whole, or a stream whose first content is here."""

    target: Target
    account: Account
    written: Written
    answer: Answer
    upstream_id: str | None
    door: str = ""
    """The dialect in which it was asked."""
    ear: Ear | None = None
    """What listened to the answer."""
    whole: bytes | None = None
    glance: Glance | None = None
    watch: Watch | None = None
    first: bytes = b""
    """What a stream may send on at once."""
    rest: AsyncIterator[bytes] | None = None


class Upstream:
    """Runs calls against providers."""

    def __init__(
        self,
        client: Client,
        *,
        ready: Callable[[Provider], Awaitable[None]],
        sleep: Callable[[float], Awaitable[None]],
        jitter: Callable[[], float],
        media: Fetch | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Without `media` nothing is fetched that a request has by URL."""
        self.quota = Book()
        """What is left of the providers' own limits."""
        self._wall = wall
        self._client = client
        self._media = media
        self._ready = ready
        self._sleep = sleep
        self._jitter = jitter

    async def run(self, job: Job) -> Begun:
        """The first answer that the plan gives. Raises ProblemError when none does."""
        order = candidates(job.plan, job.seat)
        if self.quota:
            order, room = by_room(order, lambda one: self._room(job, one), job.seat)
            if room.parked:
                await self._pause(job, order[0], room)
        try:
            return await self._attempt(job, order[0])
        except ProblemError as error:
            first = error.problem
            job.failing(first)

        async def attempt(candidate: Candidate) -> Begun:
            try:
                return await self._attempt(job, candidate)
            except ProblemError as error:
                job.failing(error.problem)
                raise

        return await again(attempt, order, first, sleep=self._sleep, jitter=self._jitter)

    def _room(self, job: Job, candidate: Candidate) -> Room:
        return self.quota.room(*_where(job, candidate), _load(job, candidate), self._wall())

    async def _pause(self, job: Job, candidate: Candidate, room: Room) -> None:
        """Wait until the first is taken again. Raises ProblemError where a call may not so long."""
        now = asyncio.get_running_loop().time()
        limits = timers(job.tier, candidate.target.provider.timeouts)
        wait = room.until - self._wall()
        if wait > min(LONGEST_WAIT, job.began + limits.total - now):
            message = "The providers of this model take no more requests for now. Try again later."
            raise ProblemError(Problem(kind="rate_limited", message=message, retry_after=wait))
        await self._sleep(wait + self._jitter())  # not all at once

    async def _attempt(self, job: Job, candidate: Candidate) -> Begun:
        """One candidate; once more without what it has refused to go on from."""
        try:
            return await self._ask(job, candidate)
        except ProblemError as error:
            less = _less(job, candidate, error.problem)
            if less is None:
                raise
            job.failing(error.problem)
        return await self._ask(less, candidate)

    async def _ask(self, job: Job, candidate: Candidate) -> Begun:
        target, account = candidate.target, candidate.account
        provider = target.provider
        limits = timers(job.tier, provider.timeouts)
        deadline = job.began + limits.total
        if asyncio.get_running_loop().time() >= deadline:
            raise ProblemError(Problem(kind="upstream_timeout", message="The call took too long."))
        if provider.command:
            await self._ready(provider)
        if self._media is not None:
            job = await _filled(self._media, job, candidate)
        ear = _ear(job, candidate)
        door, voice, headers = _speak(job, candidate, ear)
        written = _write(job, candidate, voice)
        if (recorded := job.dialling(target, account)) is not None:
            await recorded
        where = _where(job, candidate)
        ticket = self.quota.take(*where, _load(job, candidate), self._wall())

        def again(problem: Problem) -> Awaitable[None] | None:
            job.failing(problem)
            return job.dialling(target, account)

        answer = await self._client.send(
            provider,
            account,
            door,
            written.body,
            headers,
            limits,
            deadline,
            tail=_tail(job, door, written),
            again=again,
        )
        after = self.quota.note(*where, answer.fields, answer.status, self._wall(), ticket)
        try:
            begun = Begun(
                target=target,
                account=account,
                written=written,
                answer=answer,
                upstream_id=_upstream_id(answer, account),
                door=candidate.door,
                ear=ear,
            )
            if answer.status != 200:
                await _refused(answer, voice, account, limits, deadline, after)
            if job.body.prompt.stream:
                await _begin(begun, job, voice, limits, deadline)
            else:
                await _whole(begun, voice, limits, deadline)
        except BaseException as error:
            if isinstance(error, ProblemError) and _limits(error.problem):
                self.quota.refused(*where, error.problem.retry_after, self._wall())
            await answer.close()
            raise
        return begun


class Voice(Protocol):
    """What an attempt says and hears in: the client's dialect, or a translation from and to it."""

    @property
    def write(self) -> Callable[[Body, Target], Written]:
        """The body for the target."""
        ...

    @property
    def glance(self) -> Callable[[bytes], Glance]:
        """A whole answer."""
        ...

    @property
    def watch(self) -> Callable[[Body], Watch]:
        """The stream of an answer."""
        ...

    @property
    def read_problem(self) -> Callable[[int, bytes, float | None], Problem]:
        """An error of the provider."""
        ...


def _where(job: Job, candidate: Candidate) -> tuple[str, str, str]:
    """Whose limits a candidate is under: provider, account, and model; counting has its own."""
    target, operation = candidate.target, job.dialect.operation
    model = target.model if operation != "count_tokens" else f"{target.model} {operation}"
    return target.provider.name, candidate.account.name, model


def _load(job: Job, candidate: Candidate) -> Load:
    """What a call may take of a limit on tokens."""
    prompt = job.body.prompt
    return Load(tokens(prompt), prompt.max_output or candidate.target.max_output or 0)


def _limits(problem: Problem) -> bool:
    """Whether a provider has said that an account asks too much, or when to come back."""
    limited, busy = "upstream_rate_limited", "upstream_overloaded"
    told = problem.retry_after is not None
    return problem.kind == limited or (problem.kind == busy and told)


async def _filled(media: Fetch, job: Job, candidate: Candidate) -> Job:
    """A call with data in place of each URL that a candidate would not open."""
    prompt = job.body.prompt
    if not (prompt.images or prompt.files or prompt.audio):
        return job
    wanted = job.asked.wanted(candidate.door, candidate.target.provider)
    if not wanted:
        return job
    missing = {url: part for url, part in wanted.items() if url not in job.fetched}
    words = {url: links.name(job.asked.request, part) for url, part in missing.items()}
    job.fetched.update(await media.all(missing, words, job.fetched))
    found = {url: job.fetched[url] for url in wanted}
    if candidate.door != job.dialect.name:
        return msgspec.structs.replace(job, asked=job.asked.filled(found))
    own = None if job.own is None else links.home(job.own, found)
    return msgspec.structs.replace(job, body=links.home(job.body, found), own=own)


def _ear(job: Job, candidate: Candidate) -> Ear | None:
    """What notes the reasoning of an answer, where a client of this dialect would lose it."""
    target, account, door = candidate.target, candidate.account, candidate.door
    at_home = door == job.dialect.name
    if not job.listens or (at_home and not target.facts.replays_reasoning):
        return None
    who = Note(
        maker=maker(target, door),
        provider=target.provider.name,
        model=target.model,
        account=account.name,
        calls={},
    )
    return Ear(who)


def _less(job: Job, candidate: Candidate, problem: Problem) -> Job | None:
    """What a candidate may be asked in place of what it refused; None where that was all.

    The whole conversation in place of an answer that it does not have (any more), and no
    reasoning in place of a state that it does not take.
    """
    if _owns(job, candidate) and note.says(problem, *note.GONE):
        return msgspec.structs.replace(job, own=None)
    if note.refused(problem) and _reminds(job, candidate):
        return msgspec.structs.replace(job, notes={}, bare=True)
    return None


def _owns(job: Job, candidate: Candidate) -> bool:
    """Whether a candidate is asked to go on from an answer that it keeps."""
    has = job.seat is not None and job.seat.fits(candidate)
    return has and job.own is not None and candidate.door == job.dialect.name


def _reminds(job: Job, candidate: Candidate) -> bool:
    """Whether a candidate was sent a state that the gateway has put back for it."""
    made = maker(candidate.target, candidate.door)
    if job.bare or candidate.door == job.dialect.name:
        return any(one.maker == made for one in job.notes.values())
    return note.holds(note.back(job.asked.request, job.notes), made)


def _write(job: Job, candidate: Candidate, voice: Voice) -> Written:
    """The body for one candidate, with the reasoning that it made and no one else's."""
    target, body, lost, word = candidate.target, job.body, "", "messages"
    if candidate.door == job.dialect.name:
        if job.own is not None and _owns(job, candidate):
            body = job.own
        elif job.notes:
            body, model = replay.home(body, job.notes, maker(target, candidate.door))
            lost = f"reasoning of {model} is for that model alone" if model else ""
    else:
        word = job.asked.request.names.get("turns", word)
    if job.bare:
        lost = f"{target.name} does not take its own reasoning back"
    written = voice.write(body, target)
    if not lost:
        return written
    losses = (*written.losses, Loss(f"{word}.reasoning", "dropped", lost))
    return msgspec.structs.replace(written, losses=losses)


def _speak(
    job: Job, candidate: Candidate, ear: Ear | None
) -> tuple[Dialect, Voice, dict[str, str]]:
    """The dialect of an attempt, the voice for it, and the client's headers that mean something."""
    if candidate.door == job.dialect.name:
        voice = job.dialect if ear is None else Home(job.dialect, ear)
        return job.dialect, voice, job.call.headers
    door, call = OPERATIONS[candidate.door, job.dialect.operation], job.call
    target = candidate.target
    telling = Telling(
        id=call.id,
        created=int(call.received_at),
        model=target.model,
        prompt_tokens=tokens(job.body.prompt),
        label=maker(target, door.name),
    )
    own = {name: text for name, text in call.headers.items() if name.encode() in door.headers}
    request = job.asked.request
    request = note.bare(request) if job.bare else note.back(request, job.notes)
    return door, Abroad(job.dialect, door, request, telling, ear), {**door.defaults, **own}


def _tail(job: Job, door: Dialect, written: Written) -> str:
    """What an attempt adds to the provider's door; the client's query goes on at home alone."""
    tail = door.tail if written.tail is None else written.tail
    query = job.call.query if door.name == job.dialect.name else ""
    return f"{tail}?{query}" if query else tail


async def _refused(
    answer: Answer,
    voice: Voice,
    account: Account,
    limits: Timers,
    deadline: float,
    after: float | None,
) -> None:
    """Raise what a provider's error says, without the secret that it may quote."""
    body = without(account, await _collect(answer, limits, deadline, _MOST_ERROR))
    if after is None and answer.status in REFUSED:
        after = delay(body)
    raise ProblemError(voice.read_problem(answer.status, body, after))


def without(account: Account, data: bytes) -> bytes:
    """What a provider says, without the credential that it may quote."""
    secret = account.secret.encode()
    return data.replace(secret, b"***") if secret and secret in data else data


def _clean(account: Account, problem: Problem) -> ProblemError:
    """The error of a provider that answered with 200."""
    if problem.body is not None:
        problem = msgspec.structs.replace(problem, body=without(account, problem.body))
    return ProblemError(problem)


def _failed(account: Account, problem: Problem, watch: Watch) -> ProblemError:
    """A stream that has told no content, with what it used as far as it has told that."""
    return _clean(account, msgspec.structs.replace(problem, usage=watch.usage))


async def _whole(begun: Begun, voice: Voice, limits: Timers, deadline: float) -> None:
    body = await _collect(begun.answer, limits, deadline, _MOST)
    glance = voice.glance(body)
    if glance.problem is not None:
        raise _clean(begun.account, glance.problem)
    told = body if glance.body is None else glance.body
    begun.whole, begun.glance = without(begun.account, told), glance
    await begun.answer.close()


async def _collect(answer: Answer, limits: Timers, deadline: float, most: int) -> bytes:
    whole = answer.rest()
    if whole is not None and len(whole) <= most:
        return whole
    parts, size = [whole or b""], len(whole or b"")
    async for data in answer.read(limits.idle, deadline):
        parts.append(data)
        size += len(data)
        if size > most:
            break
    if size > most:
        message = f"The answer of {answer.provider} is larger than {most:,} bytes."
        raise ProblemError(Problem(kind="upstream_error", message=message, spent="maybe"))
    return b"".join(parts)


async def _begin(begun: Begun, job: Job, voice: Voice, limits: Timers, deadline: float) -> None:
    """Read a stream until its first content."""
    name = begun.target.provider.name
    kind = begun.answer.header(b"content-type") or ""
    watch = voice.watch(job.body)
    rest = begun.answer.read(limits.idle, deadline)
    limit = asyncio.get_running_loop().time() + limits.first_content
    try:
        async with asyncio.timeout_at(limit):
            async for data in rest:
                first = watch.feed(data)
                if watch.problem is not None and not watch.committed:
                    raise _failed(begun.account, watch.problem, watch)
                if watch.committed:
                    begun.watch, begun.first, begun.rest = watch, first, rest
                    return
    except TimeoutError:
        message = f"{name} gave no content in time."
        late = Problem(kind="upstream_timeout", message=message, spent="maybe")
        raise _failed(begun.account, late, watch) from None
    first = watch.end()
    if watch.problem is not None and not watch.committed:
        raise _failed(begun.account, watch.problem, watch)
    if not watch.committed:
        what = (
            "an empty stream" if kind.startswith("text/event-stream") else f"{kind or 'no'} content"
        )
        message = f"{name} sent {what} in place of an answer."
        cut = Problem(kind="upstream_truncated", message=message, spent="maybe")
        raise _failed(begun.account, cut, watch)
    begun.watch, begun.first, begun.rest = watch, first, rest


def _upstream_id(answer: Answer, account: Account) -> str | None:
    value = answer.header(b"x-request-id") or answer.header(b"request-id")
    if not value:
        return None
    return value.replace(account.secret, "***")[:200] if account.secret else value[:200]
