"""Random answers of a model, and the usage of each as its provider reports it."""

from collections import Counter
from random import Random
from typing import Any

from tests.applications.modalities.models import MEDIA, PROMPT, Answered, PricedModel
from tests.clients.model_turns import CHAT, GEMINI, MESSAGES, RESPONSES

type Json = Any


def make_answered(model: PricedModel, random: Random) -> Answered:
    """Choose what an answer consists of.

    Written tokens are of one modality, as no provider tells more of them.
    """
    size = 10 ** random.randrange(1, 6)
    tokens: Counter[tuple[str, str]] = Counter()
    modalities = ["text", *(name for name in model.read if random.random() < 0.4)]
    parts = ["input"]
    if model.caches and random.random() < 0.6:
        parts.append("cache_read")
    if model.writes and random.random() < 0.5:
        parts += random.sample(model.writes, random.randint(1, len(model.writes)))
        modalities = [random.choice(modalities)]
        if modalities[0] not in ("text", "image"):
            modalities = ["text"]
    for modality in modalities:
        for part in parts:
            tokens[part, modality] = random.choice([0, 1, random.randrange(size)])
    tokens["input", modalities[0]] += 1  # no prompt is empty
    for modality in ("text", *(name for name in model.made if random.random() < 0.3)):
        tokens["output", modality] = 1 + random.randrange(size)
    if model.thinks and random.random() < 0.4:
        tokens["reasoning", "text"] = random.randrange(size)
    tools = Counter({name: random.randint(1, 900) for name in model.tools if random.random() < 0.3})
    if "search_low" in tools:  # once for each request
        tools["search_low"] = 1
    if model.dialect == GEMINI and tools:
        tools = Counter({"web_search": 1 + tools["web_search"] % 3, "grounding": 1})
    service = random.choice([None, *model.services])
    return Answered(tokens, tools, service)


def write_usage(dialect: str, answered: Answered) -> Json:
    """Write the usage object of an answer."""
    return _WRITERS[dialect](answered)


def write_members(dialect: str, answered: Answered) -> Json:
    """Write what an answer tells of its cost beside the usage object."""
    tools = answered.tools
    if dialect == GEMINI:
        queries = [f"query {number}" for number in range(tools["web_search"])]
        return {"groundingMetadata": {"webSearchQueries": queries}} if queries else {}
    if dialect != RESPONSES:
        return {}
    members: Json = {"service_tier": answered.service or "default"}
    image: Json = {
        direction: {name: tools[f"gpt-image-2:{direction}{suffix}"] for name, suffix in _PAINTED}
        for direction in ("input", "output")
    }
    sums = {direction: sum(counts.values()) for direction, counts in image.items()}
    if sum(sums.values()):
        members["tools"] = [{"type": "image_generation", "model": "gpt-image-2"}]
    members["tool_usage"] = {
        "web_search": {"num_requests": tools["web_search"]},
        "image_gen": {
            **{f"{direction}_tokens": total for direction, total in sums.items()},
            "total_tokens": sum(sums.values()),
            **{f"{direction}_tokens_details": counts for direction, counts in image.items()},
        },
    }
    return members


_PAINTED = (("text_tokens", ""), ("image_tokens", "_image"))
_CHAT_TOOLS = {
    "audio_seconds": "prompt_audio_seconds", "web_search": "num_search_queries",
    "citation_tokens": "citation_tokens",
}  # fmt: skip


def _write_openai(answered: Answered, prompt: str, completion: str) -> Json:
    """Write usage as OpenAI's dialects do, by the names of their two sides."""
    details: Json = {
        "cached_tokens": answered.sum("cache_read"),
        **_write_media(answered, *PROMPT),
    }
    if answered.sum("cache_read"):
        details["cached_tokens_details"] = {
            "text_tokens": answered.sum("cache_read", modality="text"),
            **_write_media(answered, "cache_read"),
        }
    if written := answered.sum("30m", "12h"):
        details["cache_write_tokens"] = written
        details["cache_write_tokens_details"] = {
            f"ttl_{lifetime}_tokens": answered.sum(lifetime) for lifetime in ("30m", "12h")
        }
    return {
        f"{prompt}_tokens": answered.prompt, f"{prompt}_tokens_details": details,
        f"{completion}_tokens": answered.completion, f"{completion}_tokens_details": {
            "reasoning_tokens": answered.sum("reasoning"), **_write_media(answered, "output"),
        },
        "total_tokens": answered.prompt + answered.completion,
    }  # fmt: skip


def _write_media(answered: Answered, *parts: str) -> dict[str, int]:
    counts = {f"{name}_tokens": answered.sum(*parts, modality=name) for name in MEDIA}
    return {name: tokens for name, tokens in counts.items() if tokens}


def _write_chat(answered: Answered) -> Json:
    """Write usage with the members of several hosts.

    As Mistral, leave audio with its seconds out of the prompt. As Perplexity, leave reasoning
    beside citations out of the completion, and out of the total.
    """
    tools = {member: answered.tools[name] for name, member in _CHAT_TOOLS.items()}
    search = {"search_context_size": "low"} if answered.tools["search_low"] else {}
    usage = {**_write_openai(answered, "prompt", "completion"), **tools, **search}
    if tools["prompt_audio_seconds"]:
        usage["prompt_tokens"] -= answered.sum(*PROMPT, modality="audio")
    if tools["citation_tokens"]:
        usage["completion_tokens"] -= answered.sum("reasoning")
        usage["total_tokens"] -= answered.sum("reasoning")
    return usage


def _write_responses(answered: Answered) -> Json:
    return _write_openai(answered, "input", "output")


def _write_messages(answered: Answered) -> Json:
    usage: Json = {
        "input_tokens": answered.sum("input"), "cache_read_input_tokens": answered.sum("cache_read"),
        "cache_creation_input_tokens": answered.sum("5m", "1h"),
        "cache_creation": {f"ephemeral_{lifetime}_input_tokens": answered.sum(lifetime) for lifetime in ("5m", "1h")},
        "output_tokens": answered.completion,
        "output_tokens_details": {"thinking_tokens": answered.sum("reasoning")},
        "server_tool_use": {"web_search_requests": answered.tools["web_search"], "web_fetch_requests": 3},
    }  # fmt: skip
    advice = {
        name.removeprefix("claude-opus-5:"): tokens
        for name, tokens in answered.tools.items()
        if ":" in name
    }
    if advice:
        own = {name: count for name, count in usage.items() if name != "server_tool_use"}
        usage["iterations"] = [{"type": "message", **own}, {
            "type": "advisor_message", "model": "claude-opus-5", "input_tokens": advice.get("input", 0),
            "cache_read_input_tokens": advice.get("cache_read", 0), "output_tokens": advice.get("output", 0),
            "cache_creation_input_tokens": advice.get("cache_write_5m", 0),
            "cache_creation": {"ephemeral_5m_input_tokens": advice.get("cache_write_5m", 0)},
        }]  # fmt: skip
    return usage


def _write_gemini(answered: Answered) -> Json:
    """Write usage as protos do: what is zero is not there."""
    usage = {
        "promptTokenCount": answered.prompt,
        "cachedContentTokenCount": answered.sum("cache_read"),
        "candidatesTokenCount": answered.sum("output"),
        "thoughtsTokenCount": answered.sum("reasoning"),
        "totalTokenCount": answered.prompt + answered.completion,
        "promptTokensDetails": _list_modalities(answered, *PROMPT),
        "cacheTokensDetails": _list_modalities(answered, "cache_read"),
        "candidatesTokensDetails": _list_modalities(answered, "output"),
    }
    return {name: value for name, value in usage.items() if value}


def _list_modalities(answered: Answered, *parts: str) -> list[Json]:
    return [
        {"modality": name.upper(), "tokenCount": tokens}
        for name in ("text", *MEDIA)
        if (tokens := answered.sum(*parts, modality=name))
    ]


_WRITERS = {
    CHAT: _write_chat, RESPONSES: _write_responses, MESSAGES: _write_messages, GEMINI: _write_gemini,
}  # fmt: skip
