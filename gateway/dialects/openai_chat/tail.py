"""The usage at the end of a recorded Chat Completions answer: put on and taken off.

A stream tells usage only to a client that asks with stream_options: in one more chunk before
`[DONE]`, with empty `choices` (the chunk object of OpenAI's API reference). A whole answer always
tells it. Streams that are made of other objects pass untouched.
"""

import re

import msgspec

from gateway.core import jsonio, sse
from gateway.core.jsonio import Json
from gateway.core.usage import Usage
from gateway.dialects.openai_chat.tokens import written

type Object = dict[str, Json]

_USAGE = re.compile(rb'"usage"\s*:\s*\{')
_DONE = b"[DONE]"


def tell(stream: bytes, usage: Usage | None) -> bytes:
    """A stream with usage: its own, else one more chunk that says `usage`, where that is known."""
    told = written(usage)
    frames = sse.split_frames(stream)
    if told is None or any(_usage(frame) for frame in frames):
        return stream
    head = next((chunk for frame in reversed(frames) if (chunk := _chunk(frame))), None)
    if head is None:
        return stream
    last = sse.write_frame(jsonio.dumps({**head, "choices": [], "usage": told}))
    done = sse.read_data(frames[-1]) == _DONE
    before = frames[:-1] if done else frames
    if before and not before[-1].endswith((b"\n\n", b"\n\r\n")):
        before[-1] += b"\n\n"  # the last of a stream may have lacked the end of its frame
    return b"".join([*before, last, *frames[len(before) :]])


def hide(stream: bytes) -> bytes:
    """A stream without its usage chunk; usage beside choices stays, its client saw it too."""
    if _USAGE.search(stream) is None:
        return stream
    kept = []
    for frame in sse.split_frames(stream):
        chunk = _usage(frame)
        if chunk is None or chunk.get("choices"):
            kept.append(frame)
    return b"".join(kept)


def complete(whole: bytes, usage: Usage | None) -> bytes:
    """A whole answer with usage: its own, else `usage`, where that is known."""
    told = written(usage)
    members = jsonio.read_members(whole)
    if told is None or "usage" in members:
        return whole
    return jsonio.join_members({**members, "usage": msgspec.Raw(jsonio.dumps(told))})


def _usage(frame: bytes) -> Object | None:
    """The chunk of a frame that tells usage."""
    chunk = _chunk(frame) if _USAGE.search(frame) else None
    return chunk if chunk is not None and isinstance(chunk.get("usage"), dict) else None


def _chunk(frame: bytes) -> Object | None:
    payload = sse.read_data(frame)
    if payload in (b"", _DONE):
        return None
    chunk = jsonio.loads(payload)
    return chunk if isinstance(chunk, dict) and isinstance(chunk.get("choices"), list) else None
