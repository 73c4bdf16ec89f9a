"""A written body is read as routing sees it, and sent to the path of its model."""

import json
from typing import Any

import pytest

from gateway.core.prompt import Prompt
from gateway.core.target import ModelFacts, Target
from gateway.dialects import DIALECTS, TranslatableRequest, translation
from gateway.dialects.bedrock_converse import DIALECT
from gateway.dialects.bedrock_converse.model_families import find_family
from tests.dialects.cases import target

type Object = dict[str, Any]

NOVA, LLAMA = target("us.amazon.nova-micro-v1:0"), target("us.meta.llama3-3-70b-instruct-v1:0")
PNG, PDF = "iVBORw0KGgo=", "JVBERi0xLjQ="


def read(value: Object) -> Prompt:
    return DIALECT.read(json.dumps({"model": "m", **value}).encode()).prompt


def write(value: Object, to: Target) -> tuple[Object, str | None]:
    """Return the body and the path that a target gets."""
    body = DIALECT.read(json.dumps({"model": to.model, "messages": [], **value}).encode())
    written = DIALECT.write(body, to)
    return json.loads(written.body), written.url_suffix


def user(*blocks: Object) -> Object:
    return {"messages": [{"role": "user", "content": [*blocks]}]}


def test_the_facts_that_decide_about_a_target_are_read() -> None:
    image = {"image": {"format": "png", "source": {"bytes": PNG}}}
    document = {"document": {"format": "pdf", "name": "a", "source": {"bytes": PDF}}}
    spec = {"toolSpec": {"name": "f", "inputSchema": {"json": {}}}}
    value: Object = {
        "system": [{"text": "12345"}, {"cachePoint": {"type": "default"}}],
        "messages": [
            {"role": "user", "content": [{"text": "123"}, image, document]},
            {"role": "assistant", "content": [
                {"reasoningContent": {"reasoningText": {"text": "12"}}},
                {"toolUse": {"toolUseId": "a", "name": "f", "input": {"a": 1}}},
            ]},
            {"role": "user", "content": [{"toolResult": {"toolUseId": "a", "content": [{"text": "1"}, image]}}]},
        ],
        "toolConfig": {"tools": [spec], "toolChoice": {"any": {}}},
        "inferenceConfig": {"maxTokens": 9},
        "outputConfig": {},
        "stream": True,
    }  # fmt: skip
    prompt = read(value)
    assert (prompt.model, prompt.stream, prompt.max_output) == ("m", True, 9)
    assert prompt.chars == 5 + 3 + 2 + len('{"a":1}') + 1 + len(
        '[{"name":"f","inputSchema":{"json":{}}}]'
    )
    assert (prompt.tools, prompt.forced_tool, prompt.json_schema) == (("f",), True, True)
    assert (prompt.images, prompt.image_bytes) == (2, 2 * len(PNG))
    assert (prompt.files, prompt.is_unsized) == (1, True)
    assert prompt.members == {"model", *value}


def test_an_empty_body_says_nothing() -> None:
    assert read({"messages": 5, "system": "x", "toolConfig": []}).chars == 0
    assert read({"messages": []}).is_plain_text


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("us.amazon.nova-micro-v1:0", "/model/us.amazon.nova-micro-v1%3A0/converse"),
        (
            "arn:aws:bedrock:eu-west-1:123456789012:inference-profile/eu.amazon.nova-lite-v1:0",
            "/model/arn%3Aaws%3Abedrock%3Aeu-west-1%3A123456789012%3Ainference-profile%2Feu.amazon.nova-lite-v1%3A0/converse",
        ),
    ],
)
def test_the_path_has_the_model_in_percent_encoding(model: str, path: str) -> None:
    sent, suffix = write(user({"text": "hi"}), target(model))
    assert suffix == path
    assert sent == user({"text": "hi"})


def test_a_stream_has_a_path_of_its_own() -> None:
    assert write({"stream": True}, NOVA) == ({"messages": []}, "/model/us.amazon.nova-micro-v1%3A0/converse-stream")  # fmt: skip


def test_llama_streams_no_answer_to_a_request_with_tools() -> None:
    tools = {"toolConfig": {"tools": [{"toolSpec": {"name": "f"}}]}}
    for value, to, method in (
        ({"stream": True}, LLAMA, "converse-stream"),
        ({"stream": True, **tools}, LLAMA, "converse"),
        ({"stream": True, **tools}, NOVA, "converse-stream"),
    ):
        assert str(write(value, to)[1]).endswith(f"/{method}")


def test_members_that_a_model_refuses_are_dropped_by_the_clients_name() -> None:
    facts = ModelFacts(refused_members=frozenset({"serviceTier"}))
    chat = DIALECTS["openai-chat"]
    body = chat.read(
        b'{"model":"m","messages":[{"role":"user","content":"a"}],"service_tier":"flex"}'
    )
    to = target("amazon.nova", facts=facts)
    request = TranslatableRequest(chat, body).request
    written = translation.write_request(request, DIALECT, to)
    assert b"serviceTier" not in written.body
    assert [(loss.field, loss.action) for loss in written.losses] == [("service_tier", "dropped")]


def test_only_models_that_continue_an_answer_get_one_that_was_begun() -> None:
    begun = {"messages": [{"role": "assistant", "content": [{"text": "Sure:"}]}]}
    assert DIALECT.explain_unfit(read(begun), NOVA) == ""
    assert "began" in DIALECT.explain_unfit(read(begun), LLAMA)
    assert DIALECT.explain_unfit(read(user({"text": "a"})), LLAMA) == ""


@pytest.mark.parametrize(
    ("model", "is_nova", "is_llama"),
    [
        ("amazon.nova-pro-v1:0", True, False), ("global.amazon.nova-2-lite-v1:0", True, False),
        ("arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0", True, False),
        ("meta.llama3-1-8b-instruct-v1:0", False, True), ("eu.meta.llama3-2-1b-instruct-v1:0", False, True),
        ("mistral.mistral-large-2402-v1:0", False, False), ("my-amazon.novel", False, False), ("x", False, False),
    ],
)  # fmt: skip
def test_the_id_of_a_model_names_its_family(model: str, is_nova: bool, is_llama: bool) -> None:
    family = find_family(model)
    assert (family.takes_top_k, family.has_lone_results) == (is_nova, is_llama)
