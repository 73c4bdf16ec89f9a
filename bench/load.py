"""The two instruments of the benchmark: the load generator `lg` and the mock provider."""

import http.client
import subprocess
from pathlib import Path
from typing import Literal

import msgspec

from bench import machine

FLAGS = ("-O2", "-Wall", "-Wextra")

# An everyday request of 845 bytes. No cache may answer a temperature above 0.
REQUEST: dict[str, object] = {
    "model": "auto",
    "messages": [
        {
            "role": "system",
            "content": "You are the assistant of an online shop for outdoor equipment. Answer in"
            " at most five sentences, in the customer's language, and never promise a date of"
            " delivery. When you do not know the answer, say so and name the page on which the"
            " customer can look it up.",
        },
        {
            "role": "user",
            "content": "Hello, I bought a two person tent from you in spring and used it for the"
            " first time last weekend. It rained all night and in the morning there was water"
            " along the seam on the left side of the groundsheet. Is this something that I can"
            " repair myself with seam sealer, or is it a case for the warranty? It was pitched on"
            " short grass, with all pegs in and the vents open. The order number is 4711-0815, and"
            " I still have the receipt. Thank you!",
        },
    ],
    "temperature": 0.7,
    "max_tokens": 1000,
    "user": "customer-8231",
}


VARIED = "4711-0815"
"""The text that each request replaces with its own number, so that no two requests are equal."""
type Size = Literal["small", "middle", "large"]
"""845 bytes, about 20 KB of a conversation, about 400 KB of one with 60 tools."""
TURNS: dict[Size, int] = {"small": 0, "middle": 34, "large": 480}
TOOLS: dict[Size, int] = {"small": 0, "middle": 0, "large": 60}
_TURN = (
    "That is the seam which the groundsheet has on its left side; the tape there has come off over"
    " a length of about forty centimetres, and the fabric under it looks sound. Clean it with warm"
    " water and a little soap, let it dry for a day, and put a thin film of sealer on it with a"
    " brush. Then it has to dry for another day before the tent is packed. A picture of the label"
    " at the door would help to tell which fabric it is, since sealers for the one do not hold on"
    " the other. The vents should stay open at night, too: some of the water is likely to be breath."
)


def request(size: Size, ask: "Ask") -> dict[str, object]:
    """Build a whole request: the everyday one, with more turns and tools if it is larger."""
    turns = [
        {"role": ("assistant", "user")[at % 2], "content": f"({at}) {_TURN}"}
        for at in range(TURNS[size])
    ]
    first = REQUEST["messages"]
    assert isinstance(first, list)
    body = REQUEST | {
        "model": ask.model,
        "messages": [*first, *turns],
        "temperature": ask.temperature,
        "user": ask.user,
    }
    if tools := [_tool(number) for number in range(TOOLS[size])]:
        body["tools"] = tools
    return body


def _tool(number: int) -> dict[str, object]:
    fields = {
        f"field_{at}": {
            "type": "string",
            "description": f"What the order's field {at} is to be: as it stands on the label,"
            " without spaces, in capital letters; empty where there is none.",
        }
        for at in range(8)
    }
    return {
        "type": "function",
        "function": {
            "name": f"change_order_{number}",
            "description": f"Changes part {number} of an order, and says what it was before.",
            "parameters": {"type": "object", "properties": fields, "required": ["field_0"]},
        },
    }


class Ask(msgspec.Struct, frozen=True):
    """The request to a peer: its model, its path, and the headers beside the usual ones."""

    model: str = "mock-smart"
    path: str = "/v1/chat/completions"
    headers: tuple[tuple[str, str], ...] = ()
    temperature: float = 0.7
    user: str = "customer-8231"
    vary: bool = True


class Load(msgspec.Struct, frozen=True):
    """The measurements of `lg`: times in milliseconds, CPU in seconds; None is unknown (see lg.c)."""

    connections: int
    total: int
    answered: int
    errors: int
    events: int
    short: int
    undone: int
    status: int | None
    seconds: float
    cpu: float | None
    waited: float | None
    p50: float | None
    p90: float | None
    p99: float | None
    ttft50: float | None
    ttft99: float | None
    gap50: float | None
    gap99: float | None

    @property
    def answers_per_cpu_second(self) -> float | None:
        """Whole answers per CPU-second of the processes under load."""
        return self.answered / self.cpu if self.cpu else None

    @property
    def events_per_cpu_second(self) -> float | None:
        """Stream chunks per CPU-second of the processes under load."""
        return self.events / self.cpu if self.cpu else None


class Setting(msgspec.Struct, frozen=True):
    """The mock's settings: chunks of a stream, and waits in microseconds (see mock.c)."""

    n: int = 256
    delay_us: int = 0
    ttft_us: int = 0
    lat_us: int = 0


class Counted(msgspec.Struct, frozen=True):
    """Number of whole replies and whole streams that the mock has sent so far."""

    served: int
    streams: int


class Broken(Exception):
    """A measurement is void: answers failed, were cut, or did not come from the provider."""


class Instruments(msgspec.Struct, frozen=True):
    """The compiled instruments, in a folder that also holds the request bodies."""

    folder: Path

    @property
    def mock(self) -> Path:
        """Return the path of the mock provider."""
        return self.folder / "mock"

    @property
    def lg(self) -> Path:
        """Return the path of the load generator."""
        return self.folder / "lg"

    def body(self, ask: Ask, size: Size = "small", *, stream: bool = False) -> Path:
        """Return the request as a file; write it if it does not exist."""
        kind = "stream" if stream else "whole"
        name = f"{ask.model}-{ask.temperature}-{ask.user}-{size}-{kind}.json"
        file = self.folder / name.replace("/", "-")
        if not file.exists():
            body = request(size, ask)
            file.write_bytes(msgspec.json.encode(body | ({"stream": True} if stream else {})))
        return file


def build(folder: Path) -> Instruments:
    """Compile the instruments into a folder; raise `Missing` if no compiler works."""
    compiler = machine.find("cc")
    source = Path(__file__).parent
    built = Instruments(folder)
    for program in (built.mock, built.lg):
        command = [compiler, *FLAGS, "-o", str(program), str(source / f"{program.name}.c")]
        done = subprocess.run(command, check=False, capture_output=True)
        if done.returncode:
            errors = done.stderr.decode(errors="replace")
            raise machine.Missing(
                f"{' '.join(command)} failed; a whole compiler is installed with:"
                f" {machine.install('cc')}\n{errors}"
            )
    return built


def run(
    instruments: Instruments,
    port: int,
    *,
    ask: Ask = Ask(),  # noqa: B008 - it is frozen
    size: Size = "small",
    pids: list[int] | None = None,
    connections: int = 1,
    seconds: float = 1,
    warm: float = 0,
    most: int = 0,
    stream: bool = False,
    events: int = 0,
    bursts: bool = False,
    ramp_us: int = 0,
) -> Load:
    """Load a port and return the measurements; the arguments are the options of lg.c.

    Raises `Broken` if an answer failed or a stream was cut: such figures mean nothing.
    """
    options: dict[str, object] = {
        "-p": port,
        "-P": ask.path,
        "-b": instruments.body(ask, size, stream=stream),
        "-c": connections,
        "-d": seconds,
        "-w": warm,
        "-n": most,
        "-e": events,
        "-r": ramp_us,
    }
    if pids:
        options["-i"] = ",".join(map(str, pids))
    command = [str(instruments.lg), *(str(word) for pair in options.items() for word in pair)]
    command += ["-s"] * stream + ["-g"] * bursts
    command += ["-v", VARIED] if ask.vary else []
    command += [word for header in ask.headers for word in ("-H", ": ".join(header))]
    done = subprocess.run(command, check=False, capture_output=True)
    if done.returncode:
        raise Broken(done.stderr.decode().strip() or f"lg ended with {done.returncode}")
    load = msgspec.json.decode(done.stdout, type=Load)
    if load.errors or load.short or load.undone or not (load.answered or load.events):
        raise Broken(
            f"{load.errors} errors (last status {load.status}), {load.short} short streams,"
            f" {load.undone} streams without [DONE], {load.answered} answers"
        )
    return load


def control(port: int, setting: Setting | None = None) -> Counted:
    """Set how the mock on this port answers, and return the number of its answers so far."""
    fields = msgspec.structs.asdict(setting) if setting else {}
    query = "&".join(f"{name}={value}" for name, value in fields.items())
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", f"/__ctl?{query}")
        return msgspec.json.decode(connection.getresponse().read(), type=Counted)
    finally:
        connection.close()
