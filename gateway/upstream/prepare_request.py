"""Prepare a call for one candidate: its dialect, its body, and the reader of its answer."""

from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

from gateway.core.errors import Problem
from gateway.core.loss import Loss
from gateway.core.target import Target
from gateway.dialects import (  # fmt: skip
    TARGET_OPERATIONS,
    RequestBody,
    ResponseContext,
    ResponseSummary,
    StreamInspector,
    TargetDialect,
    Translation,
    WrittenBody,
    media_urls,
    tool_reasoning,
)
from gateway.dialects.anthropic_messages import vertex
from gateway.dialects.openai_chat.reasoning_state import restore_native_reasoning
from gateway.dialects.reasoning_state import hash_maker
from gateway.dialects.tool_reasoning import (
    LenientPassThrough,
    PassThrough,
    ReasoningNote,
    ReasoningRecorder,
)
from gateway.dialects.translation import get_translation
from gateway.routing.features import estimate_tokens
from gateway.upstream.media_fetch import MediaFetcher
from gateway.upstream.retry import Candidate
from gateway.upstream.upstream_request import UpstreamRequest

_NONE_DROPPED: Mapping[str, None] = {}
"""The dropped parts of a native answer: none."""


class Adapter(Protocol):
    """The writer and reader of an attempt: the client's dialect, or a translation."""

    @property
    def write(self) -> Callable[[RequestBody, Target], WrittenBody]:
        """The function that writes the body for the target."""
        ...

    @property
    def summarize(self) -> Callable[[bytes], ResponseSummary]:
        """The function that reads a whole answer."""
        ...

    @property
    def inspect_stream(self) -> Callable[[RequestBody, WrittenBody], StreamInspector]:
        """The function that reads a stream, given the client's body and the body as written."""
        ...

    @property
    def read_problem(self) -> Callable[[int, bytes, float | None], Problem]:
        """The function that reads an error of the provider."""
        ...


class PreparedRequest(msgspec.Struct, frozen=True):
    """A request as the gateway sends it to a candidate, with the reader of its answer."""

    target_dialect: TargetDialect
    adapter: Adapter
    headers: Mapping[str, str]
    """The client's headers that mean something to the provider, with the dialect's own."""
    written_body: WrittenBody
    url_suffix: str
    """The path and query that are added to the provider's URL."""
    recorder: ReasoningRecorder | None
    dropped_names: Mapping[str, None]
    """The provider's names of answer parts that the client does not get, so far."""


def prepare(request: UpstreamRequest, candidate: Candidate) -> PreparedRequest:
    """Prepare the request for one candidate."""
    dialect = request.dialect
    if (
        candidate.dialect_name != dialect.name
        or request.records_reasoning
        or request.pinned_body is not None
        or request.reasoning_notes
        or request.omits_reasoning
        or candidate.target.provider.finish == "optional"
        or candidate.target.provider.variant is not None
    ):
        return _prepare_adapted(request, candidate)
    # The same as `_prepare_adapted`, for a native call without changes: nearly all are.
    body, target, call = request.body, candidate.target, request.call
    written_body = dialect.write(body, target)
    tail = dialect.url_suffix if written_body.url_suffix is None else written_body.url_suffix
    if call.query:
        tail = f"{tail}?{call.query}"
    return PreparedRequest(dialect, dialect, call.headers, written_body, tail, None, _NONE_DROPPED)


def _prepare_adapted(request: UpstreamRequest, candidate: Candidate) -> PreparedRequest:
    recorder = _build_recorder(request, candidate)
    target_dialect, adapter, headers = _choose_adapter(request, candidate, recorder)
    written_body = _write_body(request, candidate, adapter)
    if candidate.target.provider.variant is not None and target_dialect.name == vertex.DIALECT:
        written_body = vertex.rewrite(
            written_body, headers, target_dialect.operation, stream=request.body.prompt.stream
        )
    return PreparedRequest(
        target_dialect,
        adapter,
        headers,
        written_body,
        _build_tail(request, candidate, target_dialect, written_body),
        recorder,
        adapter.dropped_names if isinstance(adapter, Translation) else _NONE_DROPPED,
    )


def has_media(request: UpstreamRequest) -> bool:
    """Return True if a call has media."""
    prompt = request.body.prompt
    return bool(prompt.images or prompt.files or prompt.audio)


async def fill_media(
    fetcher: MediaFetcher, request: UpstreamRequest, candidate: Candidate
) -> UpstreamRequest:
    """Return a call with data in place of each URL that a candidate would not open.

    Raises ProblemError if a file cannot be fetched.
    """
    media_by_url = request.translatable.find_media_to_fetch(
        candidate.dialect_name, candidate.target.provider
    )
    if not media_by_url:
        return request
    missing_media = {
        url: media for url, media in media_by_url.items() if url not in request.fetched_media
    }
    part_names = {
        url: media_urls.format_name(request.translatable.request, media)
        for url, media in missing_media.items()
    }
    request.fetched_media.update(
        await fetcher.fetch_all(missing_media, part_names, request.fetched_media)
    )
    fetched_media = {url: request.fetched_media[url] for url in media_by_url}
    if candidate.dialect_name != request.dialect.name:
        return msgspec.structs.replace(
            request, translatable=request.translatable.fill_media(fetched_media)
        )
    pinned_body = (
        None
        if request.pinned_body is None
        else media_urls.fill_native_body(request.pinned_body, fetched_media)
    )
    return msgspec.structs.replace(
        request,
        body=media_urls.fill_native_body(request.body, fetched_media),
        pinned_body=pinned_body,
    )


def _build_recorder(request: UpstreamRequest, candidate: Candidate) -> ReasoningRecorder | None:
    """Return a recorder of the answer's reasoning, if a client of this dialect would lose it."""
    target, account, dialect_name = candidate.target, candidate.account, candidate.dialect_name
    is_native = dialect_name == request.dialect.name
    if not request.records_reasoning or (is_native and not target.facts.replays_reasoning):
        return None
    note = ReasoningNote(
        maker=hash_maker(target, dialect_name),
        provider=target.provider.name,
        model=target.model,
        account=account.name,
        calls={},
    )
    return ReasoningRecorder(note)


def reduce_request(
    request: UpstreamRequest, candidate: Candidate, problem: Problem
) -> UpstreamRequest | None:
    """Return a request in place of the one that a candidate refused, or None if there is none.

    If the candidate lacks the earlier answer, the request has the whole conversation instead. If
    the candidate does not take a state, the request has no reasoning.
    """
    if _has_stored_response(request, candidate) and tool_reasoning.is_response_missing(problem):
        return msgspec.structs.replace(request, pinned_body=None)
    if tool_reasoning.is_state_refused(problem) and _has_restored_state(request, candidate):
        return msgspec.structs.replace(request, reasoning_notes={}, omits_reasoning=True)
    return None


def _has_stored_response(request: UpstreamRequest, candidate: Candidate) -> bool:
    """Return True if a candidate is asked to go on from an answer that it keeps."""
    is_pinned = request.pinned_account is not None and request.pinned_account.matches(candidate)
    return (
        is_pinned
        and request.pinned_body is not None
        and candidate.dialect_name == request.dialect.name
    )


def _has_restored_state(request: UpstreamRequest, candidate: Candidate) -> bool:
    """Return True if a candidate was sent a state that the gateway has put back for it."""
    maker_name = hash_maker(candidate.target, candidate.dialect_name)
    if request.omits_reasoning or candidate.dialect_name == request.dialect.name:
        return any(note.maker == maker_name for note in request.reasoning_notes.values())
    return tool_reasoning.holds_state_of(
        tool_reasoning.restore_reasoning(request.translatable.request, request.reasoning_notes),
        maker_name,
    )


def _write_body(request: UpstreamRequest, candidate: Candidate, adapter: Adapter) -> WrittenBody:
    """Write the body for one candidate, with the reasoning that it made and nobody else's."""
    target, body, loss_reason, part_name = candidate.target, request.body, "", "messages"
    if candidate.dialect_name == request.dialect.name:
        if request.pinned_body is not None and _has_stored_response(request, candidate):
            body = request.pinned_body
        elif request.reasoning_notes:
            body, model = restore_native_reasoning(
                body, request.reasoning_notes, hash_maker(target, candidate.dialect_name)
            )
            loss_reason = f"reasoning of {model} is for that model alone" if model else ""
    else:
        part_name = request.translatable.request.names.get("turns", part_name)
    if request.omits_reasoning:
        loss_reason = f"{target.name} does not take its own reasoning back"
    written_body = adapter.write(body, target)
    if not loss_reason:
        return written_body
    losses = (*written_body.losses, Loss(f"{part_name}.reasoning", "dropped", loss_reason))
    return msgspec.structs.replace(written_body, losses=losses)


def _choose_adapter(
    request: UpstreamRequest, candidate: Candidate, recorder: ReasoningRecorder | None
) -> tuple[TargetDialect, Adapter, dict[str, str]]:
    """Return the dialect of an attempt, its adapter, and the headers to send.

    A translated call sends no beta header: the gateway could not read an answer with a beta.
    """
    is_finish_optional = candidate.target.provider.finish == "optional"
    if candidate.dialect_name == request.dialect.name:
        adapter: Adapter = (
            LenientPassThrough(request.dialect) if is_finish_optional else request.dialect
        )
        if recorder is not None:
            adapter = PassThrough(request.dialect, recorder, finish_optional=is_finish_optional)
        return request.dialect, adapter, request.call.headers
    target_dialect = TARGET_OPERATIONS[candidate.dialect_name, request.dialect.operation]
    call = request.call
    target = candidate.target
    context = ResponseContext(
        id=call.id,
        created_at=int(call.received_at),
        model=target.model,
        prompt_tokens=estimate_tokens(request.body.prompt),
        state_label=hash_maker(target, target_dialect.name),
    )
    beta_header = get_translation(request.dialect).beta_header.name
    forwarded_headers = {
        name: text
        for name, text in call.headers.items()
        if name.encode() in target_dialect.forwarded_headers and name != beta_header
    }
    canonical = request.translatable.request
    canonical = (
        tool_reasoning.remove_reasoning(canonical)
        if request.omits_reasoning
        else tool_reasoning.restore_reasoning(canonical, request.reasoning_notes)
    )
    adapter = Translation(
        request.dialect,
        target_dialect,
        canonical,
        context,
        recorder,
        finish_optional=is_finish_optional,
    )
    return target_dialect, adapter, {**target_dialect.default_headers, **forwarded_headers}


def _build_tail(
    request: UpstreamRequest,
    candidate: Candidate,
    target_dialect: TargetDialect,
    written_body: WrittenBody,
) -> str:
    """Return the path and query to add to the provider's URL.

    Only a native call keeps the client's query, where the provider has the dialect as it is.
    """
    tail = target_dialect.url_suffix if written_body.url_suffix is None else written_body.url_suffix
    is_same_form = (
        target_dialect.name == request.dialect.name and candidate.target.provider.variant is None
    )
    query = request.call.query if is_same_form else ""
    return f"{tail}?{query}" if query else tail
