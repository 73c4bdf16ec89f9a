"""The known members of answers and of stream events, and what translation does with them.

Requests have no list: no client speaks this dialect. Sources: ConverseResponse and
ConverseStreamOutput of AWS's API reference and of botocore's service model, and recorded answers,
which have members that neither names.
"""

from gateway.dialects.member_list import (
    CARRIED,
    READ,
    MemberList,
    ignore,
    name_loss,
    read_inside,
)

CONTENT = "content"
"""Begins the names of blocks and their members, in whole answers and in streams."""
_NO_PLACE = name_loss("has no place for it in an answer")
_OF_PROVIDER = ignore("does not need details of the provider's work")
_PADDING = ignore("needs no padding: it hides the length of a piece from listeners")
_KNOWN = ignore("knows that the model answers")
_OPAQUE_BLOCKS = (
    "image", "document", "video", "audio", "toolResult", "guardContent", "searchResult",
    "toolAddition", "toolRemoval",
)  # fmt: skip
"""Blocks that become Opaque events: no other dialect has them in an answer."""
_COUNTS = ("inputTokens", "outputTokens", "cacheReadInputTokens", "cacheWriteInputTokens")
_TOTALS = {
    "usage": read_inside("usage"),
    "serviceTier": read_inside("tier"),
    "performanceConfig": read_inside("performance"),
    "metrics": _OF_PROVIDER,
    "trace": _OF_PROVIDER,
}
_CITED = read_inside("citation", path=f"{CONTENT}.citations")
_EVENT = {"contentBlockIndex": READ, "p": _PADDING}

ANSWER: MemberList = {
    "answer": {
        "output": read_inside("output"),
        "stopReason": READ,
        "additionalModelResponseFields": _NO_PLACE,
        **_TOTALS,
    },
    "output": {"message": read_inside("message")},
    "message": {"role": _KNOWN, "content": read_inside("block", path=CONTENT)},
    "block": {
        "text": READ,
        "toolUse": read_inside("call"),
        "reasoningContent": read_inside("reasoning"),
        "citationsContent": read_inside("cited"),
        **dict.fromkeys(_OPAQUE_BLOCKS, READ),
    },
    "call": {"toolUseId": READ, "name": READ, "type": READ, "input": CARRIED},
    "reasoning": {"reasoningText": read_inside("thought"), "redactedContent": READ},
    "thought": {"text": READ, "signature": READ},
    "cited": {"content": read_inside("cited_text"), "citations": _CITED},
    "cited_text": {"text": READ},
    "citation": {
        "title": READ,
        "source": READ,
        "location": read_inside("location"),
        "sourceContent": name_loss("gets the address and the title of a source"),
    },
    "location": {
        "web": read_inside("web"),
        **dict.fromkeys(
            ("documentChar", "documentPage", "documentChunk", "searchResultLocation"), _NO_PLACE
        ),
    },
    "web": {"url": READ, "domain": name_loss("gets the address and the title of a source")},
    "usage": {
        **dict.fromkeys(_COUNTS, READ),
        "cacheDetails": read_inside("cache_detail"),
        "totalTokens": ignore("gets the counts that it is the sum of"),
        **dict.fromkeys(
            ("cacheReadInputTokenCount", "cacheWriteInputTokenCount"),
            ignore("gets the same count by its other name"),
        ),
        "serverToolUsage": _NO_PLACE,
    },
    "cache_detail": {"ttl": READ, "inputTokens": READ},
    "tier": {"type": READ},
    "performance": {"latency": READ},
    "event:messageStart": {"role": _KNOWN, "p": _PADDING},
    "event:contentBlockStart": {**_EVENT, "start": read_inside("start", path=CONTENT)},
    "event:contentBlockDelta": {**_EVENT, "delta": read_inside("delta", path=CONTENT)},
    "event:contentBlockStop": _EVENT,
    "event:messageStop": {
        "stopReason": READ,
        "additionalModelResponseFields": _NO_PLACE,
        "p": _PADDING,
    },
    "event:metadata": {**_TOTALS, "p": _PADDING},
    "start": {"toolUse": read_inside("call"), "toolResult": READ, "image": READ},
    "delta": {
        "text": READ,
        "toolUse": read_inside("call"),
        "reasoningContent": read_inside("thinking"),
        "citation": _CITED,
        **dict.fromkeys(("toolResult", "image"), READ),
    },
    "thinking": dict.fromkeys(("text", "signature", "redactedContent"), READ),
}  # fmt: skip
"""Members of a whole answer, and of the events of a stream."""
