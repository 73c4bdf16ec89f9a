"""Measure how long one request or one answer holds the event loop, and how far it makes the gateway grow.

    python -m bench.loop_hold [--only WORDS] [--values N] [--bytes N]

A gateway serves on asyncio's own loop, and measures itself: `bench.loop_recorder`. A provider in
this process answers. Each case sends one request. If a bound was missed, it sends it twice again, and
the least counts: what holds the loop does so each time. Time is CPU time, so other programs on the
machine hardly count. Exit status: 0 every bound holds, 1 one was missed.
"""

import argparse
import http.client
import http.server
import itertools
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.sync.server import ServerConnection
from websockets.sync.server import serve as serve_sessions

from bench.free_port import find_free_port
from bench.loop_shapes import MODELS, Case, list_answers, list_requests, make_answer, make_request
from bench.loop_streams import list_others, list_streams
from gateway.core import json_size

MAX_HOLD = 50.0
"""Milliseconds of CPU at a stretch."""
MAX_GROWTH = 8.0
"""Times the size of the request or answer, as it came or as it went on."""
_ABOVE_LATIN = re.compile(rb"[\xc4-\xf4]|\\u(?!00)")
"""A character above U+00FF, as it is or escaped."""
_SPARE_BYTES = 16_000_000
"""Growth that counts for no request: buffers of sockets, threads, what an import loads."""
_VALUE_BYTES = 500
"""Further growth for each value and name: an object of Python, in each form of the request."""
_REPEATS = ("start", "start calls")
"""The windows of a case that has missed a bound: the least of all counts. The last times calls."""
_SESSION_BYTES = 15_000_000
"""Bytes of a session's message, at most: as shipped the gateway takes 16 MB."""
_OWN_VALUES = 100
"""Values of the rest of a request or answer, at most."""
MISSED = 1
_ROOT = Path(__file__).parent.parent


class Figures(msgspec.Struct, frozen=True):
    """The figures of one case."""

    case: Case
    status: int
    size: int
    values: int
    loop: float
    """Milliseconds of CPU of the longest stretch on the loop."""
    call: float
    """Milliseconds of CPU of the longest call of C code in another thread, or more."""
    call_name: str
    """The name of this call; empty if none was long enough to be timed."""
    cpu: float
    memory: int
    character_bytes: int = 1
    """The bytes that Python takes for each character of the text."""

    @property
    def growth(self) -> float:
        """Return by how many times its size the gateway grew, beyond what its values may take."""
        values = min(self.values, json_size.MAX_VALUES)
        size = self.size * self.character_bytes
        return max(0, self.memory - _SPARE_BYTES - _VALUE_BYTES * values) / size

    @property
    def hold(self) -> float:
        """Return the milliseconds for which the loop could serve nobody else."""
        return max(self.loop, self.call)

    @property
    def met(self) -> bool:
        """True if both bounds hold."""
        return self.hold <= MAX_HOLD and self.growth <= MAX_GROWTH


class Provider(http.server.ThreadingHTTPServer):
    """A provider of all dialects: it answers with `answer`, or with a short text."""

    answer: bytes | None = None
    content_type = "application/json"
    daemon_threads = True


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        length = int(self.headers["content-length"])
        while length > 0:
            length -= len(self.rfile.read(min(length, 1 << 20)))
        self._answer()

    def _answer(self) -> None:
        server = self.server
        assert isinstance(server, Provider)
        body = server.answer or _answer(self.path)
        self.send_response(200)
        kind = server.content_type if server.answer else "application/json"
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def _answer(path: str) -> bytes:
    if "embeddings" in path:
        return b'{"object":"list","model":"e","data":[{"index":0,"embedding":[0.5]}],"usage":{"prompt_tokens":3,"total_tokens":3}}'
    if "count" in path:
        return b'{"input_tokens":3}'
    if "files" in path:
        return b'{"id":"file-%d","object":"file","bytes":1}' % next(_numbers)
    lab = path.split("/")[1]
    return make_answer(
        {"chat": "chat", "claude": "messages", "reply": "responses", "google": "gemini"}[lab]
    )


class Gateway:
    """A gateway under the recorder."""

    def __init__(self, folder: Path, provider: int, sessions: int) -> None:
        """Start it before a provider's port, and a port for sessions."""
        self.port = find_free_port()
        control = folder / "loop.sock"
        environment = {k: v for k, v in os.environ.items() if not k.startswith("TIERGATE_")}
        environment |= {
            "PYTHONPATH": str(_ROOT),
            "TIERGATE_CONFIG": str(_ROOT / "bench/loop_hold.yaml"),
            "TIERGATE_SERVER__PORT": str(self.port),
            "TIERGATE_DATA": str(folder / "data"),
            "BENCH_UPSTREAM": f"http://127.0.0.1:{provider}",
            "BENCH_SESSIONS": f"http://127.0.0.1:{sessions}",
        }
        command = [sys.executable, "-P", str(_ROOT / "bench/loop_recorder.py"), str(control)]
        self._log = folder / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        self._socket = socket.socket(socket.AF_UNIX)
        self._connect(control)
        self._lines = self._socket.makefile("rwb")

    def _connect(self, control: Path) -> None:
        for _ in range(3_000):
            try:
                with socket.create_connection(("127.0.0.1", self.port)):
                    self._socket.connect(str(control))
                    return
            except OSError:
                if self._process.poll() is not None:
                    break
                time.sleep(0.02)
        raise RuntimeError(f"the gateway did not start:\n{self._log.read_text()}")

    def tell(self, word: str) -> Any:
        """Begin or end a window."""
        self._lines.write(f"{word}\n".encode())
        self._lines.flush()
        return json.loads(self._lines.readline())

    def ask(
        self, path: str, body: bytes, method: str = "POST", content_type: str = "application/json"
    ) -> tuple[int, int]:
        """Send a request, read its answer, and return the status and the bytes of the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request(method, path, body, {"content-type": content_type})
            answer = connection.getresponse()
            return answer.status, len(answer.read())
        finally:
            connection.close()

    def talk(self, path: str, message: bytes) -> tuple[int, int]:
        """Send a message in a session, and read one; return how it ended, and the bytes read."""
        url = f"ws://127.0.0.1:{self.port}{path}"
        with connect(url, max_size=None, compression=None) as connection:
            try:
                connection.send(message, text=True)
                return 101, len(connection.recv(timeout=120))
            except ConnectionClosed as error:
                return error.rcvd.code if error.rcvd is not None else 0, 0

    def stop(self) -> None:
        """End it."""
        self._lines.close()
        self._socket.close()
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()


def measure(gateway: Gateway, provider: Provider, case: Case, size: int) -> Figures:
    """Measure one case at a number of values, or of bytes of text."""
    data = make_data(case, min(size, _SESSION_BYTES) if case.is_session else size)
    provider.answer = data if case.is_answer else None
    provider.content_type = "text/event-stream" if case.stream else "application/json"

    def ask() -> tuple[int, int]:
        if case.is_session:
            return gateway.talk(case.path, b'{"type":"a"}' if case.is_answer else data)
        if case.is_upload:
            return gateway.ask(case.path, make_upload(data), content_type=_UPLOAD_TYPE)
        body = make_small_request(case) if case.is_answer else data
        return gateway.ask(case.path, body, case.method)

    def measure_once(word: str) -> Figures:
        gateway.tell(word)
        status, answer_size = ask()
        window = gateway.tell("stop")
        return Figures(
            case=case,
            status=status,
            size=max(len(data), answer_size),
            values=json_size.bound_values(data),
            loop=window["loop"] * 1e3,
            call=window["call"] * 1e3,
            call_name=window["call_name"],
            cpu=window["cpu"] * 1e3,
            memory=window["memory"],
            character_bytes=measure_characters(data),
        )

    least = measure_once("start")
    for word in _REPEATS:
        if least.met:
            break
        figures = measure_once(word)
        least = msgspec.structs.replace(
            least,
            loop=min(least.loop, figures.loop),
            call=min(least.call, figures.call),
            call_name=figures.call_name,
            memory=min(least.memory, figures.memory),
        )
    return least


def make_data(case: Case, size: int) -> bytes:
    """Return the request or answer of a case; one with many values has as many as `size`."""
    data = case.make(size)
    if not case.is_text:
        values = json_size.bound_values(data)
        data = case.make(size * size // values - _OWN_VALUES)
    return data


def measure_characters(data: bytes) -> int:
    """Return the bytes that Python takes for each character of the longest text."""
    if json_size.has_wide_text(data):
        return 4
    return 2 if _ABOVE_LATIN.search(data) is not None else 1


_numbers = itertools.count()


def make_small_request(case: Case) -> bytes:
    """Return a request to which a case's answer belongs; no two are equal, because of the cache."""
    text = b'"hi %d"' % next(_numbers)
    if case.request is not None:
        return case.request.replace(_HI, text)
    if case.endpoint == "embeddings":
        return b'{"model":"embed-1","input":%b}' % text
    more = b',"stream":true' if case.stream and case.endpoint != "gemini" else b""
    return make_request(case.endpoint, MODELS[case.target], text=text, more=more)


_HI = b'"hi"'
_UPLOAD_TYPE = "multipart/form-data; boundary=bench"


def make_upload(file: bytes) -> bytes:
    """Return a form that uploads a file of a batch."""
    part = b'--bench\r\ncontent-disposition: form-data; name="%b"%b\r\n\r\n%b\r\n'
    name = b'; filename="a.jsonl"\r\ncontent-type: application/jsonl'
    return part % (b"purpose", b"", b"batch") + part % (b"file", name, file) + b"--bench--\r\n"


@contextmanager
def serve() -> Iterator[tuple[Gateway, Provider]]:
    """Run a provider and a gateway."""
    with tempfile.TemporaryDirectory(prefix="tiergate-loop-") as folder:
        provider = Provider(("127.0.0.1", 0), _Handler)
        threading.Thread(target=provider.serve_forever, daemon=True).start()

        def talk(connection: ServerConnection) -> None:
            for _ in connection:
                connection.send(provider.answer or b'{"type":"a"}', text=True)

        sessions = serve_sessions(talk, "127.0.0.1", 0, max_size=None, compression=None)
        threading.Thread(target=sessions.serve_forever, daemon=True).start()
        gateway = Gateway(Path(folder), provider.server_port, sessions.socket.getsockname()[1])
        try:
            warm_up = b'"%b"' % (b"words " * 300_000)
            gateway.ask("/v1/chat/completions", make_request("chat", "chat-1", text=warm_up))
            yield gateway, provider
        finally:
            gateway.stop()
            sessions.shutdown()
            provider.shutdown()
            provider.server_close()


def name_kind(case: Case) -> str:
    """Return what a case has many of: requests, answers or events."""
    if not case.is_answer:
        return "request"
    return "stream" if case.stream else "answer"


def render(figures: Figures) -> str:
    """Format the figures of a case as a line."""
    case = figures.case
    kind = name_kind(case)
    mark = " " if figures.met else "!"
    return (
        f"{mark} {kind:<8}{case.endpoint + ' > ' + case.target:<24}{case.form:<28}{figures.status:>4}"
        f"{figures.size:>12,}{figures.values:>11,}{figures.loop:>8.1f}{figures.call:>8.1f}{figures.cpu:>9.0f}"
        f"{figures.growth:>7.1f}  {figures.call_name if figures.call > 5 else ''}"
    )


HEAD = f"  {'kind':<8}{'endpoint > target':<24}{'form':<28}{'':>4}{'bytes':>12}{'values':>11}{'loop':>8}{'call':>8}{'cpu':>9}{'growth':>7}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m bench.loop_hold", description=__doc__)
    parser.add_argument("--only", nargs="*", default=[], help="words that a line must have")
    parser.add_argument("--values", type=int, default=200_000, help="of a case with many values")
    parser.add_argument("--bytes", type=int, default=31_000_000, help="of a case with a long text")
    options = parser.parse_args(arguments)
    has_missed = False
    sys.stdout.write(HEAD + "\n")
    with serve() as (gateway, provider):
        for case in (*list_requests(), *list_answers(), *list_streams(), *list_others()):
            words = f"{name_kind(case)} {case.endpoint}>{case.target} {case.form}"
            if not all(word in words for word in options.only):
                continue
            size = options.bytes if case.is_text else options.values
            figures = measure(gateway, provider, case, size)
            has_missed = has_missed or not figures.met
            sys.stdout.write(render(figures) + "\n")
            sys.stdout.flush()
    return MISSED if has_missed else 0


if __name__ == "__main__":
    sys.exit(main())
