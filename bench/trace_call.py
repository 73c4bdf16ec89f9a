"""Trace a warm call in a gateway that really serves: files, functions, instructions.

    python -m bench.trace_call [TREE]

TREE is another checkout with a .venv of its own; without it, this tree is traced. Each kind of call
is made several times on one connection, alone. The trace that most of the calls have counts,
because timers of the gateway run beside some. Only functions of gateway/ on the event loop's thread
count, with their instructions of the interpreter.
"""

import argparse
import http.client
import json
import socket
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count, pairwise
from pathlib import Path

import msgspec

from bench import load, peers
from bench.load import Ask
from bench.peers import ROOT, Place, Stage, Unstarted, Wrapped

UNTRACED = 1
WARM_CALLS = 30
WINDOWS = 50
CHUNKS = 16
CHUNK_DELAY_US = 2_000
"""Microseconds between chunks, so that the gateway reads each chunk of a stream on its own."""
_TRACER = Path(__file__).with_name("call_tracer.py")
_CONNECT_SECONDS = 10.0


class Traced(Wrapped):
    """A set-up of the gateway that runs under the recorder."""

    def command(self, place: Place) -> list[str]:
        """Run the recorder in place of the gateway's module, with the same interpreter."""
        python, *_ = self.peer.command(place)
        return [python, "-P", str(_TRACER), str(control_socket(place.folder))]


class Trace(msgspec.Struct, frozen=True):
    """The functions that one call began, each with its file, in the order in which they began."""

    functions: list[tuple[str, str]]
    instructions: dict[str, int] = {}
    """The instructions of the interpreter in each file."""

    @property
    def files(self) -> list[str]:
        """Return the files in the order in which the call first comes to them."""
        return list(dict.fromkeys(file for file, _ in self.functions))

    @property
    def order(self) -> list[str]:
        """Return the files, once for each time that the call comes to one from another."""
        files = [file for file, _ in self.functions]
        return files[:1] + [file for before, file in pairwise(files) if file != before]

    @property
    def changes(self) -> int:
        """Return how often the file changes."""
        return max(len(self.order) - 1, 0)

    @property
    def function_counts(self) -> Counter[str]:
        """Return the number of different functions called in each file."""
        return Counter(file for file, _ in set(self.functions))


class Kind(msgspec.Struct, frozen=True):
    """A kind of call."""

    name: str
    set_up: str = "plain"
    """The name of a set-up of `bench.peers`."""
    ask: Ask | None = None
    """The request; None is that of the set-up."""
    stream: bool = False


KINDS = (
    Kind("a named model"),
    Kind("auto", ask=Ask("auto")),
    Kind("a stream", stream=True),
    Kind("a cache hit", "cache", Ask(temperature=0, vary=False)),
    Kind("everything on", "full"),
)


class Client:
    """A client that sends each request in one piece, on one connection."""

    def __init__(self, port: int, body: bytes, ask: Ask) -> None:
        """Take the request; each copy has a number of its own if `ask` varies it."""
        self._socket = socket.create_connection(("127.0.0.1", port), _CONNECT_SECONDS)
        self._body = body
        self._ask = ask
        self._numbers = count(1)

    def call(self) -> None:
        """Send a request, and read its answer to the end. Raises `Broken` if the answer is bad."""
        body = self._body
        if self._ask.vary:
            body = body.replace(load.VARIED.encode(), b"%09d" % next(self._numbers))
        head = (
            f"POST {self._ask.path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json"
        )
        head += "".join([f"\r\n{name}: {value}" for name, value in self._ask.headers])
        self._socket.sendall(
            b"%s\r\nContent-Length: %d\r\n\r\n%s" % (head.encode(), len(body), body)
        )
        with http.client.HTTPResponse(self._socket) as response:
            response.begin()
            answer = response.read()
        if response.status != http.HTTPStatus.OK:
            raise load.Broken(f"the gateway answered {response.status}: {answer[:500].decode()}")

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


class Windows:
    """A client of the recorder in the gateway."""

    def __init__(self, path: Path) -> None:
        """Connect to its socket."""
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._lines = self._socket.makefile("rwb")

    def trace(self, client: Client) -> Trace:
        """Trace one call."""
        self._tell("start")
        client.call()
        return msgspec.convert(self._tell("stop"), Trace)

    def close(self) -> None:
        """Close the connection."""
        self._lines.close()
        self._socket.close()

    def _tell(self, word: str) -> object:
        self._lines.write(f"{word}\n".encode())
        self._lines.flush()
        return json.loads(self._lines.readline())


def control_socket(folder: Path) -> Path:
    """Return the path of the recorder's socket."""
    return folder / "trace.sock"


@contextmanager
def gateway(kind: Kind, stage: Stage, tree: Path) -> Iterator[tuple[Client, Windows]]:
    """Run a gateway of a tree under the recorder; yield a client of it and its windows."""
    with ExitStack() as ends:
        running, _ = peers.start(
            Traced(peers.set_up(kind.set_up, ends, tree)),
            stage.folder / kind.name.replace(" ", "-"),
            stage.instruments,
            cpu=stage.here.gateway_cpu,
            upstream=stage.mock.port,
        )
        ends.enter_context(running)
        ask = kind.ask or running.ask
        body = stage.instruments.body(ask, stream=kind.stream).read_bytes()
        client = Client(running.port, body, ask)
        ends.callback(client.close)
        windows = Windows(control_socket(stage.folder / kind.name.replace(" ", "-")))
        ends.callback(windows.close)
        yield client, windows


def trace(kind: Kind, stage: Stage, tree: Path = ROOT) -> Trace:
    """Trace one warm call of a kind. Raises `Unstarted` and `Broken` as the bench does."""
    load.control(stage.mock.port, load.Setting(n=CHUNKS, delay_us=CHUNK_DELAY_US))
    with gateway(kind, stage, tree) as (client, windows):
        for _ in range(WARM_CALLS):
            client.call()
        traces = [windows.trace(client) for _ in range(WINDOWS)]
    return most_common(traces)


def most_common(traces: Sequence[Trace]) -> Trace:
    """Pick the most common trace, because timers run beside some calls; of equals the shortest."""
    counts = Counter(tuple(trace.functions) for trace in traces)
    return max(traces, key=lambda trace: (counts[tuple(trace.functions)], -len(trace.functions)))


def render(kind: Kind, trace: Trace, tree: Path) -> str:
    """Format a trace as a table of its files, and the order in which the call comes to them."""
    lengths = {
        file: len((tree / "gateway" / file).read_text("utf-8").splitlines()) for file in trace.files
    }
    functions = trace.function_counts
    numbers = {file: number for number, file in enumerate(trace.files, 1)}
    total = (
        f"{kind.name}: {len(trace.files)} files, {functions.total()} functions,"
        f" {trace.changes} changes of file, {sum(trace.instructions.values()):,} instructions;"
        f" these files have {sum(lengths.values()):,} lines"
    )
    lines = [total, "   number  functions  instructions  lines  file"]
    lines += [
        f"   {numbers[file]:>6}  {functions[file]:>9}  {trace.instructions.get(file, 0):>12}"
        f"  {lengths[file]:>5}  {file}"
        for file in trace.files
    ]
    order = " ".join(str(numbers[file]) for file in trace.order)
    lines += textwrap.wrap(f"order: {order}", 100, initial_indent="   ", subsequent_indent="   ")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Trace and print; return the exit status: 1 if a kind of call could not be traced."""
    parser = argparse.ArgumentParser(prog="python -m bench.trace_call", description=__doc__)
    parser.add_argument("tree", nargs="?", type=Path, default=ROOT)
    tree = parser.parse_args(arguments).tree.resolve()
    status = 0
    with peers.stage() as stage:
        for kind in KINDS:
            try:
                text = render(kind, trace(kind, stage, tree), tree)
            except Unstarted as error:  # an older tree may not know a key of bench/*.yaml
                status, text = UNTRACED, f"{kind.name}: {error}"
            sys.stdout.write(text + "\n\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
