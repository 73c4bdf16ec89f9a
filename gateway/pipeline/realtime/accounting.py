"""The money of a session: one call of the ledger for each response of the model.

A session can last an hour and has no bill of its own: providers bill each response. So each
response is a call: it reserves, has an intent row before the provider can begin it, and one final
row. All calls of a session share a conversation. After a crash the ledger has the exact rows of all
responses that had ended. Recovery closes the one or two that had not, charged with what they had
reserved. With one row for a session, a crash would lose what the whole session had used.

The session holds the reservation of its next response before it sends on a message that may begin
one. A provider may begin further responses by itself: the session reserves for each as it begins.
If a reservation is refused, the session ends.
"""

from collections.abc import Awaitable, Callable

import msgspec
from websockets.frames import Frame

from gateway.core.call import Call
from gateway.core.call_accounting import AttemptAccount
from gateway.core.clocks import Clocks
from gateway.core.decision import Decision, Plan
from gateway.core.errors import Problem, ProblemError, ledger_unwritable
from gateway.core.ledger_rows import CallState
from gateway.core.owned_object import ObjectPlace
from gateway.core.prompt import Prompt
from gateway.core.target import Target
from gateway.core.usage import Usage, merge_usage
from gateway.dialects.realtime.base import (
    MessageReader,
    ResponseContent,
    ResponseEnded,
    ResponseStarted,
    StartChance,
    TranscriptionEnded,
)
from gateway.limits.cost_bounds import UsageBound
from gateway.limits.limiter import Limiter
from gateway.pipeline.accounting import CallRecorder, RecordedAccount
from gateway.pipeline.passthrough.objects import ObjectGuard
from gateway.pipeline.realtime.named_objects import SessionObjectGuard
from gateway.pipeline.realtime.session import POLICY, SessionEnd, SessionEndedError
from gateway.routing.decision_record import DecisionRecorder
from gateway.upstream.large_work import LargeWork
from gateway.upstream.retry import Candidate
from gateway.upstream.websocket_peer import MessageMemory

_MAX_OPEN_RESPONSES = 16
"""The most responses of a session at the same time."""
_UNUSED_FINISH = "no_response"
"""`finish` of a call whose response never began: its session ended before."""


class SessionPlan(msgspec.Struct, frozen=True):
    """The decision for a session, which all its responses share."""

    template: Call
    """The call of each response, apart from its id and its times."""
    recorder: DecisionRecorder
    decision: Decision
    plan: Plan
    operation: str
    """The name of the endpoint in rows: `realtime` or `live`."""


class AccountingServices(msgspec.Struct, frozen=True):
    """The parts of the gateway that count."""

    recorder: CallRecorder
    limiter: Limiter | None
    flush_rows: Callable[[], bool]
    """Writes the rows that wait. Returns False if that fails."""
    clocks: Clocks
    config_version: str
    objects: ObjectGuard
    find_transcriber: Callable[[Target, str], Awaitable[Target]]
    """Returns the target of a transcribing model, for the target of the session."""


class SessionHooks(msgspec.Struct, frozen=True):
    """Functions of the server that a session calls."""

    make_id: Callable[[], str]
    """Returns a new id for a call."""
    check_key: Callable[[], object]
    """Raises ProblemError once the client's key is no longer valid."""
    is_draining: Callable[[], bool]
    """Returns True once the gateway stops."""
    check_body: Callable[[bytes], object]
    """Raises ProblemError for a message that has too many values to be read."""
    make_memory: Callable[[], MessageMemory]
    """Returns a reservation of memory, for the provider's messages that are arriving."""


class MessageAssembler:
    """Joins the frames of a message. The protocol bounds the bytes of a message."""

    def __init__(self) -> None:
        self._data = bytearray()

    def add(self, frame: Frame) -> bytes | None:
        """Return a whole message after its last frame; else None."""
        if frame.fin and not self._data:
            return bytes(frame.data)
        self._data += frame.data
        if not frame.fin:
            return None
        message = bytes(self._data)
        self._data.clear()
        return message


class SessionAccounting:
    """Sees the frames of a session, and keeps the accounts of its responses."""

    def __init__(
        self,
        services: AccountingServices,
        session_plan: SessionPlan,
        reader: MessageReader,
        objects: SessionObjectGuard,
        hooks: SessionHooks,
    ) -> None:
        self._services = services
        self._session_plan = session_plan
        self._reader = reader
        self._objects = objects
        self._hooks = hooks
        self._plan = session_plan.plan
        self._candidate: Candidate | None = None
        self._next: RecordedAccount | None = None
        """The account of the next response, which has reserved."""
        self._next_chance: StartChance = "none"
        """The chance that the provider begins the next response, after what the client has sent."""
        self._open: dict[str, RecordedAccount] = {}
        """Accounts of responses that have begun, by the response's id."""
        self._has_first_call = False
        self._prompt_tokens = 0
        """Tokens of the last prompt: the next one has at least as many."""
        self._large_work = LargeWork()
        self._client_message = MessageAssembler()
        self._provider_message = MessageAssembler()

    @property
    def has_open_response(self) -> bool:
        """See FrameObserver."""
        return bool(self._open)

    @property
    def may_begin_response(self) -> bool:
        """True if the provider may begin a response after what the client has sent."""
        return self._next_chance != "none"

    @property
    def target_model(self) -> str:
        """The model's name at the provider of the session."""
        return "" if self._candidate is None else self._candidate.target.model

    # the first response, from before the connection to the provider

    async def reserve_first(self) -> Plan:
        """Reserve for the first response; return the plan that passed. Raises ProblemError."""
        account = self._next = self._open_account()
        try:
            await self._reserve(account)
        except ProblemError as error:
            self.fail(error.problem, error.problem.http_status)
            raise
        except BaseException:
            account.settle_aborted(503)
            raise
        if account.reservation is not None:
            self._plan = account.reservation.plan
        return self._plan

    async def start_attempt(self, candidate: Candidate) -> AttemptAccount:
        """Write the intent row of the first response at a candidate. Raises ProblemError."""
        if self._next is None:
            raise RuntimeError("the first response has not reserved")
        self._candidate = candidate
        self._plan = _narrow_plan(self._session_plan.plan, candidate, candidate.target)
        return await self._start_attempt(self._next, candidate)

    def fail_attempt(self, attempt: AttemptAccount, problem: Problem) -> None:
        """Write the row of an attempt that did not reach its provider."""
        if self._next is not None:
            self._next.attempt_failed(attempt, problem)

    def fail(self, problem: Problem, status: int) -> None:
        """Close the account of a session that did not begin."""
        account, self._next = self._next, None
        if account is not None:
            state: CallState = "failed" if account.attempts else "refused"
            account.settle(state, status, problem=problem.name or problem.kind)

    # frames

    async def see_client_frame(self, frame: Frame) -> None:
        """See FrameObserver."""
        message = self._client_message.add(frame)
        if message is None:
            return
        try:
            await self.check_message(message)
        except ProblemError as error:
            raise _end_by(error.problem) from None
        chance = await self._large_work.read(self._reader.find_start_chance, message)
        if chance == "none":
            return
        if self._next is None:
            self._next, _ = await self._begin(self._plan)
            self._next_chance = "none"
        if self._next_chance != "certain":
            self._next_chance = chance

    async def check_message(self, message: bytes) -> None:
        """Check that a client's message names no foreign objects. Raises ProblemError."""
        if self._candidate is not None:
            place = ObjectPlace(*self._candidate.key[:2])
            await self._objects.check(message, self._session_plan.template.key, place)

    async def see_provider_frame(self, frame: Frame) -> None:
        """See FrameObserver."""
        message = self._provider_message.add(frame)
        if message is None:
            return
        for event in await self._large_work.read(self._reader.read, message):
            match event:
                case ResponseStarted(id):
                    await self._start_response(id)
                case ResponseContent(id, text_bytes, usage):
                    self._add_content(id, text_bytes, usage)
                case ResponseEnded(id, usage, finish):
                    await self._end_response(id, usage, finish)
                case TranscriptionEnded(model, usage):
                    await self._record_transcription(model, usage)

    def close(self, end: SessionEnd) -> None:
        """Close all accounts: the session has ended."""
        for account in self._open.values():
            self._settle_cut(account, end)
        self._open.clear()
        unused, self._next = self._next, None
        if unused is None:
            return
        if self._next_chance != "certain":
            if unused.attempt is not None and unused.attempt.is_open:
                unused.cancel_attempt(unused.attempt)
            unused.finish = _UNUSED_FINISH
        self._settle_cut(unused, end)

    def _settle_cut(self, account: RecordedAccount, end: SessionEnd) -> None:
        if account.is_closed:
            return
        status = 499 if end.ended_by.startswith("client") else 200
        problem = None if end.problem is None else end.problem.name or end.problem.kind
        account.settle("aborted", status, problem=problem, aborted_by=end.ended_by)

    # responses

    async def _start_response(self, id: str) -> None:
        if id in self._open:
            return
        problem: Problem | None = None
        account = self._next
        self._next, self._next_chance = None, "none"
        if account is None:
            account, problem = await self._begin(self._plan, has_begun=True)
        if id:
            account.response_id = id
        # The times of its row are those of the response: its reservation may have waited long.
        clocks = self._services.clocks
        account.call = msgspec.structs.replace(
            account.call, received_at=clocks.wall(), started_at=clocks.monotonic()
        )
        self._open[id] = account
        if problem is None and len(self._open) > _MAX_OPEN_RESPONSES:
            message = f"A session has at most {_MAX_OPEN_RESPONSES} responses at the same time."
            problem = Problem(kind="rate_limited", message=message)
        if problem is not None:
            raise _end_by(problem)

    def _add_content(self, id: str, text_bytes: int, usage: Usage | None) -> None:
        account = self._open.get(id)
        if account is None:
            return
        if account.first_content is None:
            account.record_first_content(self._services.clocks.monotonic())
        account.content_bytes = (account.content_bytes or 0) + text_bytes
        if usage is not None:
            account.usage = merge_usage(account.usage, usage)

    async def _end_response(self, id: str, usage: Usage | None, finish: str | None) -> None:
        if id not in self._open:
            await self._start_response(id)
        account = self._open.pop(id)
        if usage is not None:
            account.usage = merge_usage(account.usage, usage)
        await self._settle_whole(account, finish)

    async def _record_transcription(self, model: str, usage: Usage | None) -> None:
        """Record a transcription, which the provider has made and billed already."""
        candidate = self._candidate
        if candidate is None:
            return
        target = await self._services.find_transcriber(candidate.target, model)
        plan = _narrow_plan(self._session_plan.plan, candidate, target)
        account, problem = await self._begin(plan, model, has_begun=True)
        account.usage = usage
        await self._settle_whole(account, None)
        if problem is not None:
            raise _end_by(problem)

    async def _settle_whole(self, account: RecordedAccount, finish: str | None) -> None:
        usage = account.usage
        account.is_complete = usage is not None
        account.finish = finish
        if usage is not None and usage.prompt:
            self._prompt_tokens = usage.prompt + (usage.completion or 0)
        account.settle("settled", 200)
        await account.wait_for_sync()

    # reservations

    async def _begin(
        self, plan: Plan, model: str = "", *, has_begun: bool = False
    ) -> tuple[RecordedAccount, Problem | None]:
        """Reserve for one more response, and write its intent row. Raises SessionEndedError.

        If the provider `has_begun` it, or has made it, a refusal cannot stop it: then its account
        is opened all the same, and the problem is returned.
        """
        account, problem, candidate = self._open_account(model), None, self._candidate
        if candidate is None:
            raise RuntimeError("the session has no provider")
        try:
            try:
                self._hooks.check_key()
                await self._reserve(account, plan)
            except ProblemError as error:
                if not has_begun:
                    raise
                problem = error.problem
            await self._start_attempt(
                account, msgspec.structs.replace(candidate, target=plan.targets[0])
            )
        except ProblemError as error:
            account.settle("refused", error.problem.http_status, problem=error.problem.kind)
            raise _end_by(error.problem) from None
        except BaseException:
            account.settle_aborted(503)
            raise
        return account, problem

    def _open_account(self, model: str = "") -> RecordedAccount:
        services, session_plan = self._services, self._session_plan
        clocks, recorder = services.clocks, session_plan.recorder
        call = msgspec.structs.replace(
            session_plan.template,
            id=self._hooks.make_id() if self._has_first_call else session_plan.template.id,
            received_at=clocks.wall(),
            started_at=clocks.monotonic(),
        )
        self._has_first_call = True
        account = services.recorder.open(call, services.config_version)
        account.operation = session_plan.operation
        model = model or recorder.call.prompt.model
        prompt = Prompt(model=model, stream=True, audio=1, images=1)
        account.record_prompt(prompt, self._prompt_tokens, None)
        account.make_decision_record = recorder
        services.recorder.note_decision(account, session_plan.decision)
        return account

    async def _reserve(self, account: RecordedAccount, plan: Plan | None = None) -> None:
        """Reserve what a response may cost at most. Raises ProblemError."""
        limiter, session_plan = self._services.limiter, self._session_plan
        if limiter is None or not limiter.applies_to(account.call.key):
            return
        usage_bound = UsageBound(
            call=account.call,
            prompt=Prompt(model=account.requested_model or "", stream=True, audio=1, images=1),
            prompt_tokens=self._prompt_tokens,
            prompt_bound=None,
            end_user=account.end_user,
        )
        account.reservation = reservation = await limiter.reserve(
            usage_bound,
            session_plan.decision,
            plan or self._plan,
            session_plan.recorder.decide_under,
        )
        is_lowered = any(target.lowered_output is not None for target in reservation.plan.targets)
        if reservation.decision is not session_plan.decision or is_lowered:
            # A session can neither move to a cheaper tier nor keep its answers short.
            message = "A budget leaves less than a response of this session may cost."
            raise ProblemError(Problem(kind="budget", message=message))

    async def _start_attempt(
        self, account: RecordedAccount, candidate: Candidate
    ) -> AttemptAccount:
        """Write the intent row of a response. Raises ProblemError."""
        attempt = await account.attempt_started(candidate.target, candidate.account)
        if not self._services.flush_rows():
            account.cancel_attempt(attempt)
            raise ledger_unwritable()
        return attempt


def _narrow_plan(plan: Plan, candidate: Candidate, target: Target) -> Plan:
    """Return a plan with one target, which is asked as a candidate was."""
    return msgspec.structs.replace(
        plan, targets=(target,), dialects=(candidate.dialect_name,), labs=()
    )


def _end_by(problem: Problem) -> SessionEndedError:
    return SessionEndedError(
        SessionEnd(ended_by="limit", code=POLICY, reason=problem.message, problem=problem)
    )
