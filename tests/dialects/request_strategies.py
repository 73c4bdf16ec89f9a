"""Generated requests of every dialect, each with any of the members that the dialect has."""

import json
from typing import Any

from hypothesis import strategies as st

from gateway.core.canonical_request import CanonicalRequest
from gateway.dialects import DIALECTS, RequestBody, translation

type Object = dict[str, Any]
type Made = st.SearchStrategy[Object]

WORDS = st.text(alphabet="ab \n\u00e9\u4e16\U0001f600", min_size=1, max_size=6).filter(str.strip)
PNG = "iVBORw0KGgo="
PDF = "JVBERi0xLjQ="
URL = "https://example.com/a"
SCHEMA: Object = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
SCHEMAS = st.sampled_from([SCHEMA, {"type": "object", "properties": {}}])
HEAT = st.sampled_from([0, 0.5, 1, 1.5])
COUNT = st.integers(1, 40)
CAP = st.sampled_from([1, 16, 4000, 64_000])
EFFORT = st.sampled_from(["none", "minimal", "low", "medium", "high", "xhigh", "max"])
FLAG = st.booleans()
DETAIL = st.sampled_from(["auto", "low", "high"])
STRANGE = st.sampled_from([1, "x", [], {"a": 1}])


def some(**members: Any) -> Made:
    """Draw an object with any of these members."""
    return st.fixed_dictionaries({}, optional=members)


def all_of(more: Made | None = None, /, **members: Any) -> Made:
    """Draw an object with all of these members, constants as they are, and `more`."""
    fixed = {
        name: member if isinstance(member, st.SearchStrategy) else st.just(member)
        for name, member in members.items()
    }
    members_ = st.fixed_dictionaries(fixed)
    return (
        members_
        if more is None
        else st.builds(lambda first, second: {**first, **second}, members_, more)
    )


CACHE = st.sampled_from([{"type": "ephemeral"}, {"type": "ephemeral", "ttl": "1h"}])

# Chat Completions

_CHAT_TEXT = all_of(some(prompt_cache_breakpoint=st.just({"ttl": "30m"})), type="text", text=WORDS)
_CHAT_MEDIA = st.one_of(
    all_of(
        type="image_url",
        image_url=all_of(
            some(detail=DETAIL), url=st.sampled_from([URL, f"data:image/png;base64,{PNG}"])
        ),
    ),
    all_of(
        type="file",
        file=st.one_of(
            all_of(file_data=f"data:application/pdf;base64,{PDF}", filename="a.pdf"),
            all_of(file_data="data:text/plain;base64,aGk=", filename="a.txt"),
            all_of(file_id="file-1"),
        ),
    ),
    all_of(
        type="input_audio", input_audio=all_of(data=st.sampled_from(["aGk=", URL]), format="wav")
    ),
    all_of(type="video_url", video_url=all_of(url=URL)),
    all_of(type="odd", odd=1),
)
_CHAT_PARTS = st.lists(st.one_of(_CHAT_TEXT, _CHAT_TEXT, _CHAT_MEDIA), min_size=1, max_size=3)
_CHAT_USER = all_of(some(name=st.just("ann")), role="user", content=WORDS | _CHAT_PARTS)
_CHAT_SYSTEM = all_of(role=st.sampled_from(["system", "developer"]), content=WORDS)
_CHAT_MADE = all_of(
    some(
        reasoning_content=WORDS,
        refusal=WORDS,
        name=st.just("bob"),
        reasoning_details=st.just([{"type": "reasoning.encrypted", "data": "c3Q="}]),
    ),
    role="assistant",
    content=WORDS,
)
_CHAT_LOOP = st.builds(
    lambda custom, arguments, result, text: [
        {
            "role": "assistant",
            "content": text,
            "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": arguments}}
                if not custom
                else {"id": "c1", "type": "custom", "custom": {"name": "f", "input": arguments}}
            ],
        },
        {"role": "tool", "tool_call_id": "c1", "content": result},
    ],
    FLAG,
    st.sampled_from(["{}", '{"a":"b"}', "", "words"]),
    WORDS | st.lists(_CHAT_TEXT, min_size=1, max_size=2),
    st.none() | WORDS,
)
_CHAT_TURNS = st.lists(
    st.one_of(_CHAT_USER.map(lambda drawn: [drawn]), _CHAT_MADE.map(lambda drawn: [drawn]), _CHAT_LOOP,
              _CHAT_SYSTEM.map(lambda drawn: [drawn])),
    max_size=4,
).map(lambda lists: [drawn for them in lists for drawn in them])  # fmt: skip
_CHAT_TOOLS = st.lists(
    st.one_of(
        all_of(
            some(cache_control=CACHE),
            type="function",
            function=all_of(some(description=WORDS, parameters=SCHEMAS, strict=FLAG), name="f"),
        ),
        all_of(
            type="custom",
            custom=all_of(
                some(
                    description=WORDS,
                    format=st.sampled_from([{"type": "text"}, {"type": "grammar", "grammar": {"syntax": "lark", "definition": "a"}}]),
                ),
                name="g",
            ),
        ),
        all_of(type="odd"),
    ),
    min_size=1,
    max_size=2,
    unique_by=lambda drawn: drawn["type"],
)  # fmt: skip
_NAMED = {"type": "function", "function": {"name": "f"}}
CHAT = st.builds(
    lambda before, last, more, effort, tools: {
        "model": "m",
        "messages": [*before, last],
        **more,
        **effort,
        **tools,
    },
    _CHAT_TURNS,
    _CHAT_USER,
    some(
        max_completion_tokens=CAP, max_tokens=CAP, stop=st.sampled_from(["a", ["a", "b"]]),
        temperature=HEAT, top_p=HEAT, top_k=COUNT, presence_penalty=HEAT, frequency_penalty=HEAT,
        seed=COUNT, n=st.integers(1, 2), logit_bias=st.just({"1": 2}), logprobs=FLAG,
        top_logprobs=COUNT, verbosity=st.just("low"),
        service_tier=st.sampled_from(["default", "flex", "priority"]), user=st.just("ann"),
        safety_identifier=st.just("bob"), metadata=st.just({"a": "b"}), prompt_cache_key=st.just("k"),
        response_format=st.one_of(
            all_of(type=st.sampled_from(["json_object", "text", "odd"])),
            all_of(type="json_schema", json_schema=all_of(some(description=WORDS, strict=FLAG), name="n", schema=SCHEMAS)),
        ),
        stream=FLAG, stream_options=st.just({"include_usage": True}), store=FLAG,
        audio=st.just({}), modalities=st.sampled_from([["text"], ["text", "audio"]]),
        web_search_options=st.just({}), plugins=st.just([]), odd=STRANGE,
    ),
    st.one_of(
        some(reasoning_effort=EFFORT),
        all_of(thinking=st.sampled_from([{"type": "disabled"}, {"type": "enabled", "budget_tokens": 2000, "clear_thinking": True}])),
        all_of(reasoning=some(effort=EFFORT, max_tokens=COUNT, exclude=FLAG, odd=STRANGE)),
    ),
    some(tools=_CHAT_TOOLS, tool_choice=st.sampled_from(["auto", "none", "required", _NAMED, 5, {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [_NAMED]}}]), parallel_tool_calls=FLAG).filter(
        lambda drawn: "tools" in drawn or not drawn
    ),
)  # fmt: skip

# Messages

_MARK = some(cache_control=CACHE)
_AM_TEXT = all_of(some(cache_control=CACHE, citations=st.just([{"type": "char_location"}])), type="text", text=WORDS)  # fmt: skip
_AM_MEDIA = st.one_of(
    all_of(
        _MARK,
        type="image",
        source=st.sampled_from(
            [
                {"type": "base64", "media_type": "image/png", "data": PNG},
                {"type": "url", "url": URL},
                {"type": "file", "file_id": "file_1"},
            ]
        ),
    ),
    all_of(
        some(
            cache_control=CACHE,
            title=st.just("t"),
            context=st.just("c"),
            citations=st.sampled_from([{"enabled": True}, {"enabled": False}]),
        ),
        type="document",
        source=st.sampled_from(
            [
                {"type": "base64", "media_type": "application/pdf", "data": PDF},
                {"type": "text", "media_type": "text/plain", "data": "hi"},
                {"type": "url", "url": URL},
                {"type": "content", "content": "hi"},
            ]
        ),
    ),
    all_of(type="container_upload", file_id="file_1"),
)
_AM_PARTS = st.lists(st.one_of(_AM_TEXT, _AM_MEDIA), min_size=1, max_size=3)
_AM_USER = all_of(role="user", content=WORDS | _AM_PARTS)
_AM_MADE = all_of(
    role="assistant",
    content=st.lists(
        st.one_of(
            _AM_TEXT,
            all_of(type="thinking", thinking=WORDS, signature="c2ln"),
            all_of(type="redacted_thinking", data="c2ln"),
        ),
        min_size=1,
        max_size=3,
    ),
)
_AM_LOOP = st.builds(
    lambda given, result: [
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "f", "input": given}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", **result}]},
    ],
    st.sampled_from([{}, {"a": "b"}]),
    some(content=WORDS | _AM_PARTS, is_error=FLAG, cache_control=CACHE),
)  # fmt: skip
MESSAGES = st.builds(
    lambda before, last, more, tools: {
        "model": "m",
        "max_tokens": 4000,
        "messages": [*[drawn for them in before for drawn in them], last],
        **more,
        **tools,
    },
    st.lists(st.one_of(_AM_USER.map(lambda drawn: [drawn]), _AM_MADE.map(lambda drawn: [drawn]), _AM_LOOP), max_size=4),
    _AM_USER,
    some(
        max_tokens=CAP, system=WORDS | st.lists(_AM_TEXT, min_size=1, max_size=2),
        stop_sequences=st.just(["a", "b"]), temperature=HEAT, top_p=HEAT, top_k=COUNT,
        thinking=st.one_of(
            all_of(some(display=st.sampled_from(["summarized", "omitted"])), type="enabled", budget_tokens=st.just(2000)),
            all_of(some(display=st.sampled_from(["summarized", "omitted"])), type=st.sampled_from(["adaptive", "disabled", "odd"])),
        ),
        output_config=some(effort=EFFORT, format=st.sampled_from([{"type": "json_schema", "schema": SCHEMA}, {"type": "odd"}]), odd=STRANGE),
        output_format=st.just({"type": "json_schema", "schema": SCHEMA}),
        metadata=some(user_id=st.just("ann"), odd=st.just("x")), service_tier=st.sampled_from(["auto", "standard_only"]),
        stream=FLAG, container=st.just("c"), thread=st.sampled_from([{}, {"type": "create"}]), inference_geo=st.just("us"),
        mcp_servers=st.just([{}]), context_management=st.just({}), odd=STRANGE,
    ),
    some(
        tools=st.lists(
            st.one_of(
                all_of(
                    some(description=WORDS, strict=FLAG, cache_control=CACHE, input_examples=st.just([{}]), defer_loading=FLAG),
                    name="f", input_schema=SCHEMAS,
                ),
                all_of(type="web_search_20260101", name="web_search"),
            ),
            min_size=1, max_size=2, unique_by=lambda drawn: drawn["name"],
        ),
        tool_choice=st.one_of(
            all_of(some(disable_parallel_tool_use=FLAG), type=st.sampled_from(["auto", "any", "none"])),
            all_of(type="tool", name="f"),
        ),
    ).filter(lambda drawn: "tools" in drawn or not drawn),
)  # fmt: skip

# Responses

_RS_MARK = some(prompt_cache_breakpoint=st.just({"ttl": "12h"}))
_RS_TEXT = all_of(_RS_MARK, type="input_text", text=WORDS)
_RS_MEDIA = st.one_of(
    all_of(some(detail=DETAIL), type="input_image", image_url=st.sampled_from([URL, f"data:image/png;base64,{PNG}"])),
    all_of(type="input_image", file_id="file-1"),
    all_of(type="input_file", filename="a.pdf", file_data=f"data:application/pdf;base64,{PDF}"),
    all_of(type="input_file", file_url=URL),
    all_of(type="input_file", file_id="file-1"),
    all_of(type="odd"),
)  # fmt: skip
_RS_PARTS = st.lists(st.one_of(_RS_TEXT, _RS_MEDIA), min_size=1, max_size=3)
_RS_USER = all_of(some(type=st.just("message")), role="user", content=WORDS | _RS_PARTS)
_RS_MADE = st.one_of(
    all_of(type="message", role="assistant", content=st.lists(all_of(type="output_text", text=WORDS), min_size=1, max_size=2)),
    all_of(type="message", role="assistant", content=st.just([{"type": "refusal", "refusal": "no"}])),
    all_of(some(encrypted_content=st.just("gAAA"), id=st.just("rs_1")), type="reasoning", summary=st.just([{"type": "summary_text", "text": "so"}])),
    all_of(some(action=st.just({"query": "q"})), type="web_search_call"),
    all_of(type="computer_call"),
    all_of(type="odd_call"),
)  # fmt: skip
_RS_LOOP = st.builds(
    lambda custom, given, output: [
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": given}
        if not custom
        else {"type": "custom_tool_call", "call_id": "c1", "name": "g", "input": given},
        {
            "type": "custom_tool_call_output" if custom else "function_call_output",
            "call_id": "c1",
            "output": output,
        },
    ],
    FLAG,
    st.sampled_from(["{}", '{"a":"b"}', "words"]),
    WORDS | _RS_PARTS,
)
RESPONSES = st.builds(
    lambda before, last, more, tools: {
        "model": "m",
        "input": [*[drawn for them in before for drawn in them], last],
        **more,
        **tools,
    },
    st.lists(
        st.one_of(
            _RS_USER.map(lambda drawn: [drawn]), _RS_MADE.map(lambda drawn: [drawn]), _RS_LOOP,
            all_of(role=st.sampled_from(["system", "developer"]), content=WORDS).map(lambda drawn: [drawn]),
        ),
        max_size=4,
    ),
    _RS_USER,
    some(
        instructions=WORDS, max_output_tokens=CAP, temperature=HEAT, top_p=HEAT,
        top_logprobs=COUNT, include=st.sampled_from([["message.output_text.logprobs"], ["reasoning.encrypted_content"], ["odd"]]),
        reasoning=some(effort=EFFORT, summary=st.just("auto"), mode=st.just("pro")),
        text=some(
            verbosity=st.just("low"),
            format=st.one_of(
                all_of(type=st.sampled_from(["json_object", "text", "odd"])),
                all_of(some(description=WORDS, strict=FLAG), type="json_schema", name="n", schema=SCHEMAS),
            ),
        ),
        service_tier=st.sampled_from(["auto", "default", "flex", "scale"]), metadata=st.just({"a": "b"}),
        safety_identifier=st.just("ann"), user=st.just("bob"), prompt_cache_key=st.just("k"), store=FLAG,
        previous_response_id=st.just("r"), conversation=st.just("c"), background=FLAG,
        truncation=st.sampled_from(["auto", "disabled"]), stream=FLAG, odd=STRANGE,
    ),
    some(
        tools=st.lists(
            st.one_of(
                all_of(some(description=WORDS, strict=FLAG), type="function", name="f", parameters=SCHEMAS),
                all_of(some(description=WORDS, format=st.just({"type": "grammar", "syntax": "lark", "definition": "a"})), type="custom", name="g"),
                all_of(type="web_search"),
            ),
            min_size=1, max_size=2, unique_by=lambda drawn: drawn["type"],
        ),
        tool_choice=st.sampled_from(["auto", "none", "required", {"type": "function", "name": "f"},
            {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]}]),
        parallel_tool_calls=FLAG,
    ).filter(lambda drawn: "tools" in drawn or not drawn),
)  # fmt: skip

# Gemini

_GM_MEDIA = st.one_of(
    all_of(inlineData=all_of(mimeType=st.sampled_from(["image/png", "audio/wav", "video/mp4", "application/pdf"]), data="aGk=")),
    all_of(some(mediaResolution=st.just({"level": "MEDIA_RESOLUTION_LOW"})), inlineData=all_of(mimeType="image/png", data="aGk=", displayName="a")),
    all_of(fileData=all_of(mimeType=st.sampled_from(["image/png", "audio/wav", "video/mp4", "application/pdf"]), fileUri=st.sampled_from([URL, "gs://a/b"]))),
    all_of(executableCode=st.just({"code": "1"})),
)  # fmt: skip
_GM_TEXT = all_of(text=WORDS)
_GM_USER = all_of(
    role="user", parts=st.lists(st.one_of(_GM_TEXT, _GM_MEDIA), min_size=1, max_size=3)
)
_GM_MADE = all_of(
    role="model",
    parts=st.lists(
        st.one_of(_GM_TEXT, _GM_MEDIA, all_of(text=WORDS, thought=True), all_of(text=WORDS, thoughtSignature="c2ln")),
        min_size=1, max_size=3,
    ),
)  # fmt: skip
_GM_LOOP = st.builds(
    lambda call, given, response, media: [
        {"role": "model", "parts": [{"functionCall": {"name": "f", "args": given, **call}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": response, **call, **media}}]},
    ],
    st.sampled_from([{}, {"id": "c1"}]),
    st.sampled_from([{}, {"a": "b"}]),
    st.sampled_from([{"output": "x"}, {"error": "x"}, {"a": 1}]),
    some(parts=st.just([{"inlineData": {"mimeType": "image/png", "data": "aGk="}}])),
)  # fmt: skip
_GM_CONFIG = some(
    maxOutputTokens=CAP, stopSequences=st.just(["a"]), temperature=HEAT, topP=HEAT, topK=COUNT,
    presencePenalty=HEAT, frequencyPenalty=HEAT, seed=COUNT, candidateCount=st.integers(1, 2),
    responseLogprobs=FLAG, logprobs=COUNT,
    thinkingConfig=some(thinkingLevel=st.sampled_from(["LOW", "HIGH"]), includeThoughts=FLAG)
    | some(thinkingBudget=st.sampled_from([0, -1, 2000]), includeThoughts=FLAG),
    responseMimeType=st.sampled_from(["application/json", "text/plain", "text/x.enum"]),
    responseJsonSchema=st.just(SCHEMA), responseModalities=st.sampled_from([["TEXT"], ["AUDIO"]]),
    speechConfig=st.just({}), imageConfig=st.just({}), mediaResolution=st.just("MEDIA_RESOLUTION_LOW"),
    odd=STRANGE,
)  # fmt: skip
GEMINI = st.builds(
    lambda before, last, more, tools: {
        "contents": [*[drawn for them in before for drawn in them], last],
        **more,
        **tools,
    },
    st.lists(st.one_of(_GM_USER.map(lambda drawn: [drawn]), _GM_MADE.map(lambda drawn: [drawn]), _GM_LOOP), max_size=4),
    _GM_USER,
    some(
        systemInstruction=all_of(parts=st.lists(_GM_TEXT, min_size=1, max_size=2)),
        generationConfig=_GM_CONFIG,
        labels=st.just({"a": "b"}), serviceTier=st.sampled_from(["flex", "standard", "priority"]),
        safetySettings=st.just([]), cachedContent=st.just("c"), continuation_token=st.just("c"), store=FLAG, odd=STRANGE,
    ),
    some(
        tools=st.lists(
            st.one_of(
                all_of(functionDeclarations=st.lists(all_of(some(description=WORDS, parametersJsonSchema=SCHEMAS, behavior=st.just("BLOCKING")), name="f"), min_size=1, max_size=1)),
                all_of(googleSearch=st.just({})),
            ),
            min_size=1, max_size=1,
        ),
        toolConfig=some(
            functionCallingConfig=all_of(some(allowedFunctionNames=st.just(["f", "g"])), mode=st.sampled_from(["AUTO", "ANY", "NONE", "VALIDATED"])),
            retrievalConfig=st.just({}),
        ),
    ).filter(lambda drawn: "tools" in drawn or not drawn),
)  # fmt: skip

ASKS = {
    "openai-chat": CHAT,
    "anthropic-messages": MESSAGES,
    "openai-responses": RESPONSES,
    "gemini": GEMINI,
}
"""Strategies by dialect."""


def read(dialect: str, value: Object) -> RequestBody:
    """Read a request as the gateway does."""
    dialect_ = DIALECTS[dialect]
    raw = json.dumps(value).encode()
    return (
        dialect_.read(raw)
        if dialect_.read_with_path is None
        else dialect_.read_with_path(raw, "models/m:generateContent")
    )


def decoded(dialect: str, value: Object) -> CanonicalRequest:
    """Decode a request, with the losses that it has in any other dialect."""
    return translation.decode_request(DIALECTS[dialect], read(dialect, value))
