"""The bench starts peers alone on their CPU, stops them, and reports what goes wrong."""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import httpx
import msgspec
import pytest

from bench import __main__ as command
from bench import figures, floor, load, machine, measure, peers, redis_process, report, table
from bench.load import Instruments, Setting
from bench.measure import Scene
from bench.other_gateways import OTHERS
from bench.peers import (
    SET_UPS,
    Cached,
    Full,
    Mock,
    Nginx,
    Peer,
    Place,
    Running,
    Shipped,
    Tiergate,
    Unstarted,
)
from gateway.evaluation import golden
from gateway.limits import keys
from gateway.runtime.build import build_config
from gateway.settings.loader import load as read
from gateway.settings.schema.root import Config

CPUS = sorted(os.sched_getaffinity(0))


@pytest.fixture(scope="module")
def instruments(tmp_path_factory: pytest.TempPathFactory) -> Instruments:
    try:
        return load.build(tmp_path_factory.mktemp("instruments"))
    except machine.Missing as missing:
        pytest.skip(str(missing))


@pytest.fixture
def mock(instruments: Instruments, tmp_path: Path) -> Iterator[Running]:
    running, _ = peers.start(Mock(instruments), tmp_path / "mock", instruments, cpu=CPUS[-1])
    with running:
        yield running


class PeerProgram(Peer):
    """A peer that is one Python program."""

    name = "program"

    def __init__(self, program: str, *, foreign: bool = False, hits: bool = False) -> None:
        self._program = program
        self.foreign = foreign
        self.hits = hits

    def command(self, place: Place) -> list[str]:
        return [sys.executable, "-c", self._program, str(place.port)]

    def environment(self, place: Place) -> dict[str, str]:
        return {"OWN": str(place.upstream)}


# Answers every request itself, like a gateway with a warm cache.
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


def test_nginx_relays_the_answers_of_the_mock(
    instruments: Instruments, mock: Running, tmp_path: Path
) -> None:
    try:
        nginx = Nginx()
    except machine.Missing as missing:
        pytest.skip(str(missing))
    running, start = peers.start(
        nginx, tmp_path / "nginx", instruments, cpu=CPUS[0], upstream=mock.port
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
        measured = measure._scene(scene, [mock, running], instruments, mock, [], quick=True)
        assert list(measured) == ["direct", "nginx"]
        assert measured["nginx"].events > 0
        assert measured["nginx"].events_per_cpu_second is not None
        # The peer passes chunks on as they come; it does not collect them.
        assert measured["nginx"].gap50 is not None
        assert measured["nginx"].gap50 > 1
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
    # Every other round goes backwards, so that drift within a round evens out.
    assert [list(group["single"]) for group in seen.rounds] == [
        ["direct", "nginx"],
        ["nginx", "direct"],
    ]
    assert [list(group["plain"]) for group in seen.rounds] == [["nginx"]] * 2
    assert len(seen.starts["nginx"]) == 2
    assert seen.memory["nginx"].used >= seen.memory["nginx"].idle > 1_000_000
    assert os.sched_getaffinity(0) == before


def test_the_bench_refuses_answers_that_never_reached_the_provider(
    instruments: Instruments, mock: Running, tmp_path: Path
) -> None:
    running, _ = peers.start(
        PeerProgram(CACHED), tmp_path / "program", instruments, cpu=CPUS[0], upstream=mock.port
    )
    scene = Scene("plain", connections=1, seconds=1, quick=0.1)
    with running, pytest.raises(load.Broken, match="the provider only 0"):
        measure._scene(scene, [running], instruments, mock, [], quick=True)


def test_the_bench_leaves_a_failing_gateway_out_and_notes_it_once(
    instruments: Instruments, mock: Running, tmp_path: Path
) -> None:
    """A gateway that does not start is left out as well; the bench measures the others."""
    wrong = CACHED.replace(
        "send_response(200)",
        "send_response(200 if int(self.headers['content-length']) < 999 else 500)",
    )
    running, _ = peers.start(
        PeerProgram(wrong, foreign=True),
        tmp_path / "program",
        instruments,
        cpu=CPUS[0],
        upstream=mock.port,
    )
    scene = Scene("large", connections=1, seconds=1, quick=0.1, size="large")
    notes: list[str] = []
    with running:
        for _ in range(2):
            assert not measure._scene(scene, [running], instruments, mock, notes, quick=True)
    assert len(notes) == 1
    assert notes[0].startswith("program is left out of large: ")
    scale = measure.Scale(rounds=1, starts=1, requests=1, quick=True)
    broken = PeerProgram("raise SystemExit('no')", foreign=True)
    measured = measure.run([broken], instruments, tmp_path, scale, lambda _: None)
    assert (measured.peers, measured.starts, measured.memory) == ([], {}, {})
    assert measured.notes[0].startswith("program is left out of all: program ended: ")


@pytest.mark.parametrize(
    ("foreign", "failures", "measured"),
    [(False, 0, 1), (False, 2, 3), (False, 3, 3), (True, 1, 1)],
)
def test_a_broken_measurement_of_the_gateway_is_repeated_and_noted(
    foreign: bool, failures: int, measured: int
) -> None:
    """The third failure ends the run; another gateway is left out at its first."""
    calls: list[int] = []
    notes: list[str] = []

    def measure_once() -> str:
        calls.append(len(calls))
        if len(calls) <= failures:
            raise load.Broken("7 errors")
        return "load"

    peer = PeerProgram("", foreign=foreign)
    if failures < measured:
        assert measure._tried(peer, "plain", measure_once, notes) == "load"
    else:
        with pytest.raises(load.Broken, match="7 errors"):
            measure._tried(peer, "plain", measure_once, notes)
    assert len(calls) == measured
    assert notes == ["program is measured again in plain: 7 errors"] * (measured - 1)


def test_the_bench_measures_a_peer_only_in_its_own_scenes(
    instruments: Instruments, mock: Running, tmp_path: Path
) -> None:
    peer = PeerProgram(CACHED, hits=True)
    peer.scenes = frozenset({"plain"})
    running, _ = peers.start(
        peer, tmp_path / "program", instruments, cpu=CPUS[0], upstream=mock.port
    )
    with running:
        for name, expected in (("plain", ["program"]), ("other", [])):
            scene = Scene(name, connections=1, seconds=1, quick=0.1)
            measured = measure._scene(scene, [running], instruments, mock, [], quick=True)
            assert list(measured) == expected


def test_the_bench_refuses_a_cache_that_asks_the_provider(
    instruments: Instruments, mock: Running
) -> None:
    """A peer with a cache should answer by itself; this one, the mock, sends each call to the provider."""
    mock.peer.hits = True
    scene = Scene("plain", connections=1, seconds=1, quick=0.1)
    with pytest.raises(load.Broken, match="asked the provider"):
        measure._load(scene, mock, instruments, mock, quick=True)


def test_the_error_of_a_peer_that_ends_has_its_output(
    instruments: Instruments, tmp_path: Path
) -> None:
    with pytest.raises(Unstarted, match=r"program ended(.|\n)*the port is taken"):
        peers.start(
            PeerProgram("raise SystemExit('the port is taken')"),
            tmp_path,
            instruments,
            cpu=CPUS[0],
        )


def test_a_peer_that_never_answers_with_success_is_stopped_with_an_error(
    instruments: Instruments, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = machine.family(os.getpid())
    monkeypatch.setattr(peers, "START_SECONDS", 3.0)
    program = CACHED.replace("send_response(200)", "send_response(503)")
    with pytest.raises(Unstarted, match="program answered 503"):
        peers.start(PeerProgram(program), tmp_path, instruments, cpu=CPUS[0])
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
        peers.start(PeerProgram(program), tmp_path, instruments, cpu=CPUS[0], upstream=7)
    assert str(refused.value).splitlines()[-2:] == ["OTHER kept", "OWN 7"]


def configured(peer: Tiergate, folder: Path) -> Config:
    return read(
        Path(peer.environment(Place(folder, 1234, 5678))["TIERGATE_CONFIG"]),
        peer.environment(Place(folder, 1234, 5678)),
    ).config


def test_the_plain_relay_has_prices_but_no_rules_keys_or_cache(tmp_path: Path) -> None:
    config = configured(Tiergate(), tmp_path)
    assert config.server.port == 1234
    assert config.providers["mock"].base_url == "http://127.0.0.1:5678/v1"
    assert (config.cache.ttl, config.keys.store) == (0, "open")
    assert not config.guards
    assert not config.choices
    models = {target.model for lab in config.labs.values() for target in lab.smart}
    assert models == {Tiergate().ask(Place(tmp_path, 0, 0)).model}
    assert all(config.models[model].price for model in models)


def test_the_full_set_up_has_a_key_limits_budgets_rules_and_the_classifier(tmp_path: Path) -> None:
    peer = Full("redis://127.0.0.1:1/0")
    config = configured(peer, tmp_path)
    assert config.limits
    assert config.budgets
    assert len(config.guards) + len(config.choices) >= 5
    assert config.cache.ttl == 0
    key_table = keys.load(config.keys.store, tmp_path, "")
    ask = peer.ask(Place(tmp_path, 0, 0))
    assert len(key_table) == 1
    assert dict(ask.headers)["authorization"] == f"Bearer {peers.SECRET}"
    assert ask.model == "auto"
    assert peer.environment(Place(tmp_path, 0, 0))["REDIS_URL"] == "redis://127.0.0.1:1/0"


def test_in_the_full_set_up_the_classifier_decides(tmp_path: Path) -> None:
    """The classifier decides the small request; otherwise the figure would leave it out."""
    config = read(
        Path(peers.__file__).with_name("full.yaml"), Full("").environment(Place(tmp_path, 1, 2))
    )
    built = build_config(config, datetime(2026, 11, 26, tzinfo=UTC))
    turn = load.request("small", load.Ask("auto"))["messages"]
    assert isinstance(turn, list)
    prompt = golden.GoldenPrompt(prompt=turn[1]["content"], tier="fast")
    (verdict,) = golden.decide_prompts(built.router, [prompt])
    assert verdict.source == "classifier"


def test_the_shipped_set_up_is_the_shipped_file_with_the_mock_as_provider(
    tmp_path: Path,
) -> None:
    peer, place = Shipped(), Place(tmp_path, 1234, 5678)
    config = configured(peer, tmp_path)
    shipped = read(peers.ROOT / "config/gateway.yaml", {}).config
    assert config.server.port == 1234
    assert config.providers["openai"].base_url == "http://127.0.0.1:5678/v1"
    assert (config.cache, config.routing, config.ledger) == (
        shipped.cache,
        shipped.routing,
        shipped.ledger,
    )
    assert (config.guards, config.choices) == (shipped.guards, shipped.choices)
    assert peer.ask(place).model == "auto"
    assert msgspec.structs.replace(peer.ask(place), model="mock-smart") == Tiergate().ask(place)


def test_provider_keys_of_the_caller_turn_no_provider_on(
    instruments: Instruments, mock: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gateway answers from the mock, and knows no models of other providers."""
    monkeypatch.setenv("MISTRAL_API_KEY", "theirs")
    monkeypatch.setenv("OLLAMA_BASE_URL", "http://127.0.0.1:9/v1")
    running, _ = peers.start(
        Shipped(), tmp_path / "shipped", instruments, cpu=CPUS[0], upstream=mock.port
    )
    with running:
        before = load.control(mock.port).served
        assert load.run(instruments, running.port, ask=running.ask, most=3).answered == 3
        assert load.control(mock.port).served >= before + 3
        answer = httpx.get(f"http://127.0.0.1:{running.port}/v1/models", trust_env=False)
    listed = {model["owned_by"] for model in answer.json()["data"]}
    assert "openai" in str(listed)
    assert not {"mistral", "ollama"} & listed


@pytest.mark.parametrize("name", [name for name in SET_UPS if name != "full"])
def test_a_set_up_of_another_tree_runs_its_code_with_its_interpreter(
    name: str, tmp_path: Path
) -> None:
    (tmp_path / "config").mkdir()
    with ExitStack() as ends:
        peer = peers.set_up(name, ends, tmp_path)
    place = Place(tmp_path, 1, 2)
    environment = peer.environment(place)
    assert type(peer) is SET_UPS[name]
    assert peer.command(place)[0] == str(tmp_path / ".venv/bin/python")
    assert environment["PYTHONPATH"].split(os.pathsep)[-1] == str(tmp_path)
    own = "config/gateway.yaml"
    assert (environment["TIERGATE_CONFIG"] == str(tmp_path / own)) == (name == "shipped")


def test_the_cached_set_up_gets_the_same_request_each_time(tmp_path: Path) -> None:
    config = configured(Cached(), tmp_path)
    ask = Cached().ask(Place(tmp_path, 0, 0))
    assert config.cache.ttl > 0
    assert (ask.temperature, ask.vary) == (0, False)
    assert Cached.scenes is not None
    assert Cached.scenes <= {scene.name for scene in measure.SCENES}


def test_a_missing_tool_ends_a_run_with_floors_and_names_the_install_command(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    instruments: Instruments,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "dnf").write_text("")
    (tmp_path / "dnf").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(machine, "SBIN", "")
    monkeypatch.setattr(load, "build", lambda _: instruments)
    assert command.main(["--quick", "--floors"]) == 2
    assert (
        capsys.readouterr().err == "bench: nginx is missing; install it with: dnf install nginx\n"
    )


def test_a_run_without_floors_leaves_missing_tools_out_and_names_the_commands(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    instruments: Instruments,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """nginx, Redis and gateways that are not installed are left out; the bench measures the rest."""
    (tmp_path / "dnf").write_text("")
    (tmp_path / "dnf").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(machine, "SBIN", "")
    monkeypatch.setattr(redis_process, "program", lambda: None)
    monkeypatch.setattr(load, "build", lambda _: instruments)
    arguments: list[object] = []
    monkeypatch.setattr(measure, "run", lambda *given: arguments.extend(given))
    monkeypatch.setattr(table, "render", lambda _: "the table")
    assert command.main(["--peers", "ferrogw,portkey,other", "--rounds", "2"]) == 0
    measured, scale, notes = arguments[0], arguments[3], arguments[-1]
    assert scale == msgspec.structs.replace(measure.FULL, rounds=2)
    assert isinstance(measured, list)
    assert [peer.name for peer in measured] == [
        "tiergate",
        "tiergate-shipped",
        "tiergate-cache",
    ]
    assert notes == [
        "nginx is left out: nginx is missing; install it with: dnf install nginx",
        "ferrogw is left out: ferrogw is not installed; install it with: make bench-peers",
        "portkey is left out: node is missing; install it with: dnf install nodejs",
        f"other is left out: there is no such peer; there are: {', '.join(OTHERS)}",
        "tiergate-full is left out: redis-server is missing; install it with: dnf install valkey",
    ]
    assert capsys.readouterr().err == "".join(f"bench: {note}\n" for note in notes)


@pytest.mark.parametrize(("ratio", "status"), [(0.5, 0), (0.001, 1)])
def test_a_missed_floor_sets_the_exit_status(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    ratio: float,
    status: int,
) -> None:
    """The whole command runs; only the floors are real, all measurements are replaced."""
    (first, *_) = floor.FLOORS["tiergate"]
    verdict = floor.Verdict("tiergate", figures.ROWS[0], first, ratio)
    monkeypatch.setattr(command, "_measure", lambda _: {"rounds": []})
    monkeypatch.setattr(table, "render", lambda _: "the table")
    monkeypatch.setattr(floor, "verdicts", lambda _: [verdict])
    written = tmp_path / "results.json"
    assert command.main(["--floors", "--json", str(written)]) == status
    assert written.read_bytes() == b'{\n  "rounds": []\n}\n'
    assert command.main([]) == 0  # without --floors nothing is judged


def test_the_bench_shows_saved_results_without_measuring(
    capsys: pytest.CaptureFixture[str],
) -> None:
    newest = report.newest()
    assert command.main(["--from", str(newest)]) == 0
    assert capsys.readouterr().out == table.render(report.read(newest)) + "\n"
