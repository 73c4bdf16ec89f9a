"""Peers are started alone, on their CPU, and stopped; what goes wrong is told."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import __main__ as command
from bench import floor, load, machine, measure, peers, table
from bench.load import Instruments, Setting
from bench.measure import Scene
from bench.peers import Mock, Nginx, Place, Running, Tiergate, Unstarted

CPUS = sorted(os.sched_getaffinity(0))


@pytest.fixture(scope="module")
def instruments(tmp_path_factory: pytest.TempPathFactory) -> Instruments:
    try:
        return load.build(tmp_path_factory.mktemp("instruments"))
    except machine.Missing as missing:
        pytest.skip(str(missing))


@pytest.fixture
def mock(instruments: Instruments, tmp_path: Path) -> Iterator[Running]:
    running, _ = peers.start(Mock(instruments), tmp_path / "mock", instruments.whole, cpu=CPUS[-1])
    with running:
        yield running


class Program:
    """A peer that is one Python program."""

    name = "program"

    def __init__(self, program: str) -> None:
        self._program = program

    def command(self, place: Place) -> list[str]:
        return [sys.executable, "-c", self._program, str(place.port)]

    def environment(self, place: Place) -> dict[str, str]:
        return {"OWN": str(place.upstream)}


# Answers everything by itself, like a gateway with a warm cache.
CACHED = """
import http.server, sys
class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Answer).serve_forever()
"""


def test_nginx_relays_what_the_mock_says(
    instruments: Instruments, mock: Running, tmp_path: Path
) -> None:
    try:
        nginx = Nginx()
    except machine.Missing as missing:
        pytest.skip(str(missing))
    running, start = peers.start(
        nginx, tmp_path / "nginx", instruments.whole, cpu=CPUS[0], upstream=mock.port
    )
    with running:
        assert start.seconds > 0
        assert len(running.pids()) == 2  # its master and its one worker
        assert {frozenset(os.sched_getaffinity(pid)) for pid in running.pids()} == {
            frozenset({CPUS[0]})
        }
        scene = Scene(
            "paced", connections=4, seconds=1, quick=0.2, setting=Setting(n=8, delay_us=2000),
            direct=True, stream=True,
        )  # fmt: skip
        seen = measure._scene(scene, [mock, running], instruments, mock, quick=True)
        assert list(seen) == ["direct", "nginx"]
        assert seen["nginx"].events > 0
        assert seen["nginx"].events_per_cpu_second is not None
        # Chunks are passed on as they come, not collected.
        assert seen["nginx"].gap50 is not None
        assert seen["nginx"].gap50 > 1
    assert running.ended()


def test_a_run_measures_every_scene_of_every_round(
    instruments: Instruments, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        measured = [Nginx()]
    except machine.Missing as missing:
        pytest.skip(str(missing))
    scenes = (
        Scene("plain", connections=2, seconds=1, quick=0.1),
        Scene("single", connections=1, seconds=1, quick=0.1, direct=True),
    )
    monkeypatch.setattr(measure, "SCENES", scenes)
    scale = measure.Scale(rounds=2, starts=2, requests=50, quick=True)
    before = os.sched_getaffinity(0)
    seen = measure.run([*measured], instruments, tmp_path, scale, lambda _: None)
    assert [list(group) for group in seen.rounds] == [["plain", "single"]] * 2
    # What drifts within a round evens out: every other one goes backwards.
    assert [list(group["single"]) for group in seen.rounds] == [
        ["direct", "nginx"],
        ["nginx", "direct"],
    ]
    assert [list(group["plain"]) for group in seen.rounds] == [["nginx"]] * 2
    assert len(seen.starts["nginx"]) == 2
    assert seen.memory["nginx"].used >= seen.memory["nginx"].idle > 1_000_000
    assert os.sched_getaffinity(0) == before


def test_answers_that_never_reached_the_provider_are_refused(
    instruments: Instruments, mock: Running, tmp_path: Path
) -> None:
    running, _ = peers.start(
        Program(CACHED), tmp_path / "program", instruments.whole, cpu=CPUS[0], upstream=mock.port
    )
    scene = Scene("plain", connections=1, seconds=1, quick=0.1)
    with running, pytest.raises(load.Broken, match="the provider only 0"):
        measure._scene(scene, [running], instruments, mock, quick=True)


def test_a_peer_that_ends_is_told_with_what_it_wrote(
    instruments: Instruments, tmp_path: Path
) -> None:
    with pytest.raises(Unstarted, match=r"program ended(.|\n)*the port is taken"):
        peers.start(
            Program("raise SystemExit('the port is taken')"),
            tmp_path,
            instruments.whole,
            cpu=CPUS[0],
        )


def test_a_peer_that_never_answers_well_is_told_and_stopped(
    instruments: Instruments, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = machine.family(os.getpid())
    monkeypatch.setattr(peers, "START_SECONDS", 1.0)
    program = CACHED.replace("send_response(200)", "send_response(503)")
    with pytest.raises(Unstarted, match="program answered 503"):
        peers.start(Program(program), tmp_path, instruments.whole, cpu=CPUS[0])
    assert machine.family(os.getpid()) == before


def test_a_peer_sees_its_own_environment_and_not_the_callers_gateway(
    instruments: Instruments, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIERGATE_KEYS", "theirs")
    monkeypatch.setenv("REDIS_URL", "theirs")
    monkeypatch.setenv("https_proxy", "theirs")
    monkeypatch.setenv("OTHER", "kept")
    program = (
        "import os; [print(k, v) for k, v in os.environ.items() if v in ('theirs', 'kept', '7')]"
    )
    with pytest.raises(Unstarted) as refused:
        peers.start(Program(program), tmp_path, instruments.whole, cpu=CPUS[0], upstream=7)
    assert str(refused.value).splitlines()[-2:] == ["OTHER kept", "OWN 7"]


def test_the_gateway_is_run_with_rules_prices_and_ledger_and_no_cache() -> None:
    from gateway.settings.load import load as read  # noqa: PLC0415 - a peer but for this test

    place = Place(Path("/folder"), 1234, 5678)
    environment = Tiergate().environment(place)
    config = read(Path(environment["TIERGATE_CONFIG"]), environment).config
    assert config.server.port == 1234
    assert config.providers["mock"].base_url == "http://127.0.0.1:5678/v1"
    assert config.cache.ttl == 0
    assert config.guards
    assert config.choices
    models = {target.model for lab in config.labs.values() for target in lab.smart}
    assert all(config.models[model].price for model in models)


def test_what_is_missing_ends_the_run_with_its_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "dnf").write_text("")
    (tmp_path / "dnf").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(machine, "SBIN", "")
    assert command.main(["--quick"]) == 2
    assert (
        capsys.readouterr().err == "bench: nginx is missing; install it with: dnf install nginx\n"
    )


@pytest.mark.parametrize(("ratio", "status"), [(0.5, 0), (0.001, 1)])
def test_a_missed_floor_is_the_exit_status(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    instruments: Instruments,
    ratio: float,
    status: int,
) -> None:
    """The whole command with everything measured replaced, but for the floors."""
    verdict = floor.Verdict("tiergate", table.ROWS[0], floor.FLOORS[0], ratio)
    monkeypatch.setattr(command, "Nginx", lambda: None)
    monkeypatch.setattr(load, "build", lambda _: instruments)
    monkeypatch.setattr(measure, "run", lambda *_: {"rounds": []})
    monkeypatch.setattr(table, "render", lambda _: "the table")
    monkeypatch.setattr(floor, "verdicts", lambda _: [verdict])
    written = tmp_path / "results.json"
    assert command.main(["--floors", "--json", str(written)]) == status
    assert written.read_bytes() == b'{\n  "rounds": []\n}\n'
    assert command.main([]) == 0  # without --floors nothing is judged
