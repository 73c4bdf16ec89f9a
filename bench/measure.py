"""The measurements: the same loads on every peer in turn, several rounds of them."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import msgspec

from bench import load, machine, peers
from bench.load import Broken, Instruments, Load, Setting
from bench.machine import Machine
from bench.peers import Peer, Running, Start

CHUNKS = 256
EVENTS = CHUNKS + 2  # and finish, and [DONE]; nobody asks for the usage chunk
DIRECT = "direct"


class Scene(msgspec.Struct, frozen=True):
    """One load: how many ask, for what, and how the mock answers.

    `seconds` are measured after `warm` seconds, `quick` and a third of it in a quick run; `direct`
    is whether the mock is measured too, because the time that a peer adds to it is asked for.
    """

    name: str
    connections: int
    seconds: float
    quick: float
    warm: float = 0.3
    setting: Setting = Setting()
    direct: bool = False
    stream: bool = False
    bursts: bool = False
    ramp_us: int = 0


SCENES = (
    Scene("plain", connections=64, seconds=2, quick=0.6),
    Scene("single", connections=1, seconds=1.5, quick=0.3, direct=True),
    Scene(
        "burst",
        connections=16,
        seconds=1.5,
        quick=0.4,
        setting=Setting(lat_us=100_000),
        direct=True,
        bursts=True,
    ),
    # The ramp spreads the streams over the 5 ms, as those of strangers are: each chunk is a wakeup.
    Scene(
        "paced",
        connections=32,
        seconds=2,
        quick=0.8,
        setting=Setting(n=CHUNKS, delay_us=5_000),
        stream=True,
        ramp_us=10_156,
    ),
    Scene("rush", connections=32, seconds=1.5, quick=0.4, setting=Setting(n=CHUNKS), stream=True),
    # The ramp spreads the requests over a whole stream: eight at once are no everyday case.
    Scene(
        "first",
        connections=8,
        seconds=1.5,
        quick=0.4,
        setting=Setting(n=20, delay_us=5_000),
        direct=True,
        stream=True,
        ramp_us=11_875,
    ),
)


class Scale(msgspec.Struct, frozen=True):
    """How much is measured: rounds, cold starts, and requests between idle and used memory."""

    rounds: int
    starts: int
    requests: int
    quick: bool


FULL = Scale(rounds=5, starts=3, requests=20_000, quick=False)
QUICK = Scale(rounds=3, starts=3, requests=4_000, quick=True)


class Memory(msgspec.Struct, frozen=True):
    """Resident memory in bytes: after the first answer, and after the scale's requests."""

    idle: int
    used: int


class Results(msgspec.Struct, frozen=True):
    """A whole run. A round is scene -> peer -> load."""

    machine: Machine
    scale: Scale
    peers: list[str]
    starts: dict[str, list[Start]]
    memory: dict[str, Memory]
    rounds: list[dict[str, dict[str, Load]]]


type Tell = Callable[[str], None]


def run(
    measured: list[Peer], instruments: Instruments, folder: Path, scale: Scale, tell: Tell
) -> Results:
    """Measures the peers in front of one mock, all running at once and loaded one at a time.

    Raises `Unstarted` where a peer does not start, `Broken` where an answer is not good.
    """
    here = machine.describe()
    with ExitStack() as stack:
        stack.enter_context(machine.pinned(here.load_cpu))
        mock, _ = peers.start(
            peers.Mock(instruments), folder / DIRECT, instruments.whole, cpu=here.load_cpu
        )
        stack.enter_context(mock)
        running, starts, memory = [mock], {}, {}
        for peer in measured:
            tell(f"{peer.name}: {scale.starts} starts, {scale.requests:,} requests")
            one, starts[peer.name] = _start(peer, folder, instruments, mock, here, scale)
            running.append(stack.enter_context(one))
            memory[peer.name] = _fill(one, instruments, mock, scale)
        rounds = []
        for number in range(scale.rounds):
            tell(f"round {number + 1} of {scale.rounds}")
            # Every other round goes the other way: what drifts within a round evens out.
            order = running[::-1] if number % 2 else running
            rounds.append(
                {s.name: _scene(s, order, instruments, mock, quick=scale.quick) for s in SCENES}
            )
    return Results(here, scale, [peer.name for peer in measured], starts, memory, rounds)


def _start(
    peer: Peer, folder: Path, instruments: Instruments, mock: Running, here: Machine, scale: Scale
) -> tuple[Running, list[Start]]:
    """Starts a peer several times, each time anew, and keeps the last running."""
    starts: list[Start] = []
    while True:
        one, start = peers.start(
            peer,
            folder / peer.name / str(len(starts)),
            instruments.whole,
            cpu=here.gateway_cpu,
            upstream=mock.port,
        )
        starts.append(start)
        if len(starts) == scale.starts:
            return one, starts
        one.stop()


def _fill(one: Running, instruments: Instruments, mock: Running, scale: Scale) -> Memory:
    """Memory before and after many requests; they warm the peer up, too."""
    load.control(mock.port, Setting())
    idle = machine.resident(one.pids())
    load.run(instruments, one.port, connections=64, seconds=120, most=scale.requests)
    return Memory(idle, machine.resident(one.pids()))


def _scene(
    scene: Scene, order: list[Running], instruments: Instruments, mock: Running, *, quick: bool
) -> dict[str, Load]:
    loads = {}
    for one in order:
        if one is mock and not scene.direct:
            continue
        before = load.control(mock.port, scene.setting)
        loads[one.name] = seen = load.run(
            instruments,
            one.port,
            pids=one.pids(),
            connections=scene.connections,
            seconds=scene.quick if quick else scene.seconds,
            warm=scene.warm / 3 if quick else scene.warm,
            stream=scene.stream,
            events=scene.setting.n + EVENTS - CHUNKS if scene.stream else 0,
            bursts=scene.bursts,
            ramp_us=scene.ramp_us,
        )
        after = load.control(mock.port)
        asked = after.served - before.served + after.streams - before.streams
        if asked < seen.total:
            raise Broken(f"{one.name} gave {seen.total} answers, the provider only {asked}")
    return loads
