"""Connections in memory between machines, with delays from a seed; servers that go away."""

import asyncio
import contextvars
import random
import socket
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from tests.simulation.event_loop import SimulatedLoop

MACHINE: contextvars.ContextVar[str] = contextvars.ContextVar("machine", default="world")
"""The machine on which a callback runs."""
type Factory = Callable[[], asyncio.BaseProtocol]
type Outage = Literal["refuses", "hangs", "loses requests", "loses answers"]
"""A link that resets connections, or on which nothing arrives: both ways, or in one direction."""
_DELAYS = (0.0001, 0.0001, 0.0005, 0.002)
"""Seconds that bytes may take, at most."""
_BUFFER_BYTES = 65_536
"""Unread bytes from which a writer must wait."""


type Link = tuple[str | None, int]
"""The host of clients, or None for all of them, and the port that they ask."""


class _Listener(NamedTuple):
    factory: Factory
    context: contextvars.Context
    machine: str


class _End(NamedTuple):
    """The end of what one side writes; with an error, both directions are gone."""

    error: Exception | None = None


class Connection(asyncio.Transport):
    """One side of a connection."""

    def __init__(self, network: "Network", port: int, machine: str, client: str) -> None:
        """`client` is the machine that opened the connection."""
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", port)})
        self.port, self.machine, self.client = port, machine, client
        self.peer: Connection
        self.protocol: Any = None
        self.context = contextvars.copy_context()
        self.is_lost = False
        self._network = network
        self._arrivals: deque[bytes | _End] = deque()
        """What the peer wrote and this side has not read."""
        self._due_count = 0
        """Arrivals that have crossed the network."""
        self._last_arrival = 0.0
        self._is_closing = self._is_paused = self._has_sent_end = self._is_peer_waiting = False

    # what the peer and the network call

    def receive(self, item: bytes | _End) -> None:
        """Take what the peer writes, some time later and in order."""
        loop = self._network.loop
        self._arrivals.append(item)
        delay = self._network.draw_delay(self.port, self.client)
        self._last_arrival = max(self._last_arrival, loop.time() + delay)
        loop.call_at(self._last_arrival, self._arrive, context=self.context)

    def _arrive(self) -> None:
        self._due_count += 1
        self._read()

    def _read(self) -> None:
        if self._network.holds_back(self):
            self._network.held.append(self)
            return
        while self._due_count and not self._is_paused and not self.is_lost:
            item = self._arrivals.popleft()
            self._due_count -= 1
            if isinstance(item, _End):
                if item.error is not None:
                    self.lose(item.error)
                elif not self.protocol.eof_received():
                    self.close()
            elif not self._is_closing:
                self._network.loop.record(item)
                self.protocol.data_received(item)
        self.peer.relax()

    def relax(self) -> None:
        """Let the protocol write again, if the other side has read enough."""
        if self._is_peer_waiting and not self.get_write_buffer_size() and not self.is_lost:
            self._is_peer_waiting = False
            self._network.loop.call_soon(self.protocol.resume_writing, context=self.context)

    def lose(self, error: Exception | None) -> None:
        """End this side."""
        if not self.is_lost:
            self.is_lost = self._is_closing = True
            self.protocol.connection_lost(error)

    # asyncio's transport

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._is_closing or self._has_sent_end or not data:
            return
        self.peer.receive(bytes(data))
        if self.get_write_buffer_size() and not self._is_peer_waiting:
            self._is_peer_waiting = True
            self._network.loop.call_soon(self.protocol.pause_writing, context=self.context)

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def get_write_buffer_size(self) -> int:
        unread = sum(len(item) for item in self.peer._arrivals if isinstance(item, bytes))
        return max(0, unread - _BUFFER_BYTES)

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        if not self._has_sent_end:
            self._has_sent_end = True
            self.peer.receive(_End())

    def close(self) -> None:
        if not self._is_closing:
            self.write_eof()
            self._is_closing = True
            self._network.loop.call_soon(self.lose, None, context=self.context)

    def abort(self) -> None:
        if not self.is_lost:
            self._is_closing = True
            self.peer.receive(_End(ConnectionResetError("the peer is gone")))
            self._network.loop.call_soon(self.lose, None, context=self.context)

    def is_closing(self) -> bool:
        return self._is_closing

    def pause_reading(self) -> None:
        self._is_paused = True

    def resume_reading(self) -> None:
        self._is_paused = False
        self._network.loop.call_soon(self._read, context=self.context)

    def is_reading(self) -> bool:
        return not self._is_paused

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self.protocol  # type: ignore[no-any-return]


class Network:
    """All connections and listening ports of one simulation."""

    def __init__(self, loop: "SimulatedLoop", chance: random.Random) -> None:
        self.loop = loop
        self.addresses: dict[socket.socket, int] = {}
        """The ports of sockets that are connected and have no protocol yet."""
        self.held: list[Connection] = []
        """Sides that have bytes to read once their server does not hang any more."""
        self._chance = chance
        self._listeners: dict[int, _Listener] = {}
        self._connections: list[Connection] = []
        self._outages: dict[Link, Outage] = {}
        self._slow_links: dict[Link, float] = {}

    def draw_delay(self, port: int, client: str) -> float:
        """Return the seconds that the next bytes take between a client's machine and a port."""
        delay = self._chance.uniform(0, self._chance.choice(_DELAYS))
        if self._slow_links:
            slow = self._slow_links.get((None, port)) or self._slow_links.get(
                (name_host(client), port)
            )
            delay += self._chance.uniform(0, slow) if slow else 0.0
        return delay

    def listen(self, port: int, factory: Factory) -> None:
        """Accept connections to a port on the machine that calls this."""
        context = contextvars.copy_context()
        self._listeners[port] = _Listener(factory, context, find_machine())

    async def connect(self, port: int) -> None:
        """Wait until a connection to a port is up. Raises ConnectionRefusedError."""
        client = find_machine()
        await asyncio.sleep(self.draw_delay(port, client))
        while self.find_outage(port, client) not in (  # noqa: ASYNC110 - a look costs nothing here
            None,
            "refuses",
        ):
            await asyncio.sleep(1)
        if port not in self._listeners or self.find_outage(port, client) == "refuses":
            raise ConnectionRefusedError(111, "Connection refused")

    def open(self, port: int, factory: Factory) -> tuple[Connection, Any]:
        """Open a connection to a port that accepts some. Raises ConnectionRefusedError."""
        listener = self._listeners.get(port)
        if listener is None:
            raise ConnectionRefusedError(111, "Connection refused")
        client = find_machine()
        near = Connection(self, port, client, client)
        far = listener.context.copy().run(Connection, self, port, listener.machine, client)
        near.peer, far.peer = far, near
        near.protocol = factory()
        far.protocol = far.context.copy().run(listener.factory)
        near.protocol.connection_made(near)
        self.loop.call_soon(far.protocol.connection_made, far, context=far.context)
        self._connections = [one for one in self._connections if not one.is_lost]
        self._connections += [near, far]
        return near, near.protocol

    def find_outage(self, port: int, client: str) -> Outage | None:
        """Return what is wrong with the link from a client's machine to a port."""
        if not self._outages:
            return None
        return self._outages.get((None, port)) or self._outages.get((name_host(client), port))

    def holds_back(self, side: Connection) -> bool:
        """True if what is sent to this side of a connection does not arrive."""
        match self.find_outage(side.port, side.client):
            case "hangs":
                return True
            case "loses requests":
                return side.machine != side.client
            case "loses answers":
                return side.machine == side.client
            case _:
                return False

    def cut(self, port: int, outage: Outage, host: str | None = None) -> None:
        """Cut a port off from one host of clients, or from all of them."""
        self._outages[host, port] = outage
        if outage == "refuses":
            self._reset(
                [
                    one
                    for one in self._connections
                    if one.port == port and host in (None, name_host(one.client))
                ]
            )

    def restore(self, port: int, host: str | None = None) -> None:
        """End an outage. What was held back arrives."""
        self._outages.pop((host, port), None)
        held, self.held = self.held, []
        for one in held:
            self.loop.call_soon(one._read, context=one.context)

    def slow_down(self, port: int, seconds: float, host: str | None = None) -> None:
        """Let bytes on a link take up to some seconds more; 0 ends it."""
        if seconds:
            self._slow_links[host, port] = seconds
        else:
            self._slow_links.pop((host, port), None)

    def count_open(self, machine: str) -> int:
        """Return how many connections to the ports of a machine are open."""
        return sum(
            one.machine == machine != one.client and not one.is_lost for one in self._connections
        )

    def close(self) -> None:
        """Forget all connections, which are parts of reference cycles."""
        self._connections.clear()
        self._listeners.clear()
        self.held.clear()

    def kill(self, machine: str) -> None:
        """Stop listening on a machine, and reset its connections."""
        for port in [port for port, one in self._listeners.items() if one.machine == machine]:
            del self._listeners[port]
        self._reset([one.peer for one in self._connections if one.machine == machine])

    def _reset(self, sides: list[Connection]) -> None:
        for one in sides:
            if not one.is_lost:
                one.receive(_End(ConnectionResetError(104, "Connection reset by peer")))


def name_host(machine: str) -> str:
    """Return the host of a machine: it stays the same when its process starts anew."""
    return machine.partition(".")[0]


def find_machine() -> str:
    """Return the machine that runs now."""
    return MACHINE.get()
