"""A replica like vLLM in a process of its own: a prefix cache that counts its hits, and a pace.

Run as `python -m tests.e2e.replica_server NAME PORT SECONDS`. Its answers are its name, whole or
streamed. `GET /counts` tells what it has seen; a kill forgets it, with the cache.
"""

import asyncio
import sys
from contextlib import suppress

from gateway.core import jsonio
from tests.e2e.upstream import DONE, ROLE, chunk, whole


class ReplicaServer:
    """The replica's cache and counts."""

    def __init__(self, name: str, seconds: float) -> None:
        self._name, self._seconds = name, seconds
        self._prefixes: set[bytes] = set()
        self._in_flight = 0
        self.counts = {"calls": 0, "later": 0, "hits": 0, "most": 0}
        """Calls, those after the first of a conversation, hits among these, most at a time."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until its end."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                if head.startswith(b"get "):
                    _write_whole(writer, jsonio.dumps(self.counts))
                    continue
                length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
                await self._answer(writer, await reader.readexactly(int(length)))
        writer.close()

    async def _answer(self, writer: asyncio.StreamWriter, request: bytes) -> None:
        body, counts = jsonio.loads(request), self.counts
        messages = body["messages"]
        counts["calls"] += 1
        if len(messages) > 2:
            counts["later"] += 1
            counts["hits"] += jsonio.dumps(messages[:-2]) in self._prefixes
        self._prefixes.add(jsonio.dumps(messages))
        self._in_flight += 1
        counts["most"] = max(counts["most"], self._in_flight)
        try:
            if not body.get("stream"):
                await asyncio.sleep(self._seconds)
                _write_whole(writer, whole(self._name).pieces[0] or b"")
                return
            writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
                b"transfer-encoding: chunked\r\n\r\n"
            )
            frames = (ROLE, chunk({"content": self._name}), chunk({}, "stop"), DONE)
            for frame in frames:
                await asyncio.sleep(self._seconds / len(frames))
                writer.write(b"%x\r\n%b\r\n" % (len(frame), frame))
            writer.write(b"0\r\n\r\n")
        finally:
            self._in_flight -= 1


def _write_whole(writer: asyncio.StreamWriter, body: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    writer.write(head % len(body) + body)


async def main(name: str, port: int, seconds: float) -> None:
    """Serve until killed."""
    server = ReplicaServer(name, seconds)
    async with await asyncio.start_server(server.serve, "127.0.0.1", port) as listening:
        print("ready", flush=True)
        await listening.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
