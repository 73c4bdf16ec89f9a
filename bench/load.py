"""The two instruments of the benchmark: the load generator `lg` and the mock provider."""

import http.client
import subprocess
from pathlib import Path

import msgspec

from bench import machine

FLAGS = ("-O2", "-Wall", "-Wextra")

# An everyday request of 845 bytes. `auto` lets the gateway decide; the others relay it as it is.
# A temperature above 0 is one that no cache may answer.
REQUEST = {
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


class Load(msgspec.Struct, frozen=True):
    """What `lg` saw: times in milliseconds, CPU in seconds, unknown is None (see lg.c)."""

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
        """Whole answers for each CPU-second of the processes under load."""
        return self.answered / self.cpu if self.cpu else None

    @property
    def events_per_cpu_second(self) -> float | None:
        """Stream chunks for each CPU-second of the processes under load."""
        return self.events / self.cpu if self.cpu else None


class Setting(msgspec.Struct, frozen=True):
    """How the mock answers: chunks of a stream, and waits in microseconds (see mock.c)."""

    n: int = 256
    delay_us: int = 0
    ttft_us: int = 0
    lat_us: int = 0


class Counted(msgspec.Struct, frozen=True):
    """What the mock has answered so far: whole replies and whole streams."""

    served: int
    streams: int


class Broken(Exception):
    """A measurement is void: answers failed, were cut, or did not come from the provider."""


class Instruments(msgspec.Struct, frozen=True):
    """The compiled instruments and the two request bodies, whole and streamed, as files."""

    mock: Path
    lg: Path
    whole: Path
    stream: Path


def build(folder: Path) -> Instruments:
    """Compiles the instruments into a folder; raises `Missing` where no compiler works."""
    compiler = machine.find("cc")
    source = Path(__file__).parent
    built = Instruments(
        folder / "mock", folder / "lg", folder / "whole.json", folder / "stream.json"
    )
    for program in (built.mock, built.lg):
        command = [compiler, *FLAGS, "-o", str(program), str(source / f"{program.name}.c")]
        done = subprocess.run(command, check=False, capture_output=True)
        if done.returncode:
            said = done.stderr.decode(errors="replace")
            raise machine.Missing(
                f"{' '.join(command)} failed; a whole compiler is installed with:"
                f" {machine.install('cc')}\n{said}"
            )
    built.whole.write_bytes(msgspec.json.encode(REQUEST))
    built.stream.write_bytes(msgspec.json.encode(REQUEST | {"stream": True}))
    return built


def run(
    instruments: Instruments,
    port: int,
    *,
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
    """Loads a port and says what was seen; the arguments are the options of lg.c.

    Raises `Broken` when an answer failed or a stream was cut: such figures mean nothing.
    """
    options: dict[str, object] = {
        "-p": port,
        "-b": instruments.stream if stream else instruments.whole,
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
    """Sets how the mock on this port answers, and what it has answered so far."""
    fields = msgspec.structs.asdict(setting) if setting else {}
    query = "&".join(f"{name}={value}" for name, value in fields.items())
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", f"/__ctl?{query}")
        return msgspec.json.decode(connection.getresponse().read(), type=Counted)
    finally:
        connection.close()
