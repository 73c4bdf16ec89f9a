"""What one candidate is told of a call, in which dialect, and how its answer is heard."""

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

import msgspec

from gateway.core.errors import Problem
from gateway.core.loss import Loss
from gateway.core.target import Target
from gateway.dialects import (  # fmt: skip
    OPERATIONS,
    Dialect,
    RequestBody,
    ResponseContext,
    ResponseSummary,
    StreamInspector,
    Translation,
    WrittenBody,
    media_urls,
    tool_reasoning,
)
from gateway.dialects.openai_chat import replay
from gateway.dialects.reasoning_state import maker
from gateway.dialects.tool_reasoning import (
    LenientPassThrough,
    PassThrough,
    ReasoningNote,
    ReasoningRecorder,
)
from gateway.routing.features import tokens
from gateway.upstream.media_fetch import MediaFetcher
from gateway.upstream.retry import Candidate
from gateway.upstream.upstream_request import UpstreamRequest


class Adapter(Protocol):
    """What an attempt says and hears in: the client's dialect, or a translation from and to it."""

    @property
    def write(self) -> Callable[[RequestBody, Target], WrittenBody]:
        """The body for the target."""
        ...

    @property
    def glance(self) -> Callable[[bytes], ResponseSummary]:
        """A whole answer."""
        ...

    @property
    def watch(self) -> Callable[[RequestBody, WrittenBody], StreamInspector]:
        """The stream that answers a client's body, which the provider got as it was written."""
        ...

    @property
    def read_problem(self) -> Callable[[int, bytes, float | None], Problem]:
        """An error of the provider."""
        ...


class PreparedRequest(NamedTuple):
    """A request as a candidate is to be sent it, and who hears the answer."""

    door: Dialect
    voice: Adapter
    headers: Mapping[str, str]
    """The client's that mean something there."""
    written: WrittenBody
    tail: str
    """What is added to the provider's door."""
    ear: ReasoningRecorder | None


def say(job: UpstreamRequest, candidate: Candidate) -> PreparedRequest:
    """What one candidate is told."""
    dialect = job.dialect
    if (
        candidate.door != dialect.name
        or job.listens
        or job.own is not None
        or job.notes
        or job.bare
        or candidate.target.provider.finish == "optional"
    ):
        return _said(job, candidate)
    # As that does it, of a call that goes home as it came: nearly all do.
    body, target, call = job.body, candidate.target, job.call
    written = job.asked.begun(body, target) or dialect.write(body, target)
    tail = dialect.tail if written.tail is None else written.tail
    if call.query:
        tail = f"{tail}?{call.query}"
    return PreparedRequest(dialect, dialect, call.headers, written, tail, None)


def _said(job: UpstreamRequest, candidate: Candidate) -> PreparedRequest:
    ear = _ear(job, candidate)
    door, voice, headers = _speak(job, candidate, ear)
    written = _write(job, candidate, voice)
    return PreparedRequest(door, voice, headers, written, _tail(job, door, written), ear)


def shows(job: UpstreamRequest) -> bool:
    """Whether a call has media."""
    prompt = job.body.prompt
    return bool(prompt.images or prompt.files or prompt.audio)


async def filled(
    media: MediaFetcher, job: UpstreamRequest, candidate: Candidate
) -> UpstreamRequest:
    """A call with data in place of each URL that a candidate would not open."""
    wanted = job.asked.wanted(candidate.door, candidate.target.provider)
    if not wanted:
        return job
    missing = {url: part for url, part in wanted.items() if url not in job.fetched}
    words = {url: media_urls.name(job.asked.request, part) for url, part in missing.items()}
    job.fetched.update(await media.all(missing, words, job.fetched))
    found = {url: job.fetched[url] for url in wanted}
    if candidate.door != job.dialect.name:
        return msgspec.structs.replace(job, asked=job.asked.filled(found))
    own = None if job.own is None else media_urls.home(job.own, found)
    return msgspec.structs.replace(job, body=media_urls.home(job.body, found), own=own)


def _ear(job: UpstreamRequest, candidate: Candidate) -> ReasoningRecorder | None:
    """What notes the reasoning of an answer, where a client of this dialect would lose it."""
    target, account, door = candidate.target, candidate.account, candidate.door
    at_home = door == job.dialect.name
    if not job.listens or (at_home and not target.facts.replays_reasoning):
        return None
    who = ReasoningNote(
        maker=maker(target, door),
        provider=target.provider.name,
        model=target.model,
        account=account.name,
        calls={},
    )
    return ReasoningRecorder(who)


def less(job: UpstreamRequest, candidate: Candidate, problem: Problem) -> UpstreamRequest | None:
    """What a candidate may be asked in place of what it refused; None where that was all.

    The whole conversation in place of an answer that it does not have (any more), and no
    reasoning in place of a state that it does not take.
    """
    if _owns(job, candidate) and tool_reasoning.says(problem, *tool_reasoning.GONE):
        return msgspec.structs.replace(job, own=None)
    if tool_reasoning.refused(problem) and _reminds(job, candidate):
        return msgspec.structs.replace(job, notes={}, bare=True)
    return None


def _owns(job: UpstreamRequest, candidate: Candidate) -> bool:
    """Whether a candidate is asked to go on from an answer that it keeps."""
    has = job.seat is not None and job.seat.fits(candidate)
    return has and job.own is not None and candidate.door == job.dialect.name


def _reminds(job: UpstreamRequest, candidate: Candidate) -> bool:
    """Whether a candidate was sent a state that the gateway has put back for it."""
    made = maker(candidate.target, candidate.door)
    if job.bare or candidate.door == job.dialect.name:
        return any(one.maker == made for one in job.notes.values())
    return tool_reasoning.holds(tool_reasoning.back(job.asked.request, job.notes), made)


def _write(job: UpstreamRequest, candidate: Candidate, voice: Adapter) -> WrittenBody:
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
    begun = job.asked.begun(body, target) if voice is job.dialect else None
    written = voice.write(body, target) if begun is None else begun
    if not lost:
        return written
    losses = (*written.losses, Loss(f"{word}.reasoning", "dropped", lost))
    return msgspec.structs.replace(written, losses=losses)


def _speak(
    job: UpstreamRequest, candidate: Candidate, ear: ReasoningRecorder | None
) -> tuple[Dialect, Adapter, dict[str, str]]:
    """The dialect of an attempt, the voice for it, and the client's headers that mean something."""
    optional = candidate.target.provider.finish == "optional"
    if candidate.door == job.dialect.name:
        voice: Adapter = LenientPassThrough(job.dialect) if optional else job.dialect
        if ear is not None:
            voice = PassThrough(job.dialect, ear, finish_optional=optional)
        return job.dialect, voice, job.call.headers
    door, call = OPERATIONS[candidate.door, job.dialect.operation], job.call
    target = candidate.target
    telling = ResponseContext(
        id=call.id,
        created=int(call.received_at),
        model=target.model,
        prompt_tokens=tokens(job.body.prompt),
        label=maker(target, door.name),
    )
    own = {name: text for name, text in call.headers.items() if name.encode() in door.headers}
    request = job.asked.request
    request = tool_reasoning.bare(request) if job.bare else tool_reasoning.back(request, job.notes)
    voice = Translation(job.dialect, door, request, telling, ear, finish_optional=optional)
    return door, voice, {**door.defaults, **own}


def _tail(job: UpstreamRequest, door: Dialect, written: WrittenBody) -> str:
    """What an attempt adds to the provider's door; the client's query goes on at home alone."""
    tail = door.tail if written.tail is None else written.tail
    query = job.call.query if door.name == job.dialect.name else ""
    return f"{tail}?{query}" if query else tail
