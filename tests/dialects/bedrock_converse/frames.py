"""Amazon's event stream, written by its specification: nothing here imports the gateway."""

import json
import struct
import zlib
from typing import Any

type Object = dict[str, Any]

USAGE: Object = {"inputTokens": 7, "outputTokens": 3, "totalTokens": 10}


def write_header(name: str, value_type: int, value: bytes) -> bytes:
    """Write a header; its value has its length in it if its type wants one."""
    return bytes([len(name.encode())]) + name.encode() + bytes([value_type]) + value


def write_string_header(name: str, text: str) -> bytes:
    return write_header(name, 7, struct.pack(">H", len(text.encode())) + text.encode())


def write_message(headers: bytes, payload: bytes) -> bytes:
    """Write one message with its checksums."""
    prelude = struct.pack(">II", len(headers) + len(payload) + 16, len(headers))
    checked = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + payload
    return checked + struct.pack(">I", zlib.crc32(checked))


def write_event(kind: str, value: Object | bytes, *, message_type: str = "event") -> bytes:
    """Write an event, or an exception, as Bedrock does."""
    name = ":exception-type" if message_type == "exception" else ":event-type"
    headers = (
        write_string_header(name, kind)
        + write_string_header(":content-type", "application/json")
        + write_string_header(":message-type", message_type)
    )
    return write_message(headers, value if isinstance(value, bytes) else json.dumps(value).encode())


def write_exception(kind: str, message: str) -> bytes:
    return write_event(kind, {"message": message}, message_type="exception")


def start() -> bytes:
    return write_event("messageStart", {"role": "assistant", "p": "abc"})


def delta(value: Object, index: int = 0) -> bytes:
    return write_event("contentBlockDelta", {"contentBlockIndex": index, "delta": value, "p": "ab"})


def text(words: str, index: int = 0) -> bytes:
    return delta({"text": words}, index)


def call(name: str, *pieces: str, index: int = 0, id: str = "tooluse_1", **more: Any) -> bytes:
    """Write a tool call whose input comes in pieces."""
    use = {"toolUseId": id, "name": name, **more}
    begun = write_event(
        "contentBlockStart", {"contentBlockIndex": index, "start": {"toolUse": use}}
    )
    inputs = [delta({"toolUse": {"input": piece}}, index) for piece in pieces]
    return b"".join([begun, *inputs, stop(index)])


def stop(index: int = 0) -> bytes:
    return write_event("contentBlockStop", {"contentBlockIndex": index})


def message_stop(reason: str | None = "end_turn") -> bytes:
    return write_event("messageStop", {} if reason is None else {"stopReason": reason})


def metadata(usage: Object | None = None, **more: Any) -> bytes:
    return write_event(
        "metadata",
        {"usage": USAGE if usage is None else usage, "metrics": {"latencyMs": 5}, **more},
    )


def end(reason: str | None = "end_turn", **more: Any) -> bytes:
    return message_stop(reason) + metadata(**more)


def whole(*blocks: Object, reason: str | None = "end_turn", **more: Any) -> bytes:
    """Write a whole answer."""
    value: Object = {
        "output": {"message": {"role": "assistant", "content": [*blocks]}},
        "usage": USAGE,
        "metrics": {"latencyMs": 5},
        **({} if reason is None else {"stopReason": reason}),
        **more,
    }
    return json.dumps(value).encode()
