"""Measure the same loads on every peer in turn, in several rounds."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import msgspec

from bench import load, machine, peers
from bench.install_size import Weight
from bench.load import Broken, Instruments, Load, Setting, Size
from bench.machine import Machine
from bench.peers import Peer, Running, Start, Unstarted

CHUNKS = 256
EVENTS = CHUNKS + 2  # and finish, and [DONE]; no request asks for the usage chunk
DIRECT = "direct"
REST = 0.05
RESTS = 100
TRIES = 3


class Scene(msgspec.Struct, frozen=True):
    """One load: the number of connections, the request, and the mock's settings.

    A measurement lasts `seconds`, after `warm` seconds. A quick run takes `quick` seconds and a
    third of the warm-up. A slow peer is measured longer. `direct` is true if the mock is measured
    too, for the time that a peer adds to it.
    """

    name: str
    connections: int
    seconds: float
    quick: float
    warm: float = 0.25
    setting: Setting = Setting()
    direct: bool = False
    stream: bool = False
    bursts: bool = False
    ramp_us: int = 0
    size: Size = "small"


SCENES = (
    Scene("plain", connections=64, seconds=1.2, quick=0.6),
    Scene("single", connections=1, seconds=0.8, quick=0.3, direct=True),
    Scene(
        "burst",
        connections=16,
        seconds=0.9,
        quick=0.4,
        setting=Setting(lat_us=100_000),
        direct=True,
        bursts=True,
    ),
    # The ramp spreads the streams over the 5 ms, as those of strangers are: each chunk is a wakeup.
    Scene(
        "paced",
        connections=32,
        seconds=1.2,
        quick=0.8,
        setting=Setting(n=CHUNKS, delay_us=5_000),
        stream=True,
        ramp_us=10_156,
    ),
    Scene("rush", connections=32, seconds=0.8, quick=0.4, setting=Setting(n=CHUNKS), stream=True),
    # The ramp spreads the requests over a whole stream: eight at once are no everyday case.
    Scene(
        "first",
        connections=8,
        seconds=0.9,
        quick=0.4,
        setting=Setting(n=20, delay_us=5_000),
        direct=True,
        stream=True,
        ramp_us=11_875,
    ),
    Scene("middle", connections=16, seconds=0.7, quick=0.3, size="middle"),
    Scene("large", connections=4, seconds=0.7, quick=0.4, size="large"),
)


class Scale(msgspec.Struct, frozen=True):
    """The size of a run: rounds, cold starts, and requests between idle and used memory.

    `starts` counts starts of the gateway and nginx, `others` of other gateways. `patience` is the
    number of seconds after which these requests end, however few were answered.
    """

    rounds: int
    starts: int
    requests: int
    quick: bool
    patience: float = 60
    others: int = 1


FULL = Scale(rounds=5, starts=3, requests=20_000, quick=False, patience=20, others=2)
QUICK = Scale(rounds=3, starts=3, requests=4_000, quick=True, patience=10)


class Memory(msgspec.Struct, frozen=True):
    """Resident memory in bytes: after the first answer, and after a number of requests."""

    idle: int
    used: int
    requests: int


class Results(msgspec.Struct, frozen=True):
    """A whole run. A round is scene -> peer -> load, without the peers that failed in it.

    `at` is the start of the run, in UTC; `notes` name what is left out, and why.
    """

    at: str
    machine: Machine
    scale: Scale
    peers: list[str]
    versions: dict[str, str]
    weights: dict[str, Weight]
    starts: dict[str, list[Start]]
    memory: dict[str, Memory]
    rounds: list[dict[str, dict[str, Load]]]
    notes: list[str]


type Tell = Callable[[str], None]


def _tried[T](peer: Peer, what: str, measure: Callable[[], T], notes: list[str]) -> T:
    """Return a measurement; repeat and note a broken one of a peer whose failure would end the run.

    A busy machine can make the gateway refuse calls: Redis has 100 ms to answer. Raises `Broken` if
    three measurements are broken, or one of a foreign peer.
    """
    for _ in range(0 if peer.foreign else TRIES - 1):
        try:
            return measure()
        except Broken as error:
            notes.append(f"{peer.name} is measured again in {what}: {error}")
    return measure()


def run(
    measured: list[Peer],
    instruments: Instruments,
    folder: Path,
    scale: Scale,
    tell: Tell,
    notes: Sequence[str] = (),
) -> Results:
    """Measure the peers in front of one mock; all run at once, and one at a time is under load.

    Raises `Unstarted` if the gateway or nginx does not start, and `Broken` if one of their answers
    is bad. For other peers that is a note, and the run leaves out what they cannot do.
    """
    here = machine.describe()
    at = datetime.now(UTC).isoformat(timespec="minutes")
    notes_so_far = list(notes)
    with ExitStack() as stack:
        stack.enter_context(machine.pinned(here.load_cpu))
        mock, _ = peers.start(
            peers.Mock(instruments), folder / DIRECT, instruments, cpu=here.load_cpu
        )
        stack.enter_context(mock)
        running, starts, memory = [mock], {}, {}
        for peer in measured:
            tell(f"{peer.name}: starts, and {scale.requests:,} requests")
            try:
                peer_process, starts[peer.name] = _start(
                    peer, folder, instruments, mock, here, scale
                )
                stack.enter_context(peer_process)
                fill = partial(_fill, peer_process, instruments, mock, scale)
                memory[peer.name] = _tried(peer, "memory", fill, notes_so_far)
            except (Unstarted, Broken) as error:
                _left_out(peer, "all", error, notes_so_far)
                starts.pop(peer.name, None)
            else:
                running.append(peer_process)
        rounds = []
        for number in range(scale.rounds):
            tell(f"round {number + 1} of {scale.rounds}")
            # Every other round goes backwards, so that drift within a round evens out.
            order = running[::-1] if number % 2 else running
            rounds.append(
                {
                    s.name: _scene(s, order, instruments, mock, notes_so_far, quick=scale.quick)
                    for s in SCENES
                }
            )
    ran = [peer for peer in measured if peer.name in memory]
    return Results(
        at=at,
        machine=here,
        scale=scale,
        peers=[peer.name for peer in ran],
        versions={peer.name: peer.version() for peer in ran},
        weights={peer.name: weight for peer in ran if (weight := peer.weight())},
        starts=starts,
        memory=memory,
        rounds=rounds,
        notes=notes_so_far,
    )


def _left_out(peer: Peer, what: str, error: Exception, notes: list[str]) -> None:
    """Add one note for each scene; raise the error if the peer is not foreign."""
    if not peer.foreign:
        raise error
    note = f"{peer.name} is left out of {what}: "
    if not any(earlier.startswith(note) for earlier in notes):
        notes.append(note + str(error).splitlines()[0])


def _start(
    peer: Peer, folder: Path, instruments: Instruments, mock: Running, here: Machine, scale: Scale
) -> tuple[Running, list[Start]]:
    """Start a peer several times, each time anew, and keep the last one running."""
    starts: list[Start] = []
    while True:
        running, start = peers.start(
            peer,
            folder / peer.name / str(len(starts)),
            instruments,
            cpu=here.gateway_cpu,
            upstream=mock.port,
        )
        starts.append(start)
        if len(starts) == (scale.others if peer.foreign else scale.starts):
            return running, starts
        running.stop()


def _fill(running: Running, instruments: Instruments, mock: Running, scale: Scale) -> Memory:
    """Measure the memory before and after many requests, which also warm the peer up."""
    load.control(mock.port, Setting())
    idle = machine.resident(running.pids())
    seen = load.run(
        instruments,
        running.port,
        ask=running.ask,
        connections=64,
        seconds=scale.patience,
        most=scale.requests,
    )
    _rest(running)
    return Memory(idle, machine.resident(running.pids()), seen.total)


def _scene(
    scene: Scene,
    order: list[Running],
    instruments: Instruments,
    mock: Running,
    notes: list[str],
    *,
    quick: bool,
) -> dict[str, Load]:
    loads = {}
    for running in order:
        if running is mock and not scene.direct:
            continue
        if running.peer.scenes is not None and scene.name not in running.peer.scenes:
            continue
        try:
            measure = partial(_load, scene, running, instruments, mock, quick=quick)
            loads[running.name] = _tried(running.peer, scene.name, measure, notes)
        except Broken as error:
            _left_out(running.peer, scene.name, error, notes)
    return loads


def _load(
    scene: Scene, running: Running, instruments: Instruments, mock: Running, *, quick: bool
) -> Load:
    load.control(mock.port, scene.setting)
    if running.peer.hits:  # from its first answer on, the peer has the request in its cache
        load.run(
            instruments, running.port, ask=running.ask, size=scene.size, stream=scene.stream, most=1
        )
    before = load.control(mock.port)
    seen = load.run(
        instruments,
        running.port,
        ask=running.ask,
        size=scene.size,
        pids=running.pids(),
        connections=scene.connections,
        seconds=running.peer.slow * (scene.quick if quick else scene.seconds),
        warm=running.peer.slow * (scene.warm / 3 if quick else scene.warm),
        stream=scene.stream,
        events=scene.setting.n + EVENTS - CHUNKS if scene.stream else 0,
        bursts=scene.bursts,
        ramp_us=scene.ramp_us,
    )
    _rest(running)
    after = load.control(mock.port)
    requests = after.served - before.served + after.streams - before.streams
    if requests < seen.total and not running.peer.hits:
        raise Broken(f"{running.name} gave {seen.total} answers, the provider only {requests}")
    if requests * 50 > seen.total and running.peer.hits:
        raise Broken(f"{running.name} asked the provider {requests} times for {seen.total} answers")
    return seen


def _rest(running: Running, sleep: Callable[[float], None] = time.sleep) -> None:
    """Wait while the peer still works on finished requests: the next peer needs its CPU."""
    for _ in range(RESTS):
        before = machine.cpu_seconds(running.pids()).ran
        sleep(REST)
        if machine.cpu_seconds(running.pids()).ran - before < REST / 10:
            return
