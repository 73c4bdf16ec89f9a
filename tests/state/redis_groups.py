"""Several servers that replace one another: three sentinels, and a Cluster of six nodes."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Self

import redis

from bench.free_port import find_free_port
from tests.e2e.child import Child, until
from tests.e2e.redis_port import Place

SLOTS = 16384
_AT_ONCE = ("--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1")
_PATIENCE = 60.0
_CALM_MILLISECONDS = 60_000
"""The time until a node of a Cluster that forms counts as dead: a busy machine must cause no failover."""


class Sentinels:
    """A context with a primary, its replica, and three sentinels that call it "main"."""

    def __init__(self, program: str, folder: Path, *, down: int = 500) -> None:
        """Prepare the servers; `down` is the milliseconds until the primary counts as dead."""
        self.primary, self.replica = Place(program, folder), Place(program, folder)
        self.ports: list[int] = []
        self._children: list[Child] = []
        self._program, self._folder, self._down = program, folder, down

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def _start(self) -> None:
        self.primary.start(*_AT_ONCE)
        self.replica.start(*_AT_ONCE, "--replicaof", "127.0.0.1", str(self.primary.port))
        for _ in range(3):
            port = find_free_port()
            file = self._folder / f"sentinel-{port}.conf"
            file.write_text(
                f"port {port}\nbind 127.0.0.1\ndir {self._folder}\n"
                f"sentinel monitor main 127.0.0.1 {self.primary.port} 2\n"
                f"sentinel down-after-milliseconds main {self._down}\n"
                "sentinel failover-timeout main 5000\n"
            )
            self.ports.append(port)
            self._children.append(
                Child([self._program, str(file), "--sentinel"], self._folder / f"sentinel-{port}")
            )
        until(self._ready, "sentinels that know one another and the replica", _PATIENCE)

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.ports)
        return f"redis+sentinel://{hosts}/main/0"

    def now(self, port: int) -> int:
        """Return the primary's port, as one sentinel says."""
        with redis.Redis(port=port, socket_timeout=5) as sentinel:
            return int(sentinel.execute_command("SENTINEL", "get-master-addr-by-name", "main")[1])

    def stop(self) -> None:
        for child in self._children:
            child.stop()
        for place in (self.primary, self.replica):
            place.kill()

    def _ready(self) -> bool:
        with suppress(redis.RedisError):
            for port in self.ports:
                with redis.Redis(port=port, socket_timeout=5) as sentinel:
                    status = sentinel.sentinel_master("main")
                    if status["num-other-sentinels"] != 2 or status["num-slaves"] != 1:
                        return False
            with self.replica.admin() as replica:
                return bool(replica.info("replication")["master_link_status"] == "up")
        return False


class Nodes:
    """A context with a Cluster: three primaries, each with a replica."""

    def __init__(self, program: str, folder: Path, *, timeout: int = 1000) -> None:
        """Prepare the nodes; `timeout` is the milliseconds until a node counts as dead."""
        self._program, self._folder, self._timeout = program, folder, timeout
        self.places: list[Place] = []

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def _start(self) -> None:
        while len({place.port for place in self.places}) < 6:
            self.places = [Place(self._program, self._folder) for _ in range(6)]
        used_ports = {place.port for place in self.places}
        buses: list[int] = []
        for place in self.places:
            buses.append(
                next(port for _ in range(100) if (port := find_free_port()) not in used_ports)
            )
            used_ports.add(buses[-1])
            place.start(
                *_AT_ONCE, "--cluster-enabled", "yes", "--cluster-port", str(buses[-1]),
                "--cluster-config-file", f"nodes-{place.port}.conf",
                "--cluster-node-timeout", str(_CALM_MILLISECONDS),
            )  # fmt: skip
        names = []
        for at, place in enumerate(self.places):
            with place.admin() as node:
                names.append(node.execute_command("CLUSTER", "MYID").decode())
                node.execute_command("CLUSTER", "SET-CONFIG-EPOCH", at + 1)
                if at < 3:
                    first, last = SLOTS * at // 3, SLOTS * (at + 1) // 3 - 1
                    node.execute_command("CLUSTER", "ADDSLOTSRANGE", first, last)
        for place in self.places:
            with place.admin() as node:
                for peer, bus in zip(self.places, buses, strict=True):
                    node.execute_command("CLUSTER", "MEET", "127.0.0.1", peer.port, bus)
        until(lambda: all(self._knows(place, 6) for place in self.places), "a Cluster", _PATIENCE)
        for at, place in enumerate(self.places[3:]):
            with place.admin() as node:
                node.execute_command("CLUSTER", "REPLICATE", names[at])
        until(self._ready, "a Cluster whose replicas have copied all", _PATIENCE)
        for place in self.places:
            with place.admin() as node:
                node.config_set("cluster-node-timeout", self._timeout)

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{place.port}" for place in self.places[:3])

    def primary(self, key: str) -> Place:
        """Find the primary that has a key now, as a node that answers says."""
        return self.pair(key)[0]

    def pair(self, key: str) -> tuple[Place, Place]:
        """Find the primary that has a key now, and its replica."""
        for place in self.places:
            with suppress(redis.RedisError), place.admin() as node:
                slot = node.execute_command("CLUSTER", "KEYSLOT", key)
                for first, last, *ports in _rows(node):
                    if first <= slot <= last:
                        by_port = {place.port: place for place in self.places}
                        return by_port[ports[0]], by_port[ports[1]]
        raise AssertionError(key)

    def stop(self) -> None:
        for place in self.places:
            place.kill()

    def _knows(self, place: Place, count: int) -> bool:
        with place.admin() as node:
            reply = node.execute_command("CLUSTER", "INFO")
            text = reply if isinstance(reply, dict) else _info(reply)
            return text["cluster_state"] == "ok" and text["cluster_known_nodes"] == str(count)

    def _ready(self) -> bool:
        for place in self.places:
            if not self._knows(place, 6):
                return False
        for place in self.places[3:]:
            with place.admin() as node:
                replication = node.info("replication")
                if replication["role"] != "slave" or replication.get("master_link_status") != "up":
                    return False
        with self.places[0].admin() as node:
            return all(len(row) == 4 for row in _rows(node))


def _rows(node: redis.Redis) -> Iterator[tuple[int, ...]]:
    """Yield first slot, last slot and the ports of the nodes that have them, primary first."""
    raw = node.connection_pool.get_connection()
    try:
        raw.send_command("CLUSTER", "SLOTS")  # type: ignore[no-untyped-call]  # theirs
        for first, last, *places in raw.read_response():
            yield (first, last, *(place[1] for place in places))
    finally:
        node.connection_pool.release(raw)


def _info(reply: bytes | str) -> dict[str, str]:
    text = reply.decode() if isinstance(reply, bytes) else reply
    return dict(line.split(":", 1) for line in text.split() if ":" in line)
