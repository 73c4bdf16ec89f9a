"""U-01 to U-04: connections that fail: no listener, no address, no valid certificate, no accept."""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.chaos.environment import ChaosEnvironment
from tests.chaos.provider import honest
from tests.chaos.row import Cell, Expected, FaultRow, namespaces, program
from tests.chaos.upstream.fault import Part, fault, timeouts
from tests.contract.conftest import Certificates
from tests.e2e.world import Config

GONE = Expected(502, "error", (1, 2, 3), "failed upstream_unreachable free", "none")
OTHER = Expected(200, "answer", 2, "settled", "none")
BLIP = Expected(200, "answer", 3, "settled", "none")
"""The gateway has tried the preferred target once more before."""
LATE = Expected(504, "error", (1, 2, 3), "failed upstream_timeout free", "none")
NAMESERVER = "127.77.0.53"
_BECOME = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'
_HEADER = struct.Struct(">HHHHHH")


def _nobody(environment: ChaosEnvironment, cell: Cell) -> Config:
    """Take a port without listening at it."""
    held = socket.socket()
    held.bind(("127.0.0.1", 0))
    environment.at_close.append(held.close)
    return at(cell, held.getsockname()[1])


def at(cell: Cell, port: int, scheme: str = "http", host: str = "127.0.0.1") -> Config:
    """Return the configuration of a provider at another address."""
    return {"base_url": f"{scheme}://{host}:{port}/{cell.name}"}


def _full(environment: ChaosEnvironment, cell: Cell) -> Config:
    """Open a listener that accepts no connection: the kernel drops connections silently."""
    with contextlib.ExitStack() as held:
        listening = held.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        port = listening.getsockname()[1]
        for _ in range(4):  # fill its queue
            waiting = held.enter_context(contextlib.closing(socket.socket()))
            waiting.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                waiting.connect(("127.0.0.1", port))
        environment.at_close.append(held.pop_all().close)
    return at(cell, port) | timeouts(connect=0.4)(environment, cell)


# TLS.


def _certificates(environment: ChaosEnvironment) -> Certificates:
    folder = environment.folder / "certificates"
    if not hasattr(environment, "certificates"):
        folder.mkdir()
        environment.certificates = Certificates(folder)  # type: ignore[attr-defined]
    made: Certificates = environment.certificates  # type: ignore[attr-defined]
    return made


def _trusted(environment: ChaosEnvironment) -> Mapping[str, str]:
    _certificates(environment)
    return {"SSL_CERT_FILE": str(environment.folder / "certificates" / "ca.pem")}


def tls(name: str, *, latest: ssl.TLSVersion | None = None) -> Part:
    """Return a provider behind TLS with the named certificate."""

    def part(environment: ChaosEnvironment, cell: Cell) -> Config:
        made = _certificates(environment).server(name)
        if latest is not None:
            made.maximum_version = latest
        return at(cell, environment.loop.run(environment.provider.listen(made)), "https")

    return part


def _babble(environment: ChaosEnvironment, cell: Cell) -> Config:
    """Answer with garbage in place of a handshake."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(bytes(range(256)) * 4)
        await writer.drain()

    return at(cell, environment.loop.run(environment.provider.raw(serve)), "https")


def _mute(environment: ChaosEnvironment, cell: Cell) -> Config:
    """Leave a handshake without an answer."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(4096):
            pass

    port = environment.loop.run(environment.provider.raw(serve))
    return at(cell, port, "https") | timeouts(connect=0.4)(environment, cell)


def _plain(environment: ChaosEnvironment, cell: Cell) -> Config:
    """Speak HTTP where the gateway expects HTTPS."""
    return at(cell, environment.provider.port, "https") | timeouts(connect=0.4)(environment, cell)


# DNS, for a gateway that has an /etc/resolv.conf of its own.


class _Names(asyncio.DatagramProtocol):
    """A resolver that chooses its answer by the first label of a name."""

    def __init__(self) -> None:
        self._transport: asyncio.DatagramTransport | None = None
        self._times: Counter[bytes] = Counter()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # a datagram endpoint has such

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        id, _, _, _, _, _ = _HEADER.unpack_from(data)
        label = data[13 : 13 + data[12]].decode()
        end = data.index(b"\0", 12) + 5
        question, kind = data[12:end], struct.unpack_from(">H", data, end - 4)[0]
        if label == "slow":
            return  # the gateway gives up
        code = {"nowhere": 3, "servfail": 2}.get(label, 0)
        answer = b""
        if code == 0 and kind == 1:
            self._times[question] += 1
            wrong = label == "flapping" and self._times[question] % 2
            place = "127.77.0.99" if wrong else "127.0.0.1"
            answer = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 0, 4) + socket.inet_aton(place)
        flags = 0x8180 | code
        message = _HEADER.pack(id, flags, 1, 1 if answer else 0, 0, 0) + question + answer
        assert self._transport is not None
        self._transport.sendto(message, addr)


def _resolver(environment: ChaosEnvironment) -> Sequence[str]:
    """Start the resolver; return words before the gateway's command that make it the one in use."""

    async def begin() -> asyncio.DatagramTransport:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(_Names, local_addr=(NAMESERVER, 53))
        return transport

    async def end() -> None:
        transport.close()

    transport = environment.loop.run(begin())
    environment.at_close.append(lambda: environment.loop.run(end()))
    file = Path(environment.folder / "resolv.conf")
    file.write_text(f"nameserver {NAMESERVER}\noptions timeout:1 attempts:1\n")
    return ("unshare", "-m", "sh", "-c", _BECOME, str(file))


def _free() -> str:
    """Return why port 53 at that address is not free."""
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as tried:
        try:
            tried.bind((NAMESERVER, 53))
        except OSError as error:
            return f"port 53: {error.strerror}"
    return ""


def named(label: str, **seconds: float) -> Part:
    """Return a provider whose host is a name."""

    def part(environment: ChaosEnvironment, cell: Cell) -> Config:
        host = f"{label}.{cell.name[-60:].strip('-')}.test"
        return at(cell, environment.provider.port, host=host) | timeouts(**seconds)(
            environment, cell
        )

    return part


def _dns(name: str, expected: Expected, part: Part) -> FaultRow:
    return fault(
        "U-02",
        name,
        honest,
        expected,
        part=part,
        healed=False,
        before=_resolver,
        needs=(namespaces, _free),
    )


def _tls(name: str, expected: Expected, part: Part, *, ci: bool = False) -> FaultRow:
    return fault("U-03", name, honest, expected, part=part, healed=False, environ=_trusted,
                 needs=(program("openssl"),), ci=ci)  # fmt: skip


_SURE = Expected(502, "error", 1, "failed upstream_unreachable free", "none")
FOUND = Expected(200, "answer", 1, "settled", "hit")

ROWS: tuple[FaultRow, ...] = (
    fault("U-01", "connection refused", None, GONE, part=_nobody, healed=False),
    fault("U-01", "connection refused, another target", None, BLIP, part=_nobody, spare=1, healed=False,
          places=("native", "translated"), ci=True),
    _dns("a name that is known", FOUND, named("known")),
    _dns("NXDOMAIN", GONE, named("nowhere")),
    _dns("SERVFAIL", GONE, named("servfail")),
    _dns("no answer of the resolver", LATE, named("slow", connect=0.4)),
    _dns("an address that is wrong every other time", Expected(200, "answer", (1, 2), "settled"), named("flapping")),
    _tls("a good certificate", FOUND, tls("good")),
    _tls("expired", _SURE, tls("expired")),
    _tls("of another host", _SURE, tls("elsewhere")),
    _tls("of an unknown authority", _SURE, tls("unknown"), ci=True),
    _tls("TLS 1.0 alone", GONE, tls("good", latest=ssl.TLSVersion.TLSv1)),
    _tls("garbage for a handshake", GONE, _babble),
    _tls("plain HTTP", LATE, _plain),
    _tls("a handshake without answer", LATE, _mute),
    fault("U-04", "connect timeout", None, LATE, part=_full, healed=False),
    fault("U-04", "connect timeout, another target", None, OTHER, part=_full, healed=False, spare=1),
)  # fmt: skip
