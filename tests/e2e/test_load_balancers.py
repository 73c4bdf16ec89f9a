"""nginx and HAProxy before two gateways, by the files of deploy/: what they pass, and what not."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

import httpx
import pytest

from bench.free_port import find_free_port
from gateway.settings.schema.server import ServerPart
from tests.e2e import load_balancer
from tests.e2e.child import until
from tests.e2e.service import Service
from tests.e2e.upstream import DONE, PATIENCE, ROLE, Upstream, chunk, stream
from tests.e2e.world import Loop, chat

DELAY = ServerPart().lb_delay
"""The default: longer than nginx keeps a connection, and three health checks of HAProxy."""


@dataclass
class Site:
    """Two gateways, and the load balancer before them."""

    upstream: Upstream
    folder: Path
    delay: float
    url: str = ""
    gateways: list[Service] = field(default_factory=list)
    number: int = 0

    def start(self, port: int) -> Service:
        self.number += 1
        # A busy machine is no overload here.
        server = {"lb_delay": self.delay, "drain": 20, "max_lag": "0s"}
        return Service(self.folder / f"gateway{self.number}", self.upstream, server, port=port)

    def stop(self) -> None:
        for gateway in self.gateways:
            gateway.kill()

    def ask(self, text: str) -> int:
        """Return the status of a call on a new connection."""
        reply = httpx.post(
            f"{self.url}/v1/chat/completions", json=chat(text), timeout=PATIENCE, trust_env=False
        )
        return reply.status_code


@pytest.fixture(scope="module", params=load_balancer.NAMES)
def site(
    request: pytest.FixtureRequest, loop: Loop, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    name: str = request.param
    load_balancer.program(name)
    folder, upstream = tmp_path_factory.mktemp(name), Upstream()
    with ExitStack() as stack:
        loop.run(upstream.start())
        stack.callback(lambda: loop.run(upstream.stop()))
        new_site, port = Site(upstream, folder, DELAY), find_free_port()
        for _ in range(2):
            new_site.gateways.append(new_site.start(0))
        stack.callback(new_site.stop)
        ports = [gateway.port for gateway in new_site.gateways]
        child = load_balancer.start(name, folder / "balancer", port, ports)
        stack.callback(child.stop)
        new_site.url = f"http://127.0.0.1:{port}"
        until(lambda: _answers(new_site), f"an answer: {child.err}")
        yield new_site


def _answers(site: Site) -> bool:
    try:
        return httpx.get(f"{site.url}/ready", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


def test_a_load_balancer_passes_each_chunk_at_once_and_each_disconnect(
    site: Site, loop: Loop
) -> None:
    """Each piece comes before the next one exists, through either gateway."""
    upstream = site.upstream
    pieces = [chunk({"content": word}) for word in ("Hel", "lo")]
    upstream.on("/acme", stream(ROLE, pieces[0], None, pieces[1], None, chunk({}, "stop"), DONE))
    options = {"json": chat(stream=True), "timeout": PATIENCE}
    url = f"{site.url}/v1/chat/completions"
    with httpx.Client(trust_env=False) as client:
        with client.stream("POST", url, **options) as reply:  # type: ignore[arg-type]
            assert reply.headers["content-type"].startswith("text/event-stream")
            received, raw = b"", reply.iter_raw()
            for piece in pieces:
                while piece not in received:
                    received += next(raw)
                assert DONE not in received, "the provider has not said it"
                loop.run(upstream.release())
            received += b"".join(raw)
            assert received.endswith(DONE)
        with client.stream("POST", url, **options) as reply:  # type: ignore[arg-type]
            for data in reply.iter_raw():
                if b"Hel" in data:
                    break
        last = upstream.requests[-1]
        assert last.left.wait(PATIENCE), "the provider's connection is closed"


def test_the_load_balancer_refuses_admin_paths(site: Site) -> None:
    """The balancer refuses the paths of admins, in other spellings too."""
    for path in ("/admin/costs", "/dashboard", "/metrics", "/metrics/"):
        assert httpx.get(f"{site.url}{path}", trust_env=False).status_code == 404, path
    for path in ("/health", "/ready", "/v1/models"):
        assert httpx.get(f"{site.url}{path}", trust_env=False).status_code == 200, path


def test_no_call_fails_while_gateways_restart_one_after_the_other(site: Site) -> None:
    """Four clients call: `/ready` says no first, and the balancer then sends no client there."""
    site.upstream.scripts.clear()
    statuses: list[int] = []
    over = threading.Event()

    def load(name: int) -> None:
        for number in cycle(range(1_000)):
            if over.is_set():
                return
            statuses.append(site.ask(f"{name} {number}"))
            time.sleep(0.01)  # a pause between two calls of a client

    clients = [threading.Thread(target=load, args=(name,)) for name in range(4)]
    for client in clients:
        client.start()
    try:
        for at, old in enumerate(site.gateways):
            count = len(statuses)
            old.send_signal(signal.SIGTERM)
            assert old.ended() == 0
            site.gateways[at] = site.start(old.port)
            until(lambda: len(statuses) > count + 20, "calls go on")  # noqa: B023 - asked here
            until(site.gateways[at].entries, "the new one is asked")
    finally:
        over.set()
        for client in clients:
            client.join(PATIENCE)
    assert set(statuses) == {200}
    assert len(statuses) > 40
