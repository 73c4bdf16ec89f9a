"""Measure what a chunk of a stream costs the gateway's own code: CPU in this process, without a socket.

    python -m bench.chunk

Each dialect's provider writes a paced stream of text, one frame a read. For a client of the same
dialect, the stream inspector passes it on; for a client of each other dialect, the gateway
translates it. Exit status: 0 every bound holds, 1 one was missed.
"""

import argparse
import sys
import time
from collections.abc import Callable, Sequence

import msgspec

from gateway.core.canonical_request import CanonicalRequest
from gateway.core.events import End, Event, Finish, Start, TextDelta, UsageUpdate
from gateway.core.usage import Usage
from gateway.dialects import DIALECTS, ResponseContext, TranslatableRequest, Translation
from gateway.dialects.base import Dialect, RequestBody, StreamInspector
from gateway.dialects.translation import get_translation

HOME = 3.0
ABROAD = 12.0
"""Microseconds of CPU that one chunk may cost: native, and translated."""
CHUNKS = 256
ROUNDS = 40
MISSED = 1

_USAGE = Usage(input=900, output=CHUNKS)
_TELLING = ResponseContext(
    id="01chunk", created_at=1, model="model-1", state_label="0123456789abcdef"
)
_ASK = b'{"model":"model-1","stream":true,"max_tokens":9,"max_output_tokens":99,%s}'
_ASKS = {
    "openai-chat": _ASK % b'"messages":[{"role":"user","content":"hi"}]',
    "anthropic-messages": _ASK % b'"messages":[{"role":"user","content":"hi"}]',
    "openai-responses": _ASK % b'"input":"hi"',
    "gemini": b'{"contents":[{"role":"user","parts":[{"text":"hi"}]}]}',
}
_PATHS = {"gemini": "/v1beta/models/model-1:streamGenerateContent"}


class Cost(msgspec.Struct, frozen=True):
    """Microseconds of CPU for one chunk of `provider` to a client of the dialect `client`."""

    provider: str
    client: str
    cost: float

    @property
    def bound(self) -> float:
        """Return the largest cost that meets the bound."""
        return HOME if self.provider == self.client else ABROAD

    @property
    def met(self) -> bool:
        """True if the bound holds."""
        return self.cost <= self.bound


def measure(rounds: int, clock: Callable[[], float] = time.process_time) -> list[Cost]:
    """Measure every provider with every client. `clock` counts seconds."""
    measured_costs = []
    for door in DIALECTS.values():
        sent = stream(door)
        for client in DIALECTS.values():
            costs = [_round(client, door, sent, clock) for _ in range(rounds)]
            measured_costs.append(Cost(door.name, client.name, min(costs)))
    return measured_costs


class Stream(msgspec.Struct, frozen=True):
    """A provider's stream, one frame a read: the frames before, CHUNKS pieces of text, the end."""

    before: list[bytes]
    chunks: list[bytes]
    after: list[bytes]


def stream(dialect: Dialect) -> Stream:
    """Make a stream of text as a provider of this dialect writes it."""
    load = msgspec.structs.replace(_TELLING, request=_request(dialect))
    encoder = get_translation(dialect).make_encoder(load)

    def write(*events: Event) -> list[bytes]:
        written = [data for data in map(encoder.write, events) if data]
        return [_as_google(data) for data in written] if dialect.name == "gemini" else written

    return Stream(
        write(Start(id="r-1", model="model-1", created=1, usage=_USAGE), TextDelta("Words")),
        write(*(TextDelta(f" word{at}") for at in range(CHUNKS))),
        write(UsageUpdate(_USAGE), Finish("stop"), End()),
    )


def render(costs: Sequence[Cost]) -> str:
    """Format the costs as a table: a row for each provider, a column for each client."""
    names = list(dict.fromkeys(cost.provider for cost in costs))
    width = max(map(len, names)) + 2
    lines = ["".join(["provider".ljust(width), *(f"{name:>{width}}" for name in names)])]
    for name in names:
        row = [cost for cost in costs if cost.provider == name]
        cells = (f"{cost.cost:.1f}{' ' if cost.met else '!'}" for cost in row)
        lines.append("".join([name.ljust(width), *(f"{cell:>{width}}" for cell in cells)]))
    lines.append(f"microseconds of CPU a chunk; at most {HOME:g} at home, {ABROAD:g} abroad")
    return "\n".join(lines)


def main(arguments: list[str] | None = None, clock: Callable[[], float] = time.process_time) -> int:
    """Measure and print; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.chunk", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of each, the best one counts")
    costs = measure(parser.parse_args(arguments).rounds, clock)
    sys.stdout.write(render(costs) + "\n")
    return 0 if all(cost.met for cost in costs) else MISSED


def _round(client: Dialect, door: Dialect, sent: Stream, clock: Callable[[], float]) -> float:
    watch = _watch(client, door)
    for data in sent.before:
        watch.feed(data)
    feed = watch.feed
    before = clock()
    for data in sent.chunks:
        feed(data)
    spent = clock() - before
    for data in sent.after:
        watch.feed(data)
    watch.end()
    if not watch.complete:
        raise RuntimeError(f"{door.name} to {client.name}: the stream did not end")
    return spent / CHUNKS * 1e6


def _watch(client: Dialect, door: Dialect) -> StreamInspector:
    body = _body(client)
    if client is door:
        return door.inspect_stream(body)
    telling = msgspec.structs.replace(_TELLING, prompt_tokens=9)
    return Translation(client, door, _request(client), telling).inspect_stream(body)


def _body(dialect: Dialect) -> RequestBody:
    raw = _ASKS[dialect.name]
    if dialect.read_with_path is None:
        return dialect.read(raw)
    return dialect.read_with_path(raw, _PATHS[dialect.name])


def _request(dialect: Dialect) -> CanonicalRequest:
    return TranslatableRequest(dialect, _body(dialect)).request


def _as_google(frame: bytes) -> bytes:
    """Add to a frame what Google writes beside its text: usage so far, and lines that end in CRLF."""
    chunk = msgspec.json.decode(frame.removeprefix(b"data: "))
    used = {
        "promptTokenCount": 900,
        "candidatesTokenCount": 7,
        "totalTokenCount": 907,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 900}],
    }
    chunk = {"candidates": chunk.pop("candidates"), "usageMetadata": used} | chunk
    return b"data: " + msgspec.json.encode(chunk).replace(b":", b": ") + b"\r\n\r\n"


if __name__ == "__main__":
    sys.exit(main())
