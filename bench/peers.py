"""The peers of the benchmark, and how they start: the mock, nginx, and the gateway's set-ups.

Other gateways are in `others`. A further peer is a class with a name and a command.
"""

import contextlib
import hashlib
import http.client
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Self

import msgspec

from bench import install_size, load, machine
from bench import redis_process as servers
from bench.free_port import find_free_port
from bench.install_size import Weight
from bench.load import Ask, Instruments

ROOT = Path(__file__).parent.parent
START_SECONDS = 90.0
STOP_SECONDS = 10.0
POLL_SECONDS = 0.002
# A comparison leaves out the settings and the Redis of the caller's own gateway.
SECRET = f"tg-bench-{0:043}"
FOREIGN = ("TIERGATE_", "REDIS_URL", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_VARIABLE = re.compile(r"\$\{([A-Z][A-Z_]*)")
"""A variable of the environment that a configuration reads."""

NGINX = """\
daemon off;
worker_processes 1;
{user}
pid {folder}/nginx.pid;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 1000000000;
    client_body_buffer_size 512k;
    upstream mock {{
        server 127.0.0.1:{upstream};
        keepalive 128;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://mock;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
        }}
    }}
}}
"""


NOT_INSTALLED = Path(__file__).parent / "not_installed"
"""Packages that a developer has and the core does not install: httpx imports them where it finds
them, and each gateway would have 3 MB more than one that `make install` made."""


class Unstarted(Exception):
    """A peer did not start, or never answered; the message ends with the end of its log."""


class Place(msgspec.Struct, frozen=True):
    """The place in which a peer runs: its own folder, its port, and the mock's port."""

    folder: Path
    port: int
    upstream: int


class Peer:
    """A program that answers the same requests as the mock."""

    name = ""
    """The peer's name in results."""
    slow = 1.0
    """Factor by which the peer is measured longer than others, so that it answers enough."""
    scenes: frozenset[str] | None = None
    """Loads that the peer is measured under; None is all."""
    hits = False
    """True if the peer answers a repeated request from its own cache."""
    foreign = True
    """True if a failure leaves the peer out; False if it ends the run."""

    def command(self, place: Place) -> list[str]:
        """Return the command that starts it in the foreground, with one worker; may write into its folder."""
        raise NotImplementedError

    def environment(self, place: Place) -> dict[str, str]:
        """Return the variables that it needs beside the caller's environment."""
        return {}

    def ask(self, place: Place) -> Ask:
        """Return the request that it gets."""
        return Ask()

    def version(self) -> str:
        """Return its version."""
        return ""

    def weight(self) -> Weight | None:
        """Return the weight of its installation; None if it is unknown."""
        return None


class Mock(Peer):
    """The upstream itself, which added time is measured against."""

    name = "direct"
    foreign = False

    def __init__(self, instruments: Instruments) -> None:
        """Take the compiled mock."""
        self._program = instruments.mock

    def command(self, place: Place) -> list[str]:
        """Start the mock on its port."""
        return [str(self._program), str(place.port)]


class Nginx(Peer):
    """nginx as a plain reverse proxy: keep-alive on both sides, no buffering, no access log."""

    name = "nginx"
    foreign = False

    def __init__(self) -> None:
        """Find nginx. Raises `Missing` if it is not installed."""
        self._program = machine.find("nginx")

    def command(self, place: Place) -> list[str]:
        """Start in the foreground, with the configuration in the folder."""
        # As root it would run its worker as another user, who may not enter the folder.
        user = "" if os.geteuid() else "user root;"
        folder = place.folder
        config = NGINX.format(folder=folder, port=place.port, upstream=place.upstream, user=user)
        (folder / "nginx.conf").write_text(config)
        return [self._program, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"]

    def version(self) -> str:
        """Return the version that `nginx -v` prints."""
        output = subprocess.run([self._program, "-v"], check=False, capture_output=True).stderr
        return output.decode(errors="replace").strip().rpartition("/")[2]


class Tiergate(Peer):
    """The gateway as a plain relay: bench/gateway.yaml."""

    name = "tiergate"
    foreign = False
    config = "gateway.yaml"

    def __init__(self, root: Path = ROOT) -> None:
        """Take the checkout whose code serves; another tree uses the interpreter of its own .venv."""
        self._root = root

    def command(self, place: Place) -> list[str]:
        """Run `tiergate serve`."""
        python = sys.executable if self._root == ROOT else str(self._root / ".venv/bin/python")
        return [python, "-m", "gateway", "serve"]

    def environment(self, place: Place) -> dict[str, str]:
        """Set the configuration, and the port, data folder and upstream that it expects."""
        return {
            "PYTHONPATH": os.pathsep.join((str(NOT_INSTALLED), str(self._root))),
            "TIERGATE_CONFIG": str(Path(__file__).parent / self.config),
            "TIERGATE_SERVER__PORT": str(place.port),
            "TIERGATE_DATA": str(place.folder / "data"),
            "BENCH_UPSTREAM": f"http://127.0.0.1:{place.upstream}/v1",
        }

    def version(self) -> str:
        """Return the version of the installed distribution."""
        return metadata.version("tiergate")

    def weight(self) -> Weight:
        """Weigh the core alone: what `make install` installs, without the tests' tools."""
        return install_size.core(ROOT / "gateway")


class Full(Tiergate):
    """The gateway with everything on: bench/full.yaml, and a Redis."""

    name = "tiergate-full"
    config = "full.yaml"

    def __init__(self, redis: str, root: Path = ROOT) -> None:
        """Take the URL of a Redis, too."""
        super().__init__(root)
        self._redis = redis

    def environment(self, place: Place) -> dict[str, str]:
        """Add a key in a file, and Redis."""
        keys = place.folder / "keys.yaml"
        keys.write_text(f"bench:\n  sha256: {hashlib.sha256(SECRET.encode()).hexdigest()}\n")
        more = {"BENCH_KEYS": str(keys), "REDIS_URL": self._redis}
        return super().environment(place) | more

    def ask(self, place: Place) -> Ask:
        """Let the gateway decide, with the caller's key."""
        return Ask("auto", headers=(("authorization", f"Bearer {SECRET}"),))


class Shipped(Tiergate):
    """The gateway as it ships: config/ of its checkout, where the one provider with a key is the mock."""

    name = "tiergate-shipped"

    def environment(self, place: Place) -> dict[str, str]:
        """Use the shipped configuration, with OpenAI at the mock, which speaks only Chat
        Completions.

        Unset the caller's own keys, so that they enable no other provider.
        """
        config = self._root / "config"
        unset = {
            name
            for file in config.rglob("*.yaml")
            for name in _VARIABLE.findall(file.read_text("utf-8"))
        }
        environment = super().environment(place)
        return (
            dict.fromkeys(unset, "")
            | environment
            | {
                "TIERGATE_CONFIG": str(config / "gateway.yaml"),
                "TIERGATE_PROVIDERS__OPENAI__BASE_URL": environment.pop("BENCH_UPSTREAM"),
                "TIERGATE_PROVIDERS__OPENAI__DIALECTS": "{openai-chat: /chat/completions}",
                "OPENAI_API_KEY": "sk-mock",
            }
        )

    def ask(self, place: Place) -> Ask:
        """Let the gateway decide."""
        return Ask("auto")


class Cached(Tiergate):
    """The gateway answering from its cache: bench/cached.yaml."""

    name = "tiergate-cache"
    config = "cached.yaml"
    hits = True
    # Streams, bursts and first tokens measure a provider, which no cached call reaches.
    scenes = frozenset({"plain", "single", "middle", "large"})

    def ask(self, place: Place) -> Ask:
        """Ask the same request each time."""
        return Ask(temperature=0, vary=False)


class Wrapped(Tiergate):
    """A set-up of the gateway that runs under a tool: a subclass says by which command."""

    def __init__(self, peer: Tiergate) -> None:
        """Take the set-up."""
        self.peer = peer
        self.name = peer.name

    def environment(self, place: Place) -> dict[str, str]:
        """Return the set-up's environment."""
        return self.peer.environment(place)

    def ask(self, place: Place) -> Ask:
        """Return the set-up's request."""
        return self.peer.ask(place)


SET_UPS: dict[str, type[Tiergate]] = {
    "plain": Tiergate,
    "full": Full,
    "shipped": Shipped,
    "cache": Cached,
}
"""The gateway's set-ups, by their names on the command line."""


def set_up(name: str, ends: contextlib.ExitStack, root: Path = ROOT) -> Tiergate:
    """Make a set-up of a checkout; the Redis of `full` ends with `ends`.

    Raises `Missing` if there is no Redis.
    """
    if name == "full":
        return Full(ends.enter_context(servers.serving_any()), root)
    return SET_UPS[name](root)


class Start(msgspec.Struct, frozen=True):
    """A cold start: from the command to its first answer, in seconds of clock and of CPU."""

    seconds: float
    cpu: float


class Running:
    """A peer that runs and has answered once; close it with `stop` or as a context manager."""

    def __init__(self, peer: Peer, place: Place, process: subprocess.Popen[bytes]) -> None:
        """Wrap a process; only `start` calls this."""
        self.peer = peer
        self.name = peer.name
        self.port = place.port
        self.ask = peer.ask(place)
        self._log = place.folder / "log"
        self._process = process

    def pids(self) -> list[int]:
        """Return the pids of its processes now."""
        return machine.family(self._process.pid)

    def ended(self) -> bool:
        """True if it has ended by itself."""
        return self._process.poll() is not None

    def wrote(self) -> str:
        """Return the end of its log."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-20:])

    def stop(self) -> None:
        """End it: terminate it, and kill the processes that are left after a while."""
        pids = self.pids()
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.wait()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        self.stop()


def start(
    peer: Peer, folder: Path, instruments: Instruments, *, cpu: int, upstream: int = 0
) -> tuple[Running, Start]:
    """Start a peer on one CPU and wait for its first answer to the small request.

    Raises `Unstarted` if it ends, or has not answered with 200 after 90 seconds.
    """
    place = Place(folder, find_free_port(), upstream)
    folder.mkdir(parents=True, exist_ok=True)
    foreign = tuple(name for name in os.environ if name.upper().startswith(FOREIGN))
    environment = {k: v for k, v in os.environ.items() if k not in foreign}
    environment |= peer.environment(place)
    command = peer.command(place)
    began = time.monotonic()
    with machine.pinned(cpu), (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    running = Running(peer, place, process)
    try:
        status = _first_answer(
            running, instruments.body(running.ask).read_bytes(), began + START_SECONDS
        )
    except BaseException:
        running.stop()
        raise
    seconds = time.monotonic() - began
    if status != http.HTTPStatus.OK:
        running.stop()
        state = "ended" if status is None else f"answered {status}"
        raise Unstarted(f"{peer.name} {state}: {' '.join(command)}\n{running.wrote()}")
    return running, Start(seconds, machine.cpu_seconds(running.pids()).ran)


class Stage(msgspec.Struct, frozen=True):
    """All that one set-up needs without the whole bench: a temporary folder, the mock, the instruments."""

    here: machine.Machine
    folder: Path
    instruments: Instruments
    mock: Running


@contextlib.contextmanager
def stage() -> Iterator[Stage]:
    """Set up a load, with its own processes on the load's CPU; all of it ends with the context."""
    here = machine.describe()
    with contextlib.ExitStack() as ends:
        ends.enter_context(machine.pinned(here.load_cpu))
        folder = Path(ends.enter_context(tempfile.TemporaryDirectory(prefix="tiergate-bench-")))
        instruments = load.build(folder)
        mock, _ = start(Mock(instruments), folder / "direct", instruments, cpu=here.load_cpu)
        yield Stage(here, folder, instruments, ends.enter_context(mock))


def _first_answer(running: Running, body: bytes, until: float) -> int | None:
    """Ask until an answer comes, and return its status; None if the peer ended or is late.

    Statuses other than 200 are retried too: a gateway may say 503 until it is ready.
    """
    status = None
    while time.monotonic() < until and not running.ended():
        with contextlib.suppress(OSError, http.client.HTTPException):
            status = _ask(running, body, until - time.monotonic())
            if status == http.HTTPStatus.OK:
                return status
        time.sleep(POLL_SECONDS)
    return status


def _ask(running: Running, body: bytes, timeout: float) -> int:
    connection = http.client.HTTPConnection(
        "127.0.0.1", running.port, timeout=max(timeout, POLL_SECONDS)
    )
    try:
        headers = {"content-type": "application/json"} | dict(running.ask.headers)
        connection.request("POST", running.ask.path, body, headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()
