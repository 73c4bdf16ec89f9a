"""Test that the short way, which most calls take, prepares the same request as the long way."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.core import jsonio
from gateway.core.call import Call
from gateway.core.decision import Plan
from gateway.core.target import Account, Provider, Target
from gateway.dialects import OPERATIONS, TranslatableRequest
from gateway.pipeline.accounting import CallRecorder, RecordedAccount
from gateway.telemetry.log import ignore_event
from gateway.upstream import prepare_request
from gateway.upstream.retry import list_candidates
from gateway.upstream.upstream_request import UpstreamRequest

DOORS = {
    name: f"http://127.0.0.1:1/{name}"
    for name in ("openai-chat", "openai-responses", "anthropic-messages", "gemini")
}
BODIES: dict[str, dict[str, Any]] = {
    "openai-chat": {"messages": [{"role": "user", "content": "Hi."}]},
    "openai-responses": {"input": "Hi."},
    "anthropic-messages": {"max_tokens": 9, "messages": [{"role": "user", "content": "Hi."}]},
    "gemini": {"contents": [{"role": "user", "parts": [{"text": "Hi."}]}]},
}
PATHS = ("models/able-1:generateContent", "models/able-1:streamGenerateContent")


def job(dialect: str, target: Target, *, stream: bool, query: str) -> UpstreamRequest:
    """Make a native call to one target."""
    body_members = BODIES[dialect] | ({"model": "able-1"} if dialect != "gemini" else {})
    if stream and dialect != "gemini":
        body_members["stream"] = True
    spoken = OPERATIONS[dialect, "generate"]
    call = Call(
        id="tg-1", dialect=dialect, operation="generate", body=jsonio.dumps(body_members), query=query,
        path=PATHS[stream] if dialect == "gemini" else "", headers={"accept-language": "de"},
        received_at=0.0, started_at=0.0,
    )  # fmt: skip
    body = spoken.read_call(call)
    return UpstreamRequest(
        call=call, body=body, translatable=TranslatableRequest(spoken, body), dialect=spoken, tier="smart", lab="acme",
        plan=Plan(targets=(target,), dialects=(dialect,)), started_at=0.0,
        call_account=RecordedAccount(
            call, "", recorder=CallRecorder(lambda _: None, ignore_event)
        ),
    )  # fmt: skip


@given(
    st.sampled_from(sorted(DOORS)),
    st.booleans(),
    st.sampled_from(["", "beta=true"]),
    st.sampled_from([{"model": "able-1"}, {"model": "able-2", "max_output": 7, "effort": "low"}]),
    st.sampled_from(["either", "max_tokens"]),
)
def test_the_fast_path_prepares_the_same_request_as_the_general_path(
    dialect: str, stream: bool, query: str, target_members: dict[str, Any], cap: Any
) -> None:
    provider = Provider(name="acme", urls=DOORS, accounts=(Account("main", "s"),), max_tokens=cap)
    call = job(dialect, Target(provider=provider, **target_members), stream=stream, query=query)
    (candidate,) = list_candidates(call.plan)
    fast_request, general_request = (
        prepare_request.prepare(call, candidate),
        prepare_request._prepare_adapted(call, candidate),
    )
    assert fast_request == general_request
    assert fast_request.adapter is call.dialect
    assert fast_request.url_suffix.endswith(query)


@pytest.mark.parametrize("how", ["door", "listens", "own", "notes", "bare"])
def test_an_unusual_request_takes_the_general_path(
    monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    provider = Provider(name="acme", urls=DOORS, accounts=(Account("main", "s"),))
    target = Target(provider=provider, model="able-1")
    call = job("openai-chat", target, stream=False, query="")
    changes: dict[str, dict[str, Any]] = {
        "door": {"plan": Plan(targets=(target,), dialects=("gemini",))},
        "listens": {"records_reasoning": True},
        "own": {"pinned_body": call.body},
        "notes": {"reasoning_notes": {"call-1": None}},
        "bare": {"omits_reasoning": True},
    }
    long: list[str] = []
    monkeypatch.setattr(prepare_request, "_prepare_adapted", lambda *_: long.append(how))
    for request in (call, replace(call, **changes[how])):
        (candidate,) = list_candidates(request.plan)
        prepare_request.prepare(request, candidate)
    assert long == [how]
