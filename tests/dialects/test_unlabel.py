"""Labelled state that a client sends back never reaches a provider of the native dialect.

In the body only the state's place changes: the tests write out the expected bytes.
"""

import base64
from typing import Any

import pytest

from gateway.core.loss import Loss
from gateway.core.target import ModelFacts, Provider, Target
from gateway.dialects import ANTHROPIC_MESSAGES, DIALECTS, GEMINI, OPENAI_CHAT, OPENAI_RESPONSES
from gateway.dialects.anthropic_messages import COUNT_TOKENS
from gateway.dialects.base import Dialect, WrittenBody
from gateway.dialects.reasoning_state import hash_maker, write_label

HERE = Target(provider=Provider(name="here", urls={}), model="m")
OLD = Target(provider=HERE.provider, model="m", facts=ModelFacts(effort_style="gemini-budget"))
OTHER = write_label("0123456789abcdef", "c3RhdGU=").encode()
WHY = "reasoning of another model is for that model alone"


def mine(dialect: Dialect, state: str = "c3RhdGU=") -> bytes:
    return write_label(hash_maker(HERE, dialect.name), state).encode()


def write(dialect: Dialect, body: bytes, target: Target = HERE) -> WrittenBody:
    reading: Any = dialect.read
    path = ["models/m:generateContent"] if dialect is GEMINI else []
    return dialect.write(reading(body, *path), target)


def whole(dialect: Dialect, inner: bytes) -> bytes:
    """Make a request with messages, items or contents as they stand."""
    head = {
        "openai-chat": b'{"model":"m","n":1.0,"messages":[',
        "anthropic-messages": b'{"model":"m","max_tokens":9,"top_p":0.50,"messages":[',
        "openai-responses": b'{"model":"m","top_p":0.50,"input":[',
        "gemini": b'{"labels":{"a" : "b"},"contents":[',
    }
    return head[dialect.name] + inner + b"]}"


def check(dialect: Dialect, before: bytes, after: bytes, target: Target = HERE) -> None:
    """Assert what the gateway sends, and that it names the state that it removed."""
    written = write(dialect, whole(dialect, before), target)
    assert written.body == whole(dialect, after)
    member = {"openai-responses": "input", "gemini": "contents"}.get(dialect.name, "messages")
    assert written.losses == (Loss(f"{member}.reasoning", "dropped", WHY),)


def kept(dialect: Dialect, before: bytes, after: bytes | None = None) -> None:
    """Assert what the gateway sends, without a loss; the same bytes if nothing changes."""
    body = whole(dialect, before)
    written = write(dialect, body)
    assert written.losses == ()
    if after is None:
        assert written.body is body
    else:
        assert written.body == whole(dialect, after)


USER = b'{"role":"user","content":"hi \\u00e9 1.50"}'


# Messages


def test_thinking_of_another_goes_and_all_else_keeps_its_bytes() -> None:
    said = b'{"type" : "text", "text":"a\\u00e9"}'
    check(
        ANTHROPIC_MESSAGES,
        USER + b', {"role" : "assistant","content":[{"type":"thinking","thinking":"so","signature":"' + OTHER
        + b'"},' + said + b',{"type":"redacted_thinking","data":"' + OTHER + b'"}]} ,' + USER,
        USER + b',{"role":"assistant","content":[' + said + b"]}," + USER,
    )  # fmt: skip


def test_a_message_that_was_thinking_alone_goes() -> None:
    thought = b'{"type":"thinking","thinking":"so","signature":"' + OTHER + b'"}'
    check(
        ANTHROPIC_MESSAGES,
        USER + b',{"role":"assistant","content":[' + thought + b"]}",
        USER,
    )


def test_a_request_of_such_messages_alone_is_empty_and_still_a_list() -> None:
    thought = b'{"type":"thinking","thinking":"so","signature":"' + OTHER + b'"}'
    check(ANTHROPIC_MESSAGES, b'{"role":"assistant","content":[' + thought + b"]}", b"")


def test_unsigned_thinking_beside_a_label_is_the_gateways_own() -> None:
    """Gemini's summaries come like this: without a signature, and with one tied to a call."""
    use = b'{"type":"tool_use","id":"t","name":"f","input":{ }}'
    tied = write_label("0123456789abcdef", "tool:t:c3RhdGU=").encode()
    check(
        ANTHROPIC_MESSAGES,
        USER + b',{"role":"assistant","content":[{"type":"thinking","thinking":"so","signature":""},'
        + use + b',{"type":"thinking","thinking":"","signature":"' + tied + b'"}]}',
        USER + b',{"role":"assistant","content":[' + use + b"]}",
    )  # fmt: skip


def test_unsigned_thinking_of_a_host_of_this_dialect_stays() -> None:
    unsigned = (
        b'{"role":"assistant","content":[{"type":"thinking","thinking":"so","signature":""}]}'
    )
    kept(ANTHROPIC_MESSAGES, USER + b"," + unsigned)
    thought = b'{"type":"thinking","thinking":"so","signature":"' + OTHER + b'"}'
    check(
        ANTHROPIC_MESSAGES,
        unsigned + b',{"role":"assistant","content":[' + thought + b"]}",
        unsigned,
    )


@pytest.mark.parametrize("dialect", [ANTHROPIC_MESSAGES, OPENAI_RESPONSES])
def test_thinking_without_a_state_is_never_anyones_own(dialect: Dialect) -> None:
    """The label alone names another dialect as its maker: a native provider would refuse it."""
    for slot in (write_label("0123456789abcdef", "").encode(), mine(dialect, "")):
        thought = b'{"role":"assistant","content":[{"type":"thinking","thinking":"so","signature":"%b"}]}'  # fmt: skip
        if dialect is OPENAI_RESPONSES:
            thought = b'{"type":"reasoning","id":"rs_1_0","summary":[{"type":"summary_text","text":"so"}],"encrypted_content":"%b"}'  # fmt: skip
        check(dialect, USER + b"," + thought % slot, USER)


def test_the_targets_own_state_is_written_as_it_made_it() -> None:
    def said(signature: bytes, data: bytes) -> bytes:
        return (
            USER + b',{"role":"assistant","content":[{"type":"thinking","thinking":"so","signature":"'
            + signature + b'"},{"type":"redacted_thinking","data":"' + data + b'"}]}'
        )  # fmt: skip

    own = mine(ANTHROPIC_MESSAGES)
    kept(ANTHROPIC_MESSAGES, said(own, own), said(b"c3RhdGU=", b"c3RhdGU="))


def test_a_state_that_hangs_on_a_call_is_of_no_model_of_this_dialect() -> None:
    own = mine(ANTHROPIC_MESSAGES, "tool:t:c3RhdGU=")
    use = b'{"type":"tool_use","id":"t","name":"f","input":{}}'
    thought = b'{"type":"thinking","thinking":"","signature":"' + own + b'"}'
    check(
        ANTHROPIC_MESSAGES,
        b'{"role":"assistant","content":[' + use + b"," + thought + b"]}",
        b'{"role":"assistant","content":[' + use + b"]}",
    )


def test_a_label_of_the_same_model_asked_in_another_dialect_is_anothers() -> None:
    thought = b'{"type":"thinking","thinking":"so","signature":"' + mine(OPENAI_RESPONSES) + b'"}'
    check(ANTHROPIC_MESSAGES, USER + b',{"role":"assistant","content":[' + thought + b"]}", USER)


@pytest.mark.parametrize(
    "content",
    [b'"tg1.0.state"', b'[{"type":"text","text":"tg1.0.state"}]', b'["tg1.0.state",1]', b'{"a":"tg1.0.x"}',
     b'[{"type":["thinking"],"signature":"tg1.0.x"}]', b'[{"type":"thinking","thinking":"tg1.","signature":1}]',
     b'[{"type":"thinking","thinking":"","signature":"tg1."}]'],
)  # fmt: skip
def test_what_only_looks_like_a_label_stays(content: bytes) -> None:
    kept(ANTHROPIC_MESSAGES, b'{"role":"user","content":' + content + b"}")


def test_a_count_of_tokens_is_of_what_would_be_sent() -> None:
    body = b'{"model":"m","messages":[{"role":"assistant","content":[{"type":"thinking","thinking":"a","signature":"' + OTHER + b'"},{"type":"text","text":"a"}]}]}'  # fmt: skip
    written = COUNT_TOKENS.write(COUNT_TOKENS.read(body), HERE)
    assert written.body == (
        b'{"model":"m","messages":[{"role":"assistant","content":[{"type":"text","text":"a"}]}]}'
    )


def test_a_budget_is_not_asked_for_in_a_turn_whose_thinking_went() -> None:
    """Old models refuse thinking if the turn that a result continues began without it."""
    facts = ModelFacts(effort_style="anthropic-budget", efforts=("none", "high"))
    target = Target(provider=HERE.provider, model="m", effort="high", facts=facts)
    thought = b'{"type":"thinking","thinking":"so","signature":"' + OTHER + b'"}'
    use = b'{"type":"tool_use","id":"t","name":"f","input":{}}'
    result = b'{"role":"user","content":[{"type":"tool_result","tool_use_id":"t"}]}'
    head = b'{"model":"m","max_tokens":64000,"messages":['
    body = (
        head + b'{"role":"assistant","content":[' + thought + b"," + use + b"]}," + result + b"]}"
    )
    written = write(ANTHROPIC_MESSAGES, body, target)
    assert written.body == head + b'{"role":"assistant","content":[' + use + b"]}," + result + b"]}"


# Responses


def test_items_of_reasoning_of_another_go() -> None:
    call = b'{"type":"function_call","call_id":"c","name":"f","arguments":"{ }","id":"fc_1_1"}'
    bare = b'{"type":"reasoning","id":"rs_1_2","summary":[]}'
    sealed = b'{"type":"reasoning","id":"rs_1_0","summary":[],"encrypted_content":"' + OTHER + b'"}'
    stored = b'{"type":"reasoning","id":"rs_68","summary":[]}'
    native = b'{"type":"reasoning","id":"rs_7_1","summary":[ ],"encrypted_content":"gAAAA"}'
    check(
        OPENAI_RESPONSES,
        USER + b", " + sealed + b"," + call + b"," + bare + b"," + stored + b"," + native,
        USER + b"," + call + b"," + stored + b"," + native,
    )


def test_an_item_of_the_targets_own_holds_what_it_made() -> None:
    def item(state: bytes) -> bytes:
        return b'{"type":"reasoning","summary":[ ],"encrypted_content":"' + state + b'"}'

    own = [mine(OPENAI_RESPONSES), mine(OPENAI_RESPONSES, "redacted:c3RhdGU=")]
    kept(OPENAI_RESPONSES, b",".join(map(item, own)), b",".join([item(b"c3RhdGU=")] * 2))


@pytest.mark.parametrize("state", ['call:[\\"c\\",\\"s\\"]', ""])
def test_an_item_that_is_no_state_of_this_dialect_goes(state: str) -> None:
    own = mine(OPENAI_RESPONSES, state)
    check(
        OPENAI_RESPONSES, USER + b',{"type":"reasoning","encrypted_content":"' + own + b'"}', USER
    )


def test_input_that_is_text_stays() -> None:
    body = b'{"model":"m","input":"tg1.0.state"}'
    assert write(OPENAI_RESPONSES, body).body is body
    body = b'{"model":"m","previous_response_id":"tg1.0.state"}'
    assert write(OPENAI_RESPONSES, body).body is body
    kept(
        OPENAI_RESPONSES,
        b'{"role":"user","content":"tg1.0.state","encrypted_content":"tg1.0.state"}',
    )


# Gemini


def sealed(state: bytes, before: bytes = b"") -> bytes:
    return base64.urlsafe_b64encode(before + state)


def test_signatures_of_another_go_and_thoughts_with_them() -> None:
    slot = b'"thoughtSignature":"' + sealed(OTHER) + b'"'
    redacted = b'"thought_signature":"' + sealed(OTHER, b"r:") + b'"'
    text = b'{"text":"a\\u00e9"}'
    user = b'{"role":"user","parts":[{"text" : "hi"}]}'
    check(
        GEMINI,
        user
        + b',{"role":"model","parts":[{"text":"so","thought":true}]},{"role":"model","parts":[{"thought":true,' + slot
        + b"}," + text + b',{"text":"b",' + slot + b'},{"text":"",' + redacted + b'},{"functionCall":{"name":"f"},'
        + slot + b'},{"functionCall":{"name":"g"},' + slot + b'},{"functionCall":{"name":"h"}}]},' + user,
        user + b',{"role":"model","parts":[' + text + b',{"text":"b"},{"functionCall":{"name":"f"},'
        b'"thoughtSignature":"skip_thought_signature_validator"},{"functionCall":{"name":"g"}},'
        b'{"functionCall":{"name":"h"}}]},' + user,
    )  # fmt: skip


def test_a_call_that_nobody_signed_is_signed_beside_a_label() -> None:
    """Claude's state belongs to its thought, and Gemini 3 wants one for the call."""
    slot = b'"thoughtSignature":"' + sealed(OTHER) + b'"'
    parts = b'{"role":"model","parts":[%b{"functionCall":{"name":"f"}%b}]}'
    skip = b',"thoughtSignature":"skip_thought_signature_validator"'
    before = parts % (b'{"thought":true,' + slot + b"},", b"")
    check(GEMINI, before, parts % (b"", skip))
    check(GEMINI, before, parts % (b"", b""), OLD)
    check(GEMINI, parts % (b"", b"," + slot), parts % (b"", b""), OLD)


def test_a_call_whose_maker_had_no_state_loses_none() -> None:
    """The model does not reason: nothing is lost, and Gemini 3 gets the signature that it wants."""
    slot = b',"thoughtSignature":"' + sealed(write_label("0123456789abcdef", "").encode()) + b'"'
    skip = b',"thoughtSignature":"skip_thought_signature_validator"'
    parts = b'{"role":"model","parts":[{"text":"a"},{"functionCall":{"name":"f"}%b},{"functionCall":{"name":"g"}%b}]}'
    kept(GEMINI, parts % (slot, slot), parts % (skip, b""))
    written = write(GEMINI, whole(GEMINI, parts % (slot, slot)), OLD)
    assert (written.body, written.losses) == (whole(GEMINI, parts % (b"", b"")), ())
    thought = (
        b'{"role":"model","parts":[{"text":"so","thought":true},{"thought":true%b},{"text":"a"}]}'
    )
    check(GEMINI, thought % slot, b'{"role":"model","parts":[{"text":"a"}]}')


def test_the_targets_own_signature_is_written_as_it_made_it() -> None:
    part = b'{"role":"model","parts":{"functionCall":{"name":"f"},"thoughtSignature":"%b"}}'
    kept(GEMINI, part % sealed(mine(GEMINI)), part % b"c3RhdGU=")


def test_native_signatures_and_thoughts_stay() -> None:
    native = b'{"role":"model","parts":[{"text":"so","thought":true},{"text":"a","thoughtSignature":"c3RhdGU="}]}'
    kept(GEMINI, native + b',{"role":"user","parts":[{"text":"tg1.0.state"}]}')
    slot = b'"thoughtSignature":"' + sealed(OTHER) + b'"'
    user = b'{"role":"user","parts":[{"text":"hi"}]}'
    ours = b'{"role":"model","parts":[{"text":"a",%b},{"text":"b","thoughtSignature":"c3RhdGU="}]}'
    check(
        GEMINI,
        native + b"," + user + b"," + ours % slot,
        native + b"," + user + b"," + (ours % slot).replace(b"," + slot, b""),
    )
    kept(GEMINI, b'{"role":"model","parts":[1,{"text":"dGcxL"}]}')


# Chat Completions


def test_blocks_of_another_go_and_the_message_stays() -> None:
    ours = b'{"type":"reasoning.encrypted","data":"' + OTHER + b'","index":0,"chars":2}'
    theirs = b'{"type" : "reasoning.text","text":"x"}'
    message = b'{"role":"assistant","content":"a\\u00e9","reasoning_content":"so"'
    check(
        OPENAI_CHAT,
        USER + b"," + message + b',"reasoning_details":[' + ours + b"]}," + USER,
        USER + b"," + message + b"}," + USER,
    )
    check(
        OPENAI_CHAT,
        USER + b"," + message + b',"reasoning_details":[1,' + ours + b"," + theirs + b"]}",
        USER + b"," + message + b',"reasoning_details":[1,' + theirs + b"]}",
    )


def test_blocks_of_the_targets_own_are_those_that_it_made() -> None:
    own = mine(OPENAI_CHAT, '[{\\"data\\":\\"x\\",\\"index\\":0},{\\"text\\":\\"y\\"}]')
    message = b'{"role":"assistant","content":"a","reasoning_details":[%b]}'
    kept(
        OPENAI_CHAT,
        message % (b'{"type":"reasoning.encrypted","data":"' + own + b'"}'),
        message % b'{"data":"x","index":0},{"text":"y"}',
    )


@pytest.mark.parametrize("state", ["reasoning_content", "{}"])
def test_a_state_that_is_no_block_leaves_none(state: str) -> None:
    """The text of the state stands in its own member."""
    message = b'{"role":"assistant","content":"a","reasoning_content":"so"'
    block = b'{"type":"reasoning.encrypted","data":"' + mine(OPENAI_CHAT, state) + b'"}'
    check(OPENAI_CHAT, message + b',"reasoning_details":[' + block + b"]}", message + b"}")


def test_a_list_that_is_none_stays() -> None:
    kept(OPENAI_CHAT, b'{"role":"user","content":"tg1.0.s","reasoning_details":"tg1.0.s"}')
    kept(OPENAI_CHAT, b'{"role":"user","content":"tg1.0.s"}')


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
def test_a_name_that_stands_twice_is_the_last(dialect: Dialect) -> None:
    body = whole(dialect, b"").replace(b"[]}", b"[],") + b'"x":"tg1.0.s","x":1}'
    assert b"tg1" not in write(dialect, body).body


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
def test_a_body_without_a_label_is_the_clients_own(dialect: Dialect) -> None:
    item = b'{"role":"user","parts":[{"text":"a"}],"content":"a"}'
    kept(dialect, item)
