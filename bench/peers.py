"""What the benchmark starts: the mock alone, nginx before it, the gateway before it.

A further peer is a class with a name, a command and perhaps an environment, added in `__main__`.
"""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Protocol, Self

import msgspec

from bench import machine
from bench.load import Instruments

ROOT = Path(__file__).parent.parent
START_SECONDS = 30.0
STOP_SECONDS = 10.0
POLL_SECONDS = 0.002
# Settings of the caller's own gateway, and its Redis, have no place in a comparison.
FOREIGN = ("TIERGATE_", "REDIS_URL", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")

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
    client_body_buffer_size 64k;
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


class Unstarted(Exception):
    """A peer did not start, or never answered; the message ends with what it wrote."""


class Place(msgspec.Struct, frozen=True):
    """Where a peer runs: its own folder, its port, and the mock's port."""

    folder: Path
    port: int
    upstream: int


class Peer(Protocol):
    """Something that answers the same requests as the mock."""

    @property
    def name(self) -> str:
        """What the table calls it."""

    def command(self, place: Place) -> list[str]:
        """What starts it in the foreground, with one worker; may write into its folder."""

    def environment(self, place: Place) -> dict[str, str]:
        """What it needs in its environment beside the caller's."""


class Mock:
    """The upstream itself: what the others are compared to when time is added."""

    name = "direct"

    def __init__(self, instruments: Instruments) -> None:
        """Takes the compiled mock."""
        self._program = instruments.mock

    def command(self, place: Place) -> list[str]:
        """The mock on its port."""
        return [str(self._program), str(place.port)]

    def environment(self, place: Place) -> dict[str, str]:
        """Nothing."""
        return {}


class Nginx:
    """nginx as a plain reverse proxy: keep-alive on both sides, no buffering, no access log."""

    name = "nginx"

    def __init__(self) -> None:
        """Raises `Missing` where it is not installed."""
        self._program = machine.find("nginx")

    def command(self, place: Place) -> list[str]:
        """In the foreground, with its configuration in the folder."""
        # As root it would run its worker as another user, who may not enter the folder.
        user = "" if os.geteuid() else "user root;"
        folder = place.folder
        config = NGINX.format(folder=folder, port=place.port, upstream=place.upstream, user=user)
        (folder / "nginx.conf").write_text(config)
        return [self._program, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"]

    def environment(self, place: Place) -> dict[str, str]:
        """Nothing."""
        return {}


class Tiergate:
    """The gateway of this tree with bench/gateway.yaml: rules, prices and ledger on, cache off."""

    name = "tiergate"

    def command(self, place: Place) -> list[str]:
        """`tiergate serve`, of this tree and this interpreter."""
        return [sys.executable, "-m", "gateway", "serve"]

    def environment(self, place: Place) -> dict[str, str]:
        """The configuration, and the port, data folder and upstream that it expects."""
        return {
            "PYTHONPATH": str(ROOT),
            "TIERGATE_CONFIG": str(Path(__file__).parent / "gateway.yaml"),
            "TIERGATE_SERVER__PORT": str(place.port),
            "TIERGATE_DATA": str(place.folder / "data"),
            "BENCH_UPSTREAM": f"http://127.0.0.1:{place.upstream}/v1",
        }


class Start(msgspec.Struct, frozen=True):
    """A cold start: from the command to its first answer, in seconds of clock and of CPU."""

    seconds: float
    cpu: float


class Running:
    """A peer that runs and has answered once; close it with `stop` or as a context manager."""

    def __init__(self, peer: Peer, place: Place, process: subprocess.Popen[bytes]) -> None:
        """Is made by `start`."""
        self.name = peer.name
        self.port = place.port
        self._log = place.folder / "log"
        self._process = process

    def pids(self) -> list[int]:
        """Its processes, as of now."""
        return machine.family(self._process.pid)

    def ended(self) -> bool:
        """Whether it has ended by itself."""
        return self._process.poll() is not None

    def wrote(self) -> str:
        """The end of what it wrote."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-20:])

    def stop(self) -> None:
        """Ends it: asks, and kills what is left after a while."""
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
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stops it."""
        self.stop()


def start(
    peer: Peer, folder: Path, body: Path, *, cpu: int, upstream: int = 0
) -> tuple[Running, Start]:
    """Starts a peer on one CPU and waits for its first answer to the body.

    Raises `Unstarted` when it ends or has not answered with 200 after 30 seconds.
    """
    place = Place(folder, _free_port(), upstream)
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
        status = _first_answer(running, body.read_bytes(), began + START_SECONDS)
    except BaseException:
        running.stop()
        raise
    seconds = time.monotonic() - began
    if status != http.HTTPStatus.OK:
        running.stop()
        state = "ended" if status is None else f"answered {status}"
        raise Unstarted(f"{peer.name} {state}: {' '.join(command)}\n{running.wrote()}")
    return running, Start(seconds, machine.cpu_seconds(running.pids()).ran)


def _first_answer(running: Running, body: bytes, until: float) -> int | None:
    """The status of the first answer, asked for again and again; None when it ended or is late.

    Other statuses than 200 are waited out too: a gateway may say 503 until it is ready.
    """
    status = None
    while time.monotonic() < until and not running.ended():
        with contextlib.suppress(OSError, http.client.HTTPException):
            status = _ask(running.port, body, until - time.monotonic())
            if status == http.HTTPStatus.OK:
                return status
        time.sleep(POLL_SECONDS)
    return status


def _ask(port: int, body: bytes, timeout: float) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=max(timeout, POLL_SECONDS))
    try:
        headers = {"content-type": "application/json"}
        connection.request("POST", "/v1/chat/completions", body, headers)
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])
