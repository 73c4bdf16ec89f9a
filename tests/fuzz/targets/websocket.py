"""WebSocket frames, compared with wsproto, and the messages of sessions."""

import asyncio
from collections.abc import Callable
from typing import Any

from websockets.frames import Opcode
from websockets.protocol import Protocol, Side
from wsproto.frame_protocol import FrameProtocol, ParseFailed
from wsproto.frame_protocol import Opcode as FrameOpcode

from gateway.core.errors import ProblemError
from gateway.dialects.realtime.base import MessageReader
from gateway.dialects.realtime.gemini import (
    GeminiMessageReader,
    read_setup_model,
    replace_setup_model,
)
from gateway.dialects.realtime.openai import OpenAIMessageReader
from gateway.upstream.websocket_peer import WebSocketPeer
from tests.fuzz.target import FuzzTarget, check_cuts
from tests.upstream.test_websocket import FakeTransport

_MAX_MESSAGE = 5_000

type ReadFrames = tuple[list[tuple[Opcode, bytes, bool]], tuple[int, str] | None, int | None, bytes]


async def _read_peer(pieces: list[bytes]) -> ReadFrames:
    """Return the frames that a peer reads, its close frames, and the bytes that it answers."""
    transport = FakeTransport()
    peer = WebSocketPeer(Protocol(Side.SERVER, max_size=_MAX_MESSAGE), transport, 0.0)
    for piece in pieces:
        if piece:
            peer.feed(piece)
    peer.feed_end()
    frames = []
    while frame := await peer.read_one():
        frames.append((frame.opcode, bytes(frame.data), frame.fin))
    sent = peer.close_sent
    return frames, peer.close_received, sent and sent[0], bytes(transport.written)


def _join(frames: list[tuple[Opcode, bytes, bool]]) -> list[tuple[bool, bytes]]:
    """Return the whole messages of frames, each with True if it is text."""
    messages = []
    content, is_text = b"", False
    for opcode, data, is_last in frames:
        if opcode is not Opcode.CONT:
            content, is_text = b"", opcode is Opcode.TEXT
        content += data
        if is_last:
            messages.append((is_text, content))
    return messages


def _read_by_wsproto(data: bytes) -> tuple[list[tuple[bool, bytes]], int | None] | None:
    """Return the messages and the code of a close frame; None if wsproto refuses any frame."""
    parser = FrameProtocol(client=False, extensions=[])
    messages, content, is_text = list[tuple[bool, bytes]](), b"", False
    try:
        parser.receive_bytes(data)
        for frame in parser.received_frames():
            if frame.opcode is FrameOpcode.CLOSE:
                return messages, int(frame.payload[0])
            if frame.opcode in (FrameOpcode.PING, FrameOpcode.PONG):
                continue
            payload: Any = frame.payload
            is_text = isinstance(payload, str)
            content += payload.encode() if is_text else bytes(payload)
            if frame.message_finished:
                messages.append((is_text, content))
                content = b""
    except ParseFailed:
        return None
    return messages, None


def check_frames(data: bytes) -> None:
    """The peer reads the messages that wsproto reads, and any cut of the bytes gives the same."""

    def read(pieces: list[bytes]) -> ReadFrames:
        return asyncio.run(_read_peer(pieces))

    frames, received, sent, _ = check_cuts(data, read)
    other = _read_by_wsproto(data)
    if other is None or sent in (1002, 1007, 1009):
        return  # one refuses more than the other: lengths in too many bytes, texts that are no UTF-8
    messages, code = other
    assert _join(frames) == messages
    assert (received and received[0]) == code


def _check_messages(make_reader: Callable[[], MessageReader], data: bytes) -> None:
    """No message raises an error, and a session's reader takes any that follow."""
    reader = make_reader()
    for line in data.split(b"\n"):
        reader.find_start_chance(line)
        reader.read(line)


def check_openai_messages(data: bytes) -> None:
    _check_messages(OpenAIMessageReader, data)


def check_gemini_messages(data: bytes) -> None:
    _check_messages(GeminiMessageReader, data)
    for line in data.split(b"\n"):
        model = read_setup_model(line)
        if model is not None:
            try:
                replaced = replace_setup_model(line, "other")
            except ProblemError:
                continue
            assert read_setup_model(replaced) == "other"


TARGETS = (
    FuzzTarget(
        "websocket-frames", check_frames,
        (
            b"\x81\x82\1\2\3\4ik" + b"\x89\x80\0\0\0\0" + b"\x88\x82\0\0\0\0\x03\xe8",
            b"\x01\x81\0\0\0\0a" + b"\x80\x81\0\0\0\0b" + b"\x82\xfe\x00\x80\0\0\0\0" + bytes(128),
            b"\x8a\x80\0\0\0\0" + b"\x88\x80\0\0\0\0",
            b"\x82\xff" + bytes(7) + b"\5" + bytes(4) + b"hello",
        ),
        (b"\x81\x80\0\0\0\0", b"\x88\x82\0\0\0\0\x03\xe9", b"\x80\x80\0\0\0\0", b"\x89\x80\0\0\0\0", b"\xff" * 8, b"\xed\xa0\x80"),
        max_bytes=600,
    ),
    FuzzTarget(
        "realtime-openai", check_openai_messages,
        (
            b'{"type":"session.created","session":{"model":"m","input_audio_transcription":{"model":"w"}}}\n{"type":"response.created","response":{"id":"r"}}\n{"type":"response.output_text.delta","response_id":"r","delta":"hi"}\n{"type":"response.done","response":{"id":"r","status":"completed","usage":{"input_tokens":3,"output_tokens":2,"input_token_details":{"cached_tokens":1,"audio_tokens":1,"cached_tokens_details":{"audio_tokens":1}}}}}',
            b'{"type":"conversation.item.input_audio_transcription.completed","usage":{"type":"duration","seconds":1.5}}\n{"type":"response.create"}\n{"type":"input_audio_buffer.append","audio":"AA=="}',
        ),
        (b'"type":', b'"usage":{', b'"response":{', b"\n", b'"session":{"audio":{"input":{"transcription":{', b"1e999", b"null", b"[]"),
    ),
    FuzzTarget(
        "realtime-gemini", check_gemini_messages,
        (
            b'{"setup":{"model":"models/m","generationConfig":{}}}\n{"serverContent":{"modelTurn":{"parts":[{"text":"hi"}]}}}\n{"serverContent":{"turnComplete":true},"usageMetadata":{"promptTokenCount":3,"responseTokenCount":2,"promptTokensDetails":[{"modality":"AUDIO","tokenCount":1}]}}',
            b'{"clientContent":{"turns":[],"turnComplete":true}}\n{"realtimeInput":{"text":"a"}}\n{"toolCall":{"functionCalls":[{"name":"f","args":{}}]}}\n{"serverContent":{"interrupted":true}}\n{"toolResponse":{}}',
        ),
        (b'"setup":{', b'"model":', b'"serverContent":{', b'"usageMetadata":{', b"\n", b'"turn_complete":true', b"null", b"[]", b"\\u006d"),
    ),
)  # fmt: skip
