"""Bytes that come in pieces: server-sent events, Amazon's event stream, forms, batch files."""

import email
import email.message
import email.policy
import struct
import zlib
from typing import Any

from openai._streaming import SSEDecoder

from gateway.core import sse
from gateway.core.batch_file import BatchFileReader
from gateway.core.errors import ProblemError
from gateway.core.multipart import FormPart, MultipartReader, replace_field
from gateway.dialects.bedrock_converse.event_stream import (
    EventMessage,
    EventStreamError,
    EventStreamReader,
)
from tests.dialects.bedrock_converse.frames import write_event, write_header, write_message
from tests.fuzz.target import FuzzTarget, check_cuts


def _split_stream(pieces: list[bytes]) -> tuple[list[bytes], bytes]:
    """Return the payloads of a stream's frames, and what is left of it."""
    splitter = sse.FrameSplitter()
    payloads, passed = [], b""
    for piece in pieces:
        frames = splitter.feed(piece)
        assert not frames or sse.find_frames_end(frames) == len(frames)
        passed += frames
        payloads += [sse.read_data(frame) for frame in sse.split_data_frames(frames)]
    rest = splitter.pending
    assert splitter.size == len(rest)
    assert splitter.take_pending() == rest
    assert passed + rest == b"".join(pieces)
    return [payload for payload in payloads if payload], rest


def _is_read_alike(data: bytes) -> bool:
    """True if SDKs read the bytes as the gateway does: no lone CR, no byte order mark, UTF-8."""
    if b"\r" in data.replace(b"\r\n", b"") or b"\xef\xbb\xbf" in data:
        return False
    if any(line.rstrip(b"\r") == b"data" for line in data.split(b"\n")):
        return False  # a field without a colon is an empty line to them
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def check_events(data: bytes) -> None:
    """OpenAI's SDK reads the same payloads, and no byte is lost or doubled."""
    payloads, rest = check_cuts(data, _split_stream)
    if _is_read_alike(data):
        whole = data[: len(data) - len(rest)]
        events = [event.data.encode() for event in SSEDecoder().iter_bytes(iter([whole]))]
        assert payloads == [payload for payload in events if payload]


type ReadMessages = tuple[list[EventMessage], bool, str]


def _read_messages(pieces: list[bytes]) -> ReadMessages:
    reader = EventStreamReader()
    messages: list[EventMessage] = []
    try:
        for piece in pieces:
            messages += reader.feed(piece)
    except EventStreamError as error:
        return messages, False, str(error)
    return messages, reader.has_pending, ""


def _repair(data: bytes) -> bytes:
    """Return the bytes with right checksums, as far as they have messages: or nothing gets past."""
    repaired = b""
    while len(data) >= 16:
        size, header_size = struct.unpack_from(">II", data)
        if not 16 <= size <= len(data) or header_size > size - 16:
            break
        repaired += write_message(data[12 : 12 + header_size], data[12 + header_size : size - 4])
        data = data[size:]
    return repaired + data


def check_event_stream(data: bytes) -> None:
    """A message has exactly the payload of its bytes; a changed byte never passes as a message."""
    check_cuts(data, _read_messages)
    repaired = _repair(data)
    messages, _, _ = check_cuts(repaired, _read_messages)
    start = 0
    for message in messages:
        size, header_size = struct.unpack_from(">II", repaired, start)
        assert message.payload == repaired[start + 12 + header_size : start + size - 4]
        start += size
    if messages:
        changed = bytearray(repaired)
        changed[zlib.crc32(data) % struct.unpack_from(">I", repaired)[0]] ^= 1
        assert _read_messages([bytes(changed)])[0][:1] != messages[:1]


_FORM_TYPE = "multipart/form-data; boundary=B"


def _read_form(pieces: list[bytes]) -> tuple[list[tuple[Any, ...]], list[bytes], str]:
    """Return the parts with what their sinks were given, and why the form is refused."""
    contents: list[bytearray] = []

    def open_sink(_: FormPart) -> Any:
        contents.append(bytearray())
        return contents[-1].extend

    reader, problem = MultipartReader(_FORM_TYPE, open_sink), ""
    try:
        for piece in pieces:
            reader.feed(piece)
        reader.finish()
    except ProblemError:
        return [], [], "refused"  # the reason depends on what has arrived by then
    parts = [(part.name, part.filename, part.start, part.size, part.value) for part in reader.parts]
    return parts, [bytes(content) for content in contents], problem


def check_forms(data: bytes) -> None:
    """A form that is accepted means the same to the parser of mail; a field can be replaced."""
    parts, contents, problem = check_cuts(data, _read_form)
    if problem:
        return
    for (_, filename, start, size, value), content in zip(parts, contents, strict=True):
        assert content == data[start : start + size]
        assert value == (content if filename is None else None)
    message = email.message_from_bytes(
        f"Content-Type: {_FORM_TYPE}\r\n\r\n".encode() + data, policy=email.policy.HTTP
    )
    items = [item for item in message.get_payload() if isinstance(item, email.message.Message)]
    names = [item.get_param("name", header="content-disposition") for item in items]
    assert names == [part[0] for part in parts]
    names_once = [name for name in names if names.count(name) == 1]
    for name, filename, start, size, _ in parts:
        if name in names_once and filename is None:
            changed = replace_field(data, _FORM_TYPE, name, b"new")
            assert changed == data[:start] + b"new" + data[start + size :]


def check_batch_files(data: bytes) -> None:
    """A batch file has the same facts however it arrives, and no line raises an error."""

    def read(pieces: list[bytes]) -> object:
        reader = BatchFileReader()
        for piece in pieces:
            reader.feed(piece)
        return reader.finish()

    check_cuts(data, read)


_PART = b'--B\r\nContent-Disposition: form-data; name="model"\r\n\r\nm-1\r\n'
_FILE = b'--B\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\nContent-Type: text/plain\r\n\r\n{}\r\n'
_LINE = b'{"custom_id":"1","method":"POST","url":"/v1/chat/completions","body":{"model":"m","max_tokens":5,"messages":[]}}\n'

TARGETS = (
    FuzzTarget(
        "sse", check_events,
        (
            b"data: 1\n\n: c\n\nevent: x\ndata: a\ndata: b\r\n\r\n\n\ndata:\n\n",
            b"data: {}\r\n\r\ndata: [DONE]\n\r\ndata: cut",
            "id: 1\nretry: 5\ndata: \u2028\u0085\n\n".encode(),
        ),
        (b"data: ", b"data:", b"event: ", b"\n\n", b"\r\n\r\n", b"\n\r\n", b":", b"id:", b"\r"),
    ),
    FuzzTarget(
        "aws-event-stream", check_event_stream,
        (
            write_event("messageStart", {"role": "assistant"}) + write_event("messageStop", b"{}"),
            write_message(write_header("a", 0, b"") + write_header("b", 4, b"1234") + write_header("c", 6, b"\0\2ab"), b"x"),
            write_message(b"", b""),
        ),
    ),
    FuzzTarget(
        "forms", check_forms,
        (_PART + _FILE + b"--B--\r\n", _PART + b"--B--", b"\r\n" + _PART + b"--B--\r\n"),
        (b"--B", b"\r\n", b"--", b"; filename=", b"; filename*=UTF-8''", b"; name=", b'"', b"\\", b"%22", b"Content-Type: ",
         b"Content-Transfer-Encoding: base64", b"charset=", b": ", b";", b"\n"),
    ),
    FuzzTarget(
        "batch-files", check_batch_files,
        (
            _LINE * 2,
            b'{"key":"a","request":{"contents":[{"parts":[{"text":"hi"}]}],"generationConfig":{"maxOutputTokens":9,"candidateCount":2}}}\n',
            b'{"url":"/v1/responses","body":{"model":"m","input":[{"id":"msg_1","type":"item_reference"}],"previous_response_id":"resp_1","tools":[{"type":"file_search","vector_store_ids":["vs_1"]}]}}',
        ),
        (b'"body":{', b'"request":{', b'"image_url":', b'"file_id":"file-1"', b'"n":', b'"max_tokens":', b'"model":', b'"input":[',
         b'"tools":[', b"\n", b"\\u0069", b'"input_audio":', b'"inlineData":', b'"metadata":{"user_id":'),
    ),
)  # fmt: skip
