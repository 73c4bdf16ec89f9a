"""Judgements of admins on recorded calls: a rating, or a golden prompt made of a call."""

import asyncio
import os
from functools import partial
from pathlib import Path

import msgspec
from fastapi import APIRouter, Depends, FastAPI, Request, Response

from gateway.core import jsonio
from gateway.core.errors import Problem, ProblemError, invalid_request
from gateway.core.ledger_rows import FeedbackRow, FinalRow
from gateway.core.target import TIERS, Tier
from gateway.ledger import transcripts
from gateway.ledger.file_lock import lock_file
from gateway.runtime.composition import Gateway
from gateway.server.admin.audit import check_audit, record_act
from gateway.server.admin.auth import AdminAuth, may_see_team
from gateway.server.admin.query_params import check_parameters
from gateway.server.admin.recorded_call import find_transcript
from gateway.server.admission import Admission
from gateway.server.dashboard.session import MAIN_ADMIN
from gateway.server.feedback import Opinion, find_rated_call, parse_opinion, record_opinion
from gateway.server.request_headers import RequestHeaders
from gateway.settings.errors import ConfigError
from gateway.state.private_file import open_private

_JSON = "application/json"
_CREATED, _CONFLICT = 201, 409
_MAX_BYTES = 4_096
"""The maximum number of bytes of a body."""
_MAX_FILE_BYTES = 4_000_000
"""The size of the golden file from which it takes no more prompts: reading it takes seconds."""
_GOLDEN_FILE = "golden.yaml"
_EXAMPLE_RATING = '{"verdict": "good"}'


class GoldenBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a call's prompt should get."""

    tier: Tier
    why: str = ""


_decode_opinion = jsonio.make_reader(Opinion)
_decode_golden = jsonio.make_reader(GoldenBody)


def add_routes(app: FastAPI, gateway: Gateway, admission: Admission) -> None:
    """Add the routes to an app."""
    guard = AdminAuth.from_gateway(gateway)
    router = APIRouter(prefix="/admin/entries", dependencies=[Depends(guard)])

    async def read_body(request: Request) -> bytes:
        check_parameters(request)
        headers = RequestHeaders(request.headers.raw)
        return await admission.read_body(request.receive, headers.length)

    async def find_call(request: Request, name: str) -> tuple[FinalRow, FeedbackRow | None]:
        call, feedback = await find_rated_call(gateway, name)
        if call is None or not may_see_team(request, call.team):
            message = "The ledger has no row of this call. A call gets its row when it ends."
            raise ProblemError(Problem(kind="not_found", message=message))
        return call, feedback

    @router.post("/{name}/rating", summary="Rate the answer of a call; the last rating counts")
    async def rate(request: Request, name: str) -> Response:
        opinion: Opinion = parse_opinion(await read_body(request), _decode_opinion, _EXAMPLE_RATING)
        call, previous = await find_call(request, name)
        await check_audit(gateway)
        await record_opinion(gateway, call, previous, MAIN_ADMIN, opinion)
        await record_act(
            gateway,
            request,
            "call.rate",
            subject=call.id,
            before=None if previous is None else _describe_opinion(previous),
            after=_describe_opinion(opinion),
        )
        answer = {"id": call.id, **_describe_opinion(opinion)}
        return Response(jsonio.dumps(answer), media_type=_JSON)

    @router.post(
        "/{name}/golden",
        summary="Add a call's prompt to golden.yaml in the data folder, for `tiergate test`",
        status_code=_CREATED,
    )
    async def add_golden(request: Request, name: str) -> Response:
        body = _parse_golden(await read_body(request))
        call, _ = await find_call(request, name)
        await check_audit(gateway)
        file = gateway.data / _GOLDEN_FILE
        count, turns = await asyncio.to_thread(partial(_add_golden, gateway, file, call, body))
        after = {"file": str(file), "tier": body.tier}
        await record_act(gateway, request, "golden.add", subject=call.id, after=after)
        answer = {"id": call.id, **after, "prompts": count, "turns": turns}
        return Response(jsonio.dumps(answer), _CREATED, media_type=_JSON)

    app.include_router(router)


def _describe_opinion(opinion: Opinion | FeedbackRow) -> dict[str, object]:
    return {"verdict": opinion.verdict, "tier": opinion.tier, "score": opinion.score}


def _parse_golden(data: bytes) -> GoldenBody:
    if len(data) > _MAX_BYTES:
        message = f"The body has at most {_MAX_BYTES:,} bytes."
        raise ProblemError(Problem(kind="request_too_large", message=message))
    try:
        body: GoldenBody = _decode_golden(data)
    except jsonio.JsonError as error:
        message = f'It is {{"tier": "smart"}}, one of {", ".join(TIERS)}, with a `why`: {error}.'
        raise invalid_request(message) from None
    return body


def _add_golden(gateway: Gateway, file: Path, call: FinalRow, body: GoldenBody) -> tuple[int, int]:
    """Add a call's prompt to a golden file. Return the number of its prompts, and the call's turns.

    Raises ProblemError: not_found if there is no text, invalid_request (409) if it makes no prompt.
    """
    # A serving gateway imports nothing of evaluation until an admin asks for it.
    from gateway.evaluation import golden_file  # noqa: PLC0415
    from gateway.evaluation.errors import DuplicatePromptError  # noqa: PLC0415
    from gateway.evaluation.golden import GoldenPrompt  # noqa: PLC0415

    transcript = find_transcript(gateway, call.id)
    record = call.basis
    if record is None or record.operation != "generate":
        raise _make_conflict("No tier was chosen for this call, so it makes no golden prompt.")
    if transcript.cut:
        raise _make_conflict("The gateway kept a part of this text, so it makes no golden prompt.")
    prompt = transcripts.read_prompt(transcript, call.dialect)
    if prompt is None or not prompt.user.strip():
        raise _make_conflict("The kept text has no words of a user to make a golden prompt of.")
    turn = f", turn {prompt.user_turns} of its conversation" if prompt.user_turns > 1 else ""
    golden_prompt = GoldenPrompt(
        prompt=prompt.user,
        tier=body.tier,
        model=call.asked or "auto",
        key=None if gateway.keys.is_open else call.key,
        tags=() if record.said is None else record.said.tags,
        dialect=call.dialect,  # type: ignore[arg-type]  # one of them
        why=f"{body.why} (call {call.id}{turn})".strip(),
    )
    try:
        with lock_file(gateway.data / "golden.lock"):
            text = file.read_text("utf-8") if file.exists() else ""
            if len(text) > _MAX_FILE_BYTES:
                raise _make_conflict(f"{file} is full: move it to your other golden prompts.")
            new_text, count = golden_file.add_prompt(text, str(file), golden_prompt)
            _replace(file, new_text)
    except DuplicatePromptError as error:
        raise _make_conflict(f"{file}, {error}.") from None
    except ConfigError as error:
        reason = "; ".join(str(mistake) for mistake in error.mistakes[:3])
        raise _make_conflict(f"The golden file takes no prompt: {reason}") from None
    except (OSError, UnicodeDecodeError) as error:
        problem = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise _make_conflict(f"{file} cannot be read or written: {problem}.") from None
    return count, prompt.user_turns


def _replace(file: Path, text: str) -> None:
    """Put a text in place of a file, which stays whole if the disk is full. Raises OSError."""
    new_file = file.with_suffix(".new")
    with os.fdopen(open_private(new_file, os.O_WRONLY | os.O_TRUNC), "w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    new_file.replace(file)


def _make_conflict(message: str) -> ProblemError:
    return ProblemError(Problem(kind="invalid_request", message=message, status=_CONFLICT))
