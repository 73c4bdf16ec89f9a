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
WHY = "only the model that wrote reasoning can read it"


def label_own(dialect: Dialect, state: str = "c3RhdGU=") -> bytes:
    return write_label(hash_maker(HERE, dialect.name), state).encode()


def write(dialect: Dialect, body: bytes, target: Target = HERE) -> WrittenBody:
    reading: Any = dialect.read
    path = ["models/m:generateContent"] if dialect is GEMINI else []
    return dialect.write(reading(body, *path), target)


def make_body(dialect: Dialect, inner: bytes) -> bytes:
    """Make a request with messages, items or contents as they stand."""
    head = {
        "openai-chat": b'{"model":"m","n":1.0,"messages":[',
        "anthropic-messages": b'{"model":"m","max_tokens":9,"top_p":0.50,"messages":[',
        "openai-responses": b'{"model":"m","top_p":0.50,"input":[',
        "gemini": b'{"labels":{"a" : "b"},"contents":[',
    }
    return head[dialect.name] + inner + b"]}"


def check_removal(dialect: Dialect, before: bytes, after: bytes, target: Target = HERE) -> None:
    """Assert what the gateway sends, and that it names the state that it removed."""
    written = write(dialect, make_body(dialect, before), target)
    assert written.body == make_body(dialect, after)
    member = {"openai-responses": "input", "gemini": "contents"}.get(dialect.name, "messages")
    assert written.losses == (Loss(f"{member}.reasoning", "dropped", WHY),)


def check_without_loss(dialect: Dialect, before: bytes, after: bytes | None = None) -> None:
    """Assert what the gateway sends, without a loss; the same bytes if nothing changes."""
    body = make_body(dialect, before)
    written = write(dialect, body)
    assert written.losses == ()
    if after is None:
        assert written.body is body
    else:
        assert written.body == make_body(dialect, after)


USER = b'{"role":"user","content":"hi \\u00e9 1.50"}'


# Messages


def test_reasoning_of_another_model_is_removed_and_all_else_keeps_its_bytes() -> None:
    text = b'{"type" : "text", "text":"a\\u00e9"}'
    check_removal(
        ANTHROPIC_MESSAGES,
        USER + b', {"role" : "assistant","content":[{"type":"thinking","thinking":"so","signature":"' + OTHER
        + b'"},' + text + b',{"type":"redacted_thinking","data":"' + OTHER + b'"}]} ,' + USER,
        USER + b',{"role":"assistant","content":[' + text + b"]}," + USER,
    )  # fmt: skip


def test_a_message_with_only_foreign_reasoning_is_removed() -> None:
    thought = b'{"type":"thinking","thinking":"so","signature":"' + OTHER + b'"}'
    check_removal(
        ANTHROPIC_MESSAGES,
        USER + b',{"role":"assistant","content":[' + thought + b"]}",
        USER,
    )


def test_a_request_with_only_such_messages_keeps_an_empty_list() -> None:
    thought = b'{"type":"thinking","thinking":"so","signature":"' + OTHER + b'"}'
    check_removal(ANTHROPIC_MESSAGES, b'{"role":"assistant","content":[' + thought + b"]}", b"")


def test_unsigned_thinking_beside_a_label_is_removed() -> None:
    """Gemini's summaries come like this: without a signature, and with one tied to a call."""
    use = b'{"type":"tool_use","id":"t","name":"f","input":{ }}'
    tied = write_label("0123456789abcdef", "tool:t:c3RhdGU=").encode()
    check_removal(
        ANTHROPIC_MESSAGES,
        USER + b',{"role":"assistant","content":[{"type":"thinking","thinking":"so","signature":""},'
        + use + b',{"type":"thinking","thinking":"","signature":"' + tied + b'"}]}',
        USER + b',{"role":"assistant","content":[' + use + b"]}",
    )  # fmt: skip


def test_unsigned_thinking_of_a_native_host_stays() -> None:
    unsigned = (
        b'{"role":"assistant","content":[{"type":"thinking","thinking":"so","signature":""}]}'
    )
    check_without_loss(ANTHROPIC_MESSAGES, USER + b"," + unsigned)
    thought = b'{"type":"thinking","thinking":"so","signature":"' + OTHER + b'"}'
    check_removal(
        ANTHROPIC_MESSAGES,
        unsigned + b',{"role":"assistant","content":[' + thought + b"]}",
        unsigned,
    )


@pytest.mark.parametrize("dialect", [ANTHROPIC_MESSAGES, OPENAI_RESPONSES])
def test_labelled_thinking_without_a_state_is_removed(dialect: Dialect) -> None:
    """The label alone names another dialect as its maker: a native provider would refuse it."""
    for slot in (write_label("0123456789abcdef", "").encode(), label_own(dialect, "")):
        thought = b'{"role":"assistant","content":[{"type":"thinking","thinking":"so","signature":"%b"}]}'  # fmt: skip
        if dialect is OPENAI_RESPONSES:
            thought = b'{"type":"reasoning","id":"rs_1_0","summary":[{"type":"summary_text","text":"so"}],"encrypted_content":"%b"}'  # fmt: skip
        check_removal(dialect, USER + b"," + thought % slot, USER)


def test_the_targets_own_state_is_sent_without_its_label() -> None:
    def message(signature: bytes, data: bytes) -> bytes:
        return (
            USER + b',{"role":"assistant","content":[{"type":"thinking","thinking":"so","signature":"'
            + signature + b'"},{"type":"redacted_thinking","data":"' + data + b'"}]}'
        )  # fmt: skip

    own = label_own(ANTHROPIC_MESSAGES)
    check_without_loss(ANTHROPIC_MESSAGES, message(own, own), message(b"c3RhdGU=", b"c3RhdGU="))


def test_a_state_tied_to_a_call_is_removed_for_messages() -> None:
    own = label_own(ANTHROPIC_MESSAGES, "tool:t:c3RhdGU=")
    use = b'{"type":"tool_use","id":"t","name":"f","input":{}}'
    thought = b'{"type":"thinking","thinking":"","signature":"' + own + b'"}'
    check_removal(
        ANTHROPIC_MESSAGES,
        b'{"role":"assistant","content":[' + use + b"," + thought + b"]}",
        b'{"role":"assistant","content":[' + use + b"]}",
    )


def test_a_state_that_the_same_model_made_in_another_dialect_is_removed() -> None:
    thought = (
        b'{"type":"thinking","thinking":"so","signature":"' + label_own(OPENAI_RESPONSES) + b'"}'
    )
    check_removal(
        ANTHROPIC_MESSAGES, USER + b',{"role":"assistant","content":[' + thought + b"]}", USER
    )


@pytest.mark.parametrize(
    "content",
    [b'"tg1.0.state"', b'[{"type":"text","text":"tg1.0.state"}]', b'["tg1.0.state",1]', b'{"a":"tg1.0.x"}',
     b'[{"type":["thinking"],"signature":"tg1.0.x"}]', b'[{"type":"thinking","thinking":"tg1.","signature":1}]',
     b'[{"type":"thinking","thinking":"","signature":"tg1."}]'],
)  # fmt: skip
def test_text_that_only_looks_like_a_label_stays(content: bytes) -> None:
    check_without_loss(ANTHROPIC_MESSAGES, b'{"role":"user","content":' + content + b"}")


def test_a_token_count_leaves_out_foreign_reasoning_too() -> None:
    body = b'{"model":"m","messages":[{"role":"assistant","content":[{"type":"thinking","thinking":"a","signature":"' + OTHER + b'"},{"type":"text","text":"a"}]}]}'  # fmt: skip
    written = COUNT_TOKENS.write(COUNT_TOKENS.read(body), HERE)
    assert written.body == (
        b'{"model":"m","messages":[{"role":"assistant","content":[{"type":"text","text":"a"}]}]}'
    )


def test_no_thinking_budget_is_sent_for_a_turn_whose_thinking_was_removed() -> None:
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


def test_foreign_reasoning_items_are_removed() -> None:
    call = b'{"type":"function_call","call_id":"c","name":"f","arguments":"{ }","id":"fc_1_1"}'
    bare = b'{"type":"reasoning","id":"rs_1_2","summary":[]}'
    sealed = b'{"type":"reasoning","id":"rs_1_0","summary":[],"encrypted_content":"' + OTHER + b'"}'
    stored = b'{"type":"reasoning","id":"rs_68","summary":[]}'
    native = b'{"type":"reasoning","id":"rs_7_1","summary":[ ],"encrypted_content":"gAAAA"}'
    check_removal(
        OPENAI_RESPONSES,
        USER + b", " + sealed + b"," + call + b"," + bare + b"," + stored + b"," + native,
        USER + b"," + call + b"," + stored + b"," + native,
    )


def test_the_targets_own_reasoning_item_is_sent_without_its_label() -> None:
    def item(state: bytes) -> bytes:
        return b'{"type":"reasoning","summary":[ ],"encrypted_content":"' + state + b'"}'

    own = [label_own(OPENAI_RESPONSES), label_own(OPENAI_RESPONSES, "redacted:c3RhdGU=")]
    check_without_loss(
        OPENAI_RESPONSES, b",".join(map(item, own)), b",".join([item(b"c3RhdGU=")] * 2)
    )


@pytest.mark.parametrize("state", ['call:[\\"c\\",\\"s\\"]', ""])
def test_a_reasoning_item_without_a_state_of_this_dialect_is_removed(state: str) -> None:
    own = label_own(OPENAI_RESPONSES, state)
    check_removal(
        OPENAI_RESPONSES, USER + b',{"type":"reasoning","encrypted_content":"' + own + b'"}', USER
    )


def test_text_and_ids_of_responses_that_look_like_a_label_stay() -> None:
    body = b'{"model":"m","input":"tg1.0.state"}'
    assert write(OPENAI_RESPONSES, body).body is body
    body = b'{"model":"m","previous_response_id":"tg1.0.state"}'
    assert write(OPENAI_RESPONSES, body).body is body
    check_without_loss(
        OPENAI_RESPONSES,
        b'{"role":"user","content":"tg1.0.state","encrypted_content":"tg1.0.state"}',
    )


# Gemini


def encode_signature(state: bytes, before: bytes = b"") -> bytes:
    return base64.urlsafe_b64encode(before + state)


def test_foreign_signatures_are_removed_with_their_thoughts() -> None:
    slot = b'"thoughtSignature":"' + encode_signature(OTHER) + b'"'
    redacted = b'"thought_signature":"' + encode_signature(OTHER, b"r:") + b'"'
    text = b'{"text":"a\\u00e9"}'
    user = b'{"role":"user","parts":[{"text" : "hi"}]}'
    check_removal(
        GEMINI,
        user
        + b',{"role":"model","parts":[{"text":"so","thought":true}]},{"role":"model","parts":[{"thought":true,' + slot
        + b"}," + text + b',{"text":"b",' + slot + b'},{"text":"",' + redacted + b'},{"functionCall":{"name":"f"},'
        + slot + b'},{"functionCall":{"name":"g"},' + slot + b'},{"functionCall":{"name":"h"}}]},' + user,
        user + b',{"role":"model","parts":[' + text + b',{"text":"b"},{"functionCall":{"name":"f"},'
        b'"thoughtSignature":"skip_thought_signature_validator"},{"functionCall":{"name":"g"}},'
        b'{"functionCall":{"name":"h"}}]},' + user,
    )  # fmt: skip


def test_an_unsigned_call_beside_a_label_gets_a_placeholder_signature() -> None:
    """Claude's state belongs to its thought, and Gemini 3 wants one for the call."""
    slot = b'"thoughtSignature":"' + encode_signature(OTHER) + b'"'
    parts = b'{"role":"model","parts":[%b{"functionCall":{"name":"f"}%b}]}'
    skip = b',"thoughtSignature":"skip_thought_signature_validator"'
    before = parts % (b'{"thought":true,' + slot + b"},", b"")
    check_removal(GEMINI, before, parts % (b"", skip))
    check_removal(GEMINI, before, parts % (b"", b""), OLD)
    check_removal(GEMINI, parts % (b"", b"," + slot), parts % (b"", b""), OLD)


def test_a_call_whose_maker_had_no_state_gets_a_placeholder_without_a_loss() -> None:
    """The model does not reason: nothing is lost, and Gemini 3 gets the signature that it wants."""
    slot = (
        b',"thoughtSignature":"'
        + encode_signature(write_label("0123456789abcdef", "").encode())
        + b'"'
    )
    skip = b',"thoughtSignature":"skip_thought_signature_validator"'
    parts = b'{"role":"model","parts":[{"text":"a"},{"functionCall":{"name":"f"}%b},{"functionCall":{"name":"g"}%b}]}'
    check_without_loss(GEMINI, parts % (slot, slot), parts % (skip, b""))
    written = write(GEMINI, make_body(GEMINI, parts % (slot, slot)), OLD)
    assert (written.body, written.losses) == (make_body(GEMINI, parts % (b"", b"")), ())
    thought = (
        b'{"role":"model","parts":[{"text":"so","thought":true},{"thought":true%b},{"text":"a"}]}'
    )
    check_removal(GEMINI, thought % slot, b'{"role":"model","parts":[{"text":"a"}]}')


def test_the_targets_own_signature_is_sent_without_its_label() -> None:
    part = b'{"role":"model","parts":{"functionCall":{"name":"f"},"thoughtSignature":"%b"}}'
    check_without_loss(GEMINI, part % encode_signature(label_own(GEMINI)), part % b"c3RhdGU=")


def test_native_signatures_and_thoughts_stay() -> None:
    native = b'{"role":"model","parts":[{"text":"so","thought":true},{"text":"a","thoughtSignature":"c3RhdGU="}]}'
    check_without_loss(GEMINI, native + b',{"role":"user","parts":[{"text":"tg1.0.state"}]}')
    slot = b'"thoughtSignature":"' + encode_signature(OTHER) + b'"'
    user = b'{"role":"user","parts":[{"text":"hi"}]}'
    ours = b'{"role":"model","parts":[{"text":"a",%b},{"text":"b","thoughtSignature":"c3RhdGU="}]}'
    check_removal(
        GEMINI,
        native + b"," + user + b"," + ours % slot,
        native + b"," + user + b"," + (ours % slot).replace(b"," + slot, b""),
    )
    check_without_loss(GEMINI, b'{"role":"model","parts":[1,{"text":"dGcxL"}]}')


# Chat Completions


def test_foreign_reasoning_blocks_are_removed_and_the_message_stays() -> None:
    ours = b'{"type":"reasoning.encrypted","data":"' + OTHER + b'","index":0,"chars":2}'
    theirs = b'{"type" : "reasoning.text","text":"x"}'
    message = b'{"role":"assistant","content":"a\\u00e9","reasoning_content":"so"'
    check_removal(
        OPENAI_CHAT,
        USER + b"," + message + b',"reasoning_details":[' + ours + b"]}," + USER,
        USER + b"," + message + b"}," + USER,
    )
    check_removal(
        OPENAI_CHAT,
        USER + b"," + message + b',"reasoning_details":[1,' + ours + b"," + theirs + b"]}",
        USER + b"," + message + b',"reasoning_details":[1,' + theirs + b"]}",
    )


def test_the_targets_own_reasoning_blocks_are_restored() -> None:
    own = label_own(OPENAI_CHAT, '[{\\"data\\":\\"x\\",\\"index\\":0},{\\"text\\":\\"y\\"}]')
    message = b'{"role":"assistant","content":"a","reasoning_details":[%b]}'
    check_without_loss(
        OPENAI_CHAT,
        message % (b'{"type":"reasoning.encrypted","data":"' + own + b'"}'),
        message % b'{"data":"x","index":0},{"text":"y"}',
    )


@pytest.mark.parametrize("state", ["reasoning_content", "{}"])
def test_a_state_that_is_no_block_leaves_no_block(state: str) -> None:
    """The text of the state stands in its own member."""
    message = b'{"role":"assistant","content":"a","reasoning_content":"so"'
    block = b'{"type":"reasoning.encrypted","data":"' + label_own(OPENAI_CHAT, state) + b'"}'
    check_removal(OPENAI_CHAT, message + b',"reasoning_details":[' + block + b"]}", message + b"}")


def test_a_list_with_a_label_in_plain_text_stays() -> None:
    check_without_loss(
        OPENAI_CHAT, b'{"role":"user","content":"tg1.0.s","reasoning_details":"tg1.0.s"}'
    )
    check_without_loss(OPENAI_CHAT, b'{"role":"user","content":"tg1.0.s"}')


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
def test_only_the_last_of_repeated_members_with_a_label_is_sent(dialect: Dialect) -> None:
    body = make_body(dialect, b"").replace(b"[]}", b"[],") + b'"x":"tg1.0.s","x":1}'
    assert b"tg1" not in write(dialect, body).body


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS)
def test_a_body_without_a_label_keeps_its_bytes(dialect: Dialect) -> None:
    item = b'{"role":"user","parts":[{"text":"a"}],"content":"a"}'
    check_without_loss(dialect, item)
