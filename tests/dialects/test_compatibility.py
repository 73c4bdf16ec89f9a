"""Every field that a client sets is sent in the other dialect, or named as a loss."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.core import jsonio
from gateway.core.canonical_request import CanonicalRequest, Media, Text, ToolResult, ToolUse
from gateway.core.loss import Loss
from gateway.core.target import ModelFacts, Target
from gateway.dialects import DIALECTS, TARGET_OPERATIONS, compatibility, translation
from tests.dialects.bedrock_converse.read_back import read_back
from tests.dialects.cases import target
from tests.dialects.request_strategies import ASKS, Object, decoded

PAIRS = [(client, door) for client in DIALECTS for door in DIALECTS if client != door]
CONVERSE_MODELS = {
    "nova": target(
        "us.amazon.nova-2-lite-v1:0",
        facts=ModelFacts(effort_style="nova", efforts=("none", "low", "medium", "high")),
    ),
    "llama": target("us.meta.llama3-3-70b-instruct-v1:0"),
}
"""Models that take much of what Converse has, and little."""

_SETTINGS = (
    "max_output", "stop", "temperature", "top_p", "top_k", "presence_penalty", "frequency_penalty",
    "seed", "logit_bias", "logprobs", "top_logprobs", "verbosity", "effort", "budget",
    "thoughts_shown", "service_tier", "user", "metadata", "cache_key", "stream",
)  # fmt: skip
_UNTHOUGHT = {compatibility.MESSAGES: ("none", None)}
"""Efforts at which a model has no thoughts to show."""
_DEFAULTS: dict[str, tuple[Any, ...]] = {"service_tier": ("auto", "default"), "top_p": (1,)}
"""Values that equal the default."""


def list_set_values(request: CanonicalRequest) -> Iterator[tuple[str, Any, str]]:
    """List everything that a request sets: its kind, its value, and the client's name for it."""
    name = request.names.get
    for field in _SETTINGS:
        value = getattr(request, field)
        if value not in (None, (), False) and value not in _DEFAULTS.get(field, ()):
            yield field, value, name(field, field)
    yield from _beside(request)
    yield from _tools(request)
    yield from _turns(request)


def _beside(request: CanonicalRequest) -> Iterator[tuple[str, Any, str]]:
    name = request.names.get
    if request.thoughts_shown is False:
        yield "thoughts_hidden", True, name("thoughts_shown", "thoughts_shown")
    if request.choices != 1:
        yield "choices", request.choices, name("choices", "n")
    if request.form is not None:
        word = name("form", "response_format")
        yield "form", request.form.schema, word
        if request.form.description:
            yield "form.description", request.form.description, f"{word}.description"


def _tools(request: CanonicalRequest) -> Iterator[tuple[str, Any, str]]:
    name = request.names.get
    choice = request.tool_choice
    if request.parallel_tools is False and (choice is None or choice.mode != "none"):
        yield "parallel", False, name("parallel_tools", "parallel_tool_calls")
    for tool in request.tools:
        word = name("tools", "tools")
        yield f"tool {tool.name}", True, word
        for member in ("description", "parameters", "strict", "grammar"):
            value = getattr(tool, member)
            if member == "grammar" and value:
                value = text_of(value)  # dialects nest it differently
                member = "format"  # noqa: PLW2901 - the client's name for it
            if value:
                yield f"tool {tool.name} {member}", value, f"{word}.{member}"
        if tool.cache is not None:
            yield f"tool {tool.name} cache", True, "cache_control"
    if choice is not None and choice.mode != "auto":
        yield "choice", (choice.mode, choice.name), name("tool_choice", "tool_choice")
    if choice is not None and choice.allowed:
        yield "allowed", choice.allowed, name("tool_choice", "tool_choice")


def _turns(request: CanonicalRequest) -> Iterator[tuple[str, Any, str]]:
    """List the content of the turns, with counts; other tests check its order."""
    word = request.names.get("turns", "messages")
    for turn in request.turns:
        if turn.name:
            yield f"name {turn.name}", True, f"{word}.name"
        for part in turn.parts:
            yield from _part(part, word)


def _part(part: object, word: str) -> Iterator[tuple[str, Any, str]]:
    if getattr(part, "cache", None) is not None:
        yield "cache", True, "cache_control"
    match part:
        case Text():
            yield f"text {part.text}", True, word
        case Media():
            content = part.data or part.url or part.id or part.text
            yield f"media {content}", True, f"{word}.{part.kind}"
            if part.name:
                yield f"named {part.name}", True, f"{word}.{part.kind}.name"
            if part.detail:
                yield f"detail {part.detail}", True, f"{word}.detail"
        case ToolUse():
            given = part.arguments if part.custom else _arguments(part.arguments)
            yield f"use {part.name} {given}", True, f"{word}.arguments"
        case ToolResult():
            if part.error:
                yield "error", True, f"{word}.is_error"
            for inner in part.parts:
                yield from _part(inner, word)
        case _:
            return


def _arguments(text: str) -> Any:
    """Read arguments as every dialect sends them: an object, or an object around other text."""
    try:
        value = jsonio.loads(text.encode() or b"{}")
    except jsonio.JsonError:
        return {"_raw": text}
    return value if isinstance(value, dict) else {"_raw": text}


def text_of(value: Any) -> str:
    """Join all texts of a body, to search them for those of a part."""
    if isinstance(value, str):
        return value + "\0"
    if isinstance(value, list):
        return "".join(map(text_of, value))
    return "".join(map(text_of, value.values())) if isinstance(value, dict) else ""


def list_unnamed_losses(
    request: CanonicalRequest, target_dialect: str, model: Target | None = None
) -> list[tuple[str, Any, str]]:
    """List what the other dialect neither gets nor names; nothing if the request is refused."""
    losses, refusals = compatibility.check_request(request, target_dialect)
    if refusals:
        return []
    dialect = TARGET_OPERATIONS[target_dialect, "generate"]
    encoded = translation.get_target_translation(dialect).encode_request(request, model or target())
    named = {loss.field for loss in (*losses, *encoded.losses)}
    value = {**encoded.value, "model": "m"}
    if target_dialect == compatibility.CONVERSE:
        decoded_again = read_back(jsonio.loads(jsonio.dumps(value)))
    else:
        decoded_again = decode_again(target_dialect, value)
    values_again = {what: value for what, value, _ in list_set_values(decoded_again)}
    words = text_of(value)
    choice = request.tool_choice.mode if request.tool_choice is not None else ""
    choice_name = request.names.get("tool_choice", "tool_choice")
    missing = []
    for what, value_, name in list_set_values(request):
        kind, _, content = what.partition(" ")
        if kind in ("text", "media", "named") and content.strip() in words:
            continue
        if kind == "detail" and name.replace(".detail", ".image") in named:
            continue  # it goes with its image
        if what == "parallel" and not decoded_again.tools:
            continue
        if kind == "tool" and choice == "none" and choice_name in named:
            continue  # the model must use none, and gets none
        if what == "thoughts_shown" and decoded_again.effort in _UNTHOUGHT.get(
            target_dialect, ("none",)
        ):
            continue
        if (
            what == "thoughts_hidden"
            and target_dialect != compatibility.CHAT
            and not decoded_again.thoughts_shown
        ):
            continue
        given = content.partition(" ")[2]
        within = jsonio.dumps(given).decode()[1:-1]  # a custom tool's text, in a function's JSON
        if kind == "use" and (given in words or within in words):
            continue
        if values_again.get(what) == value_ or any(_covers(loss, name) for loss in named):
            continue
        missing.append((what, value_, name))
    return missing


def decode_again(name: str, value: Object) -> CanonicalRequest:
    """Read a body as a client of its dialect would have sent it."""
    dialect = DIALECTS[name]
    return translation.get_translation(dialect).decode_request(dialect.read(jsonio.dumps(value)))


def _covers(loss: str, name: str) -> bool:
    """True if a loss names a field, or something within it or around it."""
    return loss == name or loss.startswith(f"{name}.") or name.startswith(f"{loss}.")


@pytest.mark.parametrize(("client", "target_dialect"), PAIRS, ids=map(" to ".join, PAIRS))
@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(st.data())
def test_every_field_that_a_client_sets_is_sent_or_named_as_a_loss(
    client: str, target_dialect: str, data: st.DataObject
) -> None:
    """Law 4 holds."""
    request = decoded(client, data.draw(ASKS[client]))
    assert list_unnamed_losses(request, target_dialect) == []


@pytest.mark.parametrize("model", CONVERSE_MODELS)
@pytest.mark.parametrize("client", DIALECTS)
@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(st.data())
def test_every_field_that_a_client_sets_reaches_converse_or_is_named(
    client: str, model: str, data: st.DataObject
) -> None:
    request = decoded(client, data.draw(ASKS[client]))
    assert list_unnamed_losses(request, compatibility.CONVERSE, CONVERSE_MODELS[model]) == []


VALUES: dict[str, tuple[str, Object, str]] = {
    "thread": ("anthropic-messages", {"thread": {}}, "thread"),
    "inference_geo": ("anthropic-messages", {"inference_geo": "us"}, "inference_geo"),
    "format": ("anthropic-messages", {"output_config": {"format": {"type": "x"}}}, "output_config.format"),
    "text.format": ("openai-responses", {"text": {"format": {"type": "x"}}}, "text.format"),
    "plugins": ("openai-chat", {"plugins": []}, "plugins"),
    "tools": ("openai-chat", {"tools": "x"}, "tools"),
    "speech": ("gemini", {"generationConfig": {"speechConfig": {}}}, "generationConfig.speechConfig"),
    "snake": ("gemini", {"generation_config": {"image_config": {}}}, "generation_config.image_config"),
    "token": ("gemini", {"continuation_token": "x"}, "continuation_token"),
    "cached": ("gemini", {"cached_content": "x"}, "cached_content"),
    "spoken": (
        "gemini",
        {"generationConfig": {"responseModalities": ["AUDIO"]}},
        "generationConfig.responseModalities",
    ),
}  # fmt: skip
LEAST: dict[str, Object] = {
    "openai-chat": {"model": "m", "messages": []},
    "openai-responses": {"model": "m", "input": "a"},
    "anthropic-messages": {"model": "m", "max_tokens": 999, "messages": []},
    "gemini": {"contents": []},
}


@pytest.mark.parametrize(("client", "more", "name"), VALUES.values(), ids=VALUES)
def test_members_without_an_equivalent_are_refused_in_the_clients_spelling(
    client: str, more: Object, name: str
) -> None:
    """The refusal has the client's own spelling."""
    request = decoded(client, {**LEAST[client], **more})
    for target_dialect in (*DIALECTS, compatibility.CONVERSE):
        losses, refusals = compatibility.check_request(request, target_dialect)
        assert losses == []
        assert [refusal.partition(": ")[0] for refusal in refusals] == [name]


def test_creating_a_thread_is_dropped_and_named() -> None:
    more = {"thread": {"type": "create"}}
    request = decoded("anthropic-messages", {**LEAST["anthropic-messages"], **more})
    for target_dialect in DIALECTS:
        losses, refusals = compatibility.check_request(request, target_dialect)
        assert [(loss.field, loss.action) for loss in losses] == [("thread", "dropped")]
        assert refusals == []


def make_media_request(part: Object, *, client: str = "openai-chat") -> CanonicalRequest:
    """Make a request with one part in a user's turn."""
    name = "parts" if client == "gemini" else "content"
    member = "contents" if client == "gemini" else "messages"
    return decoded(client, {**LEAST[client], member: [{"role": "user", name: [part]}]})


def test_a_refusal_of_a_providers_own_tool_says_how_to_turn_it_off() -> None:
    """Codex offers one by itself for an unknown model, so its refusal says how to stop that."""
    search = {"type": "web_search", "external_web_access": True}
    request = decoded(compatibility.RESPONSES, {"model": "m", "input": "hi", "tools": [search]})
    why = "does not have this tool of another provider: leave it out"
    for target_dialect in (compatibility.CHAT, compatibility.MESSAGES, compatibility.GEMINI):
        (refusal,) = compatibility.check_request(request, target_dialect)[1]
        assert (
            refusal == f'tools.web_search: {target_dialect} {why} (Codex: web_search = "disabled")'
        )
    shell = {"model": "m", "input": "hi", "tools": [{"type": "local_shell"}]}
    tool = {"type": "web_search_20250305", "name": "web_search"}
    messages = {"model": "m", "max_tokens": 99, "messages": [{"role": "user", "content": "hi"}], "tools": [tool]}  # fmt: skip
    for client, value in ((compatibility.RESPONSES, shell), (compatibility.MESSAGES, messages)):
        (refusal,) = compatibility.check_request(decoded(client, value), compatibility.CHAT)[1]
        assert refusal.endswith(why)


TIERS: dict[str, tuple[str, dict[str | None, Any]]] = {
    compatibility.CHAT: ("service_tier", {None: "auto", "default": "default", "flex": "flex", "priority": "priority", "scale": "scale"}),
    compatibility.RESPONSES: ("service_tier", {None: "auto", "default": "default", "flex": "flex", "priority": "priority", "scale": "scale"}),
    compatibility.MESSAGES: ("service_tier", {None: "auto", "default": "standard_only"}),
    compatibility.GEMINI: ("serviceTier", {None: "unspecified", "default": "standard", "flex": "flex", "priority": "priority"}),
}  # fmt: skip
"""The member in each dialect, and its words for the values of CanonicalRequest."""
MINIMAL: dict[str, Object] = {
    compatibility.CHAT: {"model": "m", "messages": [{"role": "user", "content": "hi"}]},
    compatibility.RESPONSES: {"model": "m", "input": "hi"},
    compatibility.MESSAGES: {"model": "m", "max_tokens": 99, "messages": [{"role": "user", "content": "hi"}]},
    compatibility.GEMINI: {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]},
}  # fmt: skip


@pytest.mark.parametrize(("client", "target_dialect"), PAIRS, ids=map(" to ".join, PAIRS))
def test_a_service_tier_is_translated_to_the_targets_word_or_named_as_a_loss(
    client: str, target_dialect: str
) -> None:
    """`standard` of Google, `standard_only` of Anthropic and `default` of OpenAI mean the same."""
    (member, words), (target_member, target_words) = TIERS[client], TIERS[target_dialect]
    for tier, word in words.items():
        request = decoded(client, {**MINIMAL[client], member: word})
        assert request.service_tier == tier
        written = translation.write_request(request, DIALECTS[target_dialect], target())
        sent = jsonio.loads(written.body)
        if tier is not None and tier in target_words:
            assert sent[target_member] == target_words[tier]
            assert written.losses == ()
        else:
            assert target_member not in sent
            lost = [(loss.field, loss.action) for loss in written.losses]
            assert lost == ([] if tier is None else [(member, "dropped")])


def test_media_by_url_go_only_to_dialects_that_take_them() -> None:
    """Mistral takes a URL as sound; Google opens YouTube videos and its own files."""
    sound = make_media_request({"type": "input_audio", "input_audio": "https://a.test/a.mp3"})
    assert compatibility.check_request(sound, "openai-chat") == ([], [])
    assert compatibility.check_request(sound, "gemini")[1] == [
        "messages.audio: gemini accepts audio as data, not as a URL"
    ]
    film = {"type": "video_url", "video_url": {"url": "https://www.youtube.com/watch?v=1"}}
    assert compatibility.check_request(make_media_request(film), "gemini") == ([], [])
    film["video_url"] = {"url": "https://a.test/a.mp4"}
    assert compatibility.check_request(make_media_request(film), "gemini")[1] == [
        "messages.video: gemini accepts videos as data or from YouTube"
    ]
    own = make_media_request(
        {"fileData": {"mimeType": "audio/wav", "fileUri": "gs://a/b"}}, client="gemini"
    )
    assert any(
        "of another provider" in why for why in compatibility.check_request(own, "openai-chat")[1]
    )


def test_a_picture_in_a_system_prompt_skips_targets_that_take_only_text_there() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    system, user = {"role": "system", "content": [picture]}, {"role": "user", "content": "hi"}
    first = decoded("openai-chat", {"model": "m", "messages": [system, user]})
    for name in ("anthropic-messages", "gemini"):
        refusal = f"messages: {name} accepts only text in a system prompt"
        assert compatibility.check_request(first, name) == ([], [refusal])
    assert compatibility.check_request(first, "openai-responses") == ([], [])
    later = decoded("openai-chat", {"model": "m", "messages": [user, system, user]})
    assert compatibility.check_request(later, "gemini")[1] == []


def test_only_messages_gets_prompt_cache_breakpoints() -> None:
    part = {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}
    request = make_media_request(part)
    assert compatibility.check_request(request, "anthropic-messages") == ([], [])
    for target_dialect in ("openai-responses", "gemini"):
        losses, _ = compatibility.check_request(request, target_dialect)
        assert losses == [
            Loss("cache_control", "dropped", f"{target_dialect} caches prompts by itself")
        ]


@pytest.mark.parametrize("lifetime", ["30m", "12h"])
def test_a_cache_lifetime_that_messages_lacks_is_approximated_and_named(lifetime: str) -> None:
    mark = {"ttl": lifetime}
    part = {"type": "text", "text": "a", "prompt_cache_breakpoint": mark}
    why = "anthropic-messages caches for 5 minutes or 1 hour: the gateway asks for 1 hour"
    assert compatibility.check_request(make_media_request(part), "anthropic-messages") == (
        [Loss("cache_control.ttl", "approximated", why)],
        [],
    )


@pytest.mark.parametrize("rules", compatibility.FIELD_RULES.values(), ids=compatibility.FIELD_RULES)
def test_every_field_has_a_rule_for_every_dialect(rules: Any) -> None:
    assert set(rules) == {name for name, _ in TARGET_OPERATIONS}
    assert all(bool(rule.reason) is (rule.treatment != "mapped") for rule in rules.values())
