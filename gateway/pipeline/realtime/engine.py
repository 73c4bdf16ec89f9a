"""Serve one session: decide, reserve, connect to a provider, relay until the end.

In OpenAI's form the address names the model: the gateway connects to the provider first, and
refuses a session with an ordinary response. In Google's form the first message names it: the
gateway accepts the client first, and refuses with the close frame that Google's SDK reads.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol
from urllib.parse import urlencode

import httpx
import msgspec
from websockets.frames import Opcode

from gateway.core import jsonio
from gateway.core.call import Call
from gateway.core.clocks import Clocks
from gateway.core.errors import DRAINING, Problem, ProblemError, invalid_request
from gateway.core.target import Catalogue, Provider, Target
from gateway.dialects import GEMINI, OPENAI_RESPONSES, Dialect, TranslatableRequest
from gateway.dialects.realtime import gemini
from gateway.dialects.realtime.base import SessionForm
from gateway.dialects.realtime.gemini import GeminiMessageReader
from gateway.dialects.realtime.openai import OpenAIMessageReader
from gateway.limits.limiter import Limiter
from gateway.pipeline.accounting import CallRecorder
from gateway.pipeline.context import ContextLoader
from gateway.pipeline.passthrough.objects import ObjectGuard
from gateway.pipeline.realtime.accounting import (
    AccountingServices,
    MessageAssembler,
    SessionAccounting,
    SessionHooks,
    SessionPlan,
)
from gateway.pipeline.realtime.named_objects import SessionObjectGuard
from gateway.pipeline.realtime.session import (
    FAILED,
    GOING_AWAY,
    NORMAL,
    POLICY,
    RESTART,
    TRY_LATER,
    RelaySession,
    SessionBounds,
    SessionEnd,
    SessionEndedError,
)
from gateway.routing import unlisted_models
from gateway.routing.decision_record import DecisionRecorder
from gateway.routing.features import Features
from gateway.routing.router import Router
from gateway.telemetry.log import Log, locate_error
from gateway.upstream.client import ProviderClient, build_failure
from gateway.upstream.credential_masking import mask_problem
from gateway.upstream.retry import Candidate, list_candidates
from gateway.upstream.websocket_connect import (
    ProviderSocket,
    RefusedUpgradeError,
    connect_websocket,
)
from gateway.upstream.websocket_peer import PeerClosedError, WebSocketPeer

_MAX_ATTEMPTS = 3
"""Providers and accounts that the gateway tries for a session."""
_NEXT_KINDS = frozenset(
    {
        "overloaded", "upstream_auth", "upstream_error", "upstream_moved", "upstream_overloaded",
        "upstream_rate_limited", "upstream_timeout", "upstream_unreachable", "upstream_model",
    }
)  # fmt: skip
"""Kinds of failures after which the gateway tries the next target."""
_FIRST_MESSAGE_SECONDS = 10.0
"""Seconds in which a client of Google's form must send its first message."""
_MAX_RETRY_AFTER_CHARS = 9
_INVALID_ARGUMENT = 1007
"""The close code with which Google's API refuses a setup."""
_NO_MODEL_MESSAGE = "A session needs the name of a model, such as gpt-realtime; no tier serves one."
_OPERATIONS: Mapping[SessionForm, str] = {"openai": "realtime", "gemini": "live"}
"""The name of the endpoint in rows."""
_LIVE_SERVICE = "google.ai.generativelanguage.{version}.GenerativeService.BidiGenerateContent"
"""The last segment of a path in Google's form."""
_MODELLESS_TRANSCRIBER = "gpt-4o-transcribe"
"""The model of a transcription session whose address names none: its first message does."""


class ClientSocket(Protocol):
    """The client's connection, whose handshake is not answered yet."""

    def accept(self, subprotocol: str | None) -> WebSocketPeer:
        """Answer the handshake, and return the client's side of the session."""
        ...

    def set_session(self, session: RelaySession, call: Call) -> None:
        """Let the session end by itself when the client leaves or the gateway stops."""
        ...


class SessionRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A client's request for a session."""

    call: Call
    """The call as the handshake tells it, without a body."""
    form: SessionForm
    model: str = ""
    """The model in the address; empty if the first message names it."""
    intent: str = ""
    """`transcription`, in OpenAI's form; else empty."""
    version: str = "v1beta"
    """The version in the path, in Google's form."""
    subprotocols: tuple[str, ...] = ()
    """The client's subprotocols, without credentials."""
    headers: Mapping[str, str] = {}
    """The client's headers that go to the provider."""


class RealtimeEngine:
    """Serves sessions under one configuration."""

    def __init__(  # noqa: PLR0913 - its parts
        self,
        bounds: SessionBounds,
        *,
        router: Router,
        context_loader: ContextLoader,
        recorder: CallRecorder,
        limiter: Limiter | None,
        objects: ObjectGuard,
        client: ProviderClient,
        wait_until_ready: Callable[[Provider], Awaitable[None]],
        flush_rows: Callable[[], bool],
        log: Log,
        clocks: Clocks,
    ) -> None:
        self._router = router
        self._context_loader = context_loader
        self._client = client
        self._wait_until_ready = wait_until_ready
        self._bounds = bounds
        self._log = log
        self._services = AccountingServices(
            recorder=recorder,
            limiter=limiter,
            objects=objects,
            flush_rows=flush_rows,
            clocks=clocks,
            config_version=router.catalogue.version,
            find_transcriber=self._find_transcriber,
        )

    @property
    def max_message(self) -> int:
        """The most bytes of one message."""
        return self._bounds.max_message

    async def serve(
        self,
        request: SessionRequest,
        socket: ClientSocket,
        hooks: SessionHooks,
    ) -> None:
        """Serve a session to its end. Raises ProblemError if it is refused before the handshake."""
        if request.form == "gemini":
            await self._serve_gemini(request, socket, hooks)
            return
        accounting, provider = await self._connect(request, hooks)
        client: WebSocketPeer | None = None
        end = _FAILED_END
        try:
            client = socket.accept(provider.subprotocol)
            end = await self._relay(request, socket, client, provider, accounting, hooks)
        finally:
            await _close(client, provider, accounting, end, request.form)

    async def _serve_gemini(
        self,
        request: SessionRequest,
        socket: ClientSocket,
        hooks: SessionHooks,
    ) -> None:
        client = socket.accept(None)
        try:
            opcode, first = await _read_first_message(client)
            hooks.check_body(first)
            model = gemini.read_setup_model(first)
            if not model:
                raise invalid_request("the first message must be a setup with a model")
            request = msgspec.structs.replace(request, model=model)
            accounting, provider = await self._connect(request, hooks)
        except ProblemError as error:
            client.close(*_describe_refusal(error.problem))
            return
        except asyncio.CancelledError:
            client.close(RESTART, DRAINING.message)
            raise
        end = _FAILED_END
        try:
            await accounting.check_message(first)
            target_model = accounting.target_model
            if target_model != model:
                first = gemini.replace_setup_model(first, target_model)
            await provider.peer.send(opcode, first)
            end = await self._relay(request, socket, client, provider, accounting, hooks)
        except ProblemError as error:
            code, reason = _describe_refusal(error.problem)
            end = SessionEnd(ended_by="limit", code=code, reason=reason, problem=error.problem)
        except PeerClosedError:
            end = SessionEnd(ended_by="upstream", code=FAILED, reason="the provider closed at once")
        finally:
            await _close(client, provider, accounting, end, request.form)

    async def _relay(
        self,
        request: SessionRequest,
        socket: ClientSocket,
        client: WebSocketPeer,
        provider: ProviderSocket,
        accounting: SessionAccounting,
        hooks: SessionHooks,
    ) -> SessionEnd:
        session = RelaySession(
            client, provider.peer, accounting, self._bounds, is_draining=hooks.is_draining
        )
        socket.set_session(session, request.call)
        memory = provider.peer.memory = hooks.make_memory()
        try:
            return await session.run()
        except Exception as error:  # noqa: BLE001 - a bug ends one session
            self._log("bug", call=request.call.id, error=locate_error(error))
            return _BUG_END
        finally:
            memory.release()
            provider.peer.memory = None

    # the way to a provider

    async def _connect(
        self, request: SessionRequest, hooks: SessionHooks
    ) -> tuple[SessionAccounting, ProviderSocket]:
        """Decide, reserve and connect. Raises ProblemError; every session leaves a row."""
        try:
            session_plan = await self._decide(request)
        except ProblemError as error:
            self._record_refusal(request, error.problem)
            raise
        reader = GeminiMessageReader() if request.form == "gemini" else OpenAIMessageReader()
        objects = SessionObjectGuard(self._services.objects, request.form, hooks.check_body)
        accounting = SessionAccounting(self._services, session_plan, reader, objects, hooks)
        plan = await accounting.reserve_first()
        problem: Problem | None = None
        try:
            for candidate in list_candidates(plan)[:_MAX_ATTEMPTS]:
                attempt = await accounting.start_attempt(candidate)
                try:
                    return accounting, await self._open(request, candidate)
                except ProblemError as error:
                    problem = error.problem
                    accounting.fail_attempt(attempt, problem)
                    if problem.kind not in _NEXT_KINDS:
                        break
        except ProblemError as error:
            problem = error.problem
        except BaseException:
            accounting.close(SessionEnd(ended_by="client", code=GOING_AWAY))
            raise
        if problem is None:
            problem = Problem(kind="no_target", message="No target may serve this session.")
        accounting.fail(problem, problem.http_status)
        raise ProblemError(problem)

    async def _decide(self, request: SessionRequest) -> SessionPlan:
        """Return the decision and the targets that serve sessions. Raises ProblemError."""
        if not request.model and not request.intent:
            raise invalid_request(_NO_MODEL_MESSAGE, "model")
        dialect, call = _write_probe(request)
        body = dialect.read_call(call)
        translatable = TranslatableRequest(dialect, body, self._router.fetched_media, call.headers)
        features = Features(
            body.prompt, call.dialect, call.key, call.options, translatable, call.hints
        )
        context = await self._context_loader.load(self._router, call, features, may_ask=False)
        recorder = DecisionRecorder(self._router, features, dialect, context)
        decision, plan = recorder.decide()
        if decision.model is None:
            raise invalid_request(_NO_MODEL_MESSAGE, "model")
        indices = [
            index
            for index, target in enumerate(plan.targets)
            if request.form in target.provider.realtime
        ]
        if not indices:
            name = "Live" if request.form == "gemini" else "Realtime"
            message = (
                f"No provider of the model {body.prompt.model[:100]!r} serves {name} sessions."
            )
            raise ProblemError(Problem(kind="no_target", message=message, param="model"))
        plan = msgspec.structs.replace(
            plan,
            targets=tuple(plan.targets[index] for index in indices),
            dialects=tuple(plan.dialects[index] for index in indices),
            labs=tuple(plan.labs[index] for index in indices) if plan.labs else (),
        )
        template = msgspec.structs.replace(call, body=b"")
        return SessionPlan(template, recorder, decision, plan, _OPERATIONS[request.form])

    def _record_refusal(self, request: SessionRequest, problem: Problem) -> None:
        """Write the row of a session that no target may serve."""
        services = self._services
        account = services.recorder.open(request.call, services.config_version)
        account.operation = _OPERATIONS[request.form]
        account.requested_model, account.stream = request.model, True
        account.settle("refused", problem.http_status, problem=problem.kind)

    async def _find_transcriber(self, target: Target, model: str) -> Target:
        """Return the target of a transcribing model at the session's provider."""
        if not model or model == target.model:
            return target
        return await asyncio.to_thread(_find_target, self._router.catalogue, target, model)

    async def _open(self, request: SessionRequest, candidate: Candidate) -> ProviderSocket:
        """Connect to a candidate. Raises ProblemError."""
        target, account = candidate.target, candidate.account
        provider = target.provider
        timers, secret = provider.timers["fast"], account.secret
        try:
            await self._wait_until_ready(provider)
            route = await self._client.prepare_upgrade(
                provider, account, _write_address(request, target), request.headers
            )
            secret = route.secret
            return await connect_websocket(
                route,
                list(request.subprotocols),
                max_message=self._bounds.max_message,
                timeout_seconds=timers.connect + timers.headers,
            )
        except RefusedUpgradeError as error:
            dialect = GEMINI if request.form == "gemini" else OPENAI_RESPONSES
            problem = dialect.read_problem(
                error.status, error.body, _parse_seconds(error.retry_after)
            )
            # No handshake is billed.
            problem = msgspec.structs.replace(
                mask_problem(secret, problem), upstream_status=error.status, spent="no"
            )
            raise ProblemError(problem) from None
        except (TimeoutError, httpx.HTTPError) as error:
            problem = msgspec.structs.replace(build_failure(provider.name, error), spent="no")
            raise ProblemError(problem) from None


def _write_probe(request: SessionRequest) -> tuple[Dialect, Call]:
    """Return a request of a dialect that names the model: routing decides it as any other."""
    model = request.model
    if not model and request.intent:
        model = _MODELLESS_TRANSCRIBER
    options = request.call.options
    if options.conversation is None:
        options = msgspec.structs.replace(options, conversation=request.call.id)
    if request.form == "gemini":
        body = b'{"contents":[{"role":"user","parts":[{"text":"-"}]}]}'
        path = f"models/{model}:generateContent"
        return GEMINI, msgspec.structs.replace(request.call, body=body, path=path, options=options)
    body = jsonio.dumps({"model": model, "input": "-"})
    return OPENAI_RESPONSES, msgspec.structs.replace(request.call, body=body, options=options)


def _find_target(catalogue: Catalogue, target: Target, model: str) -> Target:
    models = unlisted_models.find_all(f"{target.provider.name}/{model}", catalogue)
    for unlisted_model in models:
        if unlisted_model.owner.provider is target.provider:
            return unlisted_model.owner.targets[unlisted_model.name]
    return msgspec.structs.replace(target, model=model, price=None)


def _write_address(request: SessionRequest, target: Target) -> str:
    """Return the address of a session at a provider."""
    address = target.provider.realtime[request.form]
    if request.form == "gemini":
        return f"{address}/{_LIVE_SERVICE.format(version=request.version)}"
    path, _, query = address.partition("?")
    members = {}
    if request.model or not request.intent:
        members["model"] = target.model
    if request.intent:
        members["intent"] = request.intent
    return f"{path}?{'&'.join(filter(None, (query, urlencode(members))))}"


def _parse_seconds(text: str | None) -> float | None:
    if text is None or not text.isdigit() or len(text) > _MAX_RETRY_AFTER_CHARS:
        return None
    return float(text)


# what clients are told


async def _read_first_message(client: WebSocketPeer) -> tuple[Opcode, bytes]:
    """Return the first message of a client; an empty one if none comes in time."""
    assembler = MessageAssembler()
    opcode = Opcode.TEXT
    try:
        async with asyncio.timeout(_FIRST_MESSAGE_SECONDS):
            while frame := await client.read_one():
                if frame.opcode is not Opcode.CONT:
                    opcode = Opcode(frame.opcode)
                if (message := assembler.add(frame)) is not None:
                    return opcode, message
    except TimeoutError:
        pass
    return opcode, b""


def _describe_refusal(problem: Problem) -> tuple[int, str]:
    """Return the close code and reason for a session that is refused after its handshake."""
    if problem.kind == "draining":
        return RESTART, problem.message
    if problem.kind == "overloaded":
        return TRY_LATER, problem.message
    if problem.kind in ("upstream_rejected", "invalid_request"):
        return _INVALID_ARGUMENT, problem.message
    is_upstream = problem.kind.startswith("upstream_") and problem.kind != "upstream_model"
    return FAILED if is_upstream else POLICY, problem.message


async def _close(
    client: WebSocketPeer | None,
    provider: ProviderSocket,
    accounting: SessionAccounting,
    end: SessionEnd,
    form: SessionForm,
) -> None:
    """Tell both sides that the session has ended, and close its accounts."""
    try:
        if client is not None:
            if end.problem is not None and form == "openai" and not client.is_mid_message:
                await _send_error(client, end.problem)
            client.close(end.code, end.reason)
        if accounting.may_begin_response:
            await _listen(provider.peer, accounting)
    finally:
        accounting.close(end)
        provider.peer.close(NORMAL if end.code == NORMAL else GOING_AWAY, "")
    await provider.close()


async def _listen(peer: WebSocketPeer, accounting: SessionAccounting) -> None:
    """Hear for a moment if the provider begins the response that the client has not waited for.

    Without it a client could make responses begin, and leave before they count.
    """
    try:
        async with asyncio.timeout(_LISTEN_SECONDS):
            while accounting.may_begin_response and (frame := await peer.read_one()):
                await accounting.see_provider_frame(frame)
    except (TimeoutError, SessionEndedError, ProblemError):
        pass


async def _send_error(client: WebSocketPeer, problem: Problem) -> None:
    """Send the `error` event of OpenAI's form, if the client takes it."""
    error = {
        "type": "server_error" if problem.http_status >= 500 else "invalid_request_error",
        "code": problem.kind,
        "message": problem.message,
        "param": None,
        "event_id": None,
    }
    event = {"type": "error", "event_id": "event_tiergate", "error": error}
    try:
        async with asyncio.timeout(_SEND_SECONDS):
            await client.send(Opcode.TEXT, jsonio.dumps(event))
    except (PeerClosedError, TimeoutError):
        pass


_LISTEN_SECONDS = 1.0
"""Seconds in which a provider begins a response, after what begins it."""
_SEND_SECONDS = 1.0
"""Seconds in which a client must take the last message."""
_BUG = Problem(
    kind="internal", message="The gateway failed on this session; its log has the reason."
)
_BUG_END = SessionEnd(ended_by="upstream", code=FAILED, reason=_BUG.message, problem=_BUG)
_FAILED_END = SessionEnd(ended_by="client", code=GOING_AWAY)
"""The end of a session whose task was cancelled."""
