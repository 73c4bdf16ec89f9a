"""A provider that takes files of any size without keeping them, and the client that sends them."""

import hashlib
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Self

from tests.e2e.upstream import PATIENCE

PIECE = bytes(range(256)) * 4096
"""A megabyte."""
_HEAD = (
    b'--B\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n'
    b'--B\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n'
)
_TAIL = b"\r\n--B--\r\n"
REFUSAL = (
    b"HTTP/1.1 413 Too Large\r\ncontent-type: application/json\r\ncontent-length: 40\r\n\r\n"
    b'{"error":{"message":"Too many bytes."}} '
)


@dataclass
class ReceivedUpload:
    """One request as the provider saw it."""

    head: bytes
    size: int = 0
    digest: str = ""
    is_whole: bool = False
    ended: threading.Event = field(default_factory=threading.Event)


class UploadProvider:
    """A server that reads uploads in threads, each as its settings say."""

    def __init__(self) -> None:
        self.uploads: list[ReceivedUpload] = []
        self.may_read = threading.Event()
        """Cleared while the provider takes no more of any upload."""
        self.may_read.set()
        self.file_megabytes = 0
        """The size of the file that a client may read."""
        self.sent_bytes = 0
        """The bytes of it that the provider could send."""
        self.refuses_at: int | None = None
        """The bytes after which the provider refuses an upload, and reads no more."""
        self.dies_at: int | None = None
        """The bytes after which the provider drops the connection."""
        provider = self

        class Handler(socketserver.StreamRequestHandler):
            rbufsize = 262_144

            def handle(self) -> None:
                with suppress(ConnectionError, ValueError):
                    while provider.serve(self):
                        pass

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 262_144)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.may_read.set()
        self._server.shutdown()
        self._server.server_close()

    def serve(self, handler: socketserver.StreamRequestHandler) -> bool:
        """Serve one request of a connection; return False at its end."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            if not (line := handler.rfile.readline()):
                return False
            head += line
        if head.startswith(b"GET "):
            return self._send_file(handler)
        upload = ReceivedUpload(head)
        self.uploads.append(upload)
        try:
            return self._read_upload(handler, upload)
        finally:
            upload.ended.set()

    def _send_file(self, handler: socketserver.StreamRequestHandler) -> bool:
        handler.wfile.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\n"
            b"content-length: %d\r\n\r\n" % (self.file_megabytes * len(PIECE))
        )
        for _ in range(self.file_megabytes):
            handler.wfile.write(PIECE)
            self.sent_bytes += len(PIECE)
        return True

    def _read_upload(
        self, handler: socketserver.StreamRequestHandler, upload: ReceivedUpload
    ) -> bool:
        hasher = hashlib.sha256()
        for data in self._read_body(handler, upload.head):
            hasher.update(data)
            upload.size += len(data)
            self.may_read.wait()
            if self.dies_at is not None and upload.size >= self.dies_at:
                return False
            if self.refuses_at is not None and upload.size >= self.refuses_at:
                handler.wfile.write(REFUSAL)
                handler.connection.settimeout(PATIENCE)
                handler.connection.recv(1)  # it reads no more, but does not close at once
                return False
        upload.digest = hasher.hexdigest()
        upload.is_whole = True
        body = b'{"id": "file-%d", "object": "file"}' % len(self.uploads)
        handler.wfile.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
            % (len(body), body)
        )
        return True

    def _read_body(
        self, handler: socketserver.StreamRequestHandler, head: bytes
    ) -> Iterator[bytes]:
        headers = dict(line.lower().split(b": ", 1) for line in head.strip().split(b"\r\n")[1:])
        if b"chunked" in headers.get(b"transfer-encoding", b""):
            while size := int(handler.rfile.readline(), 16):
                yield from _read_exactly(handler, size)
                handler.rfile.readline()
            handler.rfile.readline()
        else:
            yield from _read_exactly(handler, int(headers.get(b"content-length", b"0")))


def _read_exactly(handler: socketserver.StreamRequestHandler, size: int) -> Iterator[bytes]:
    while size:
        data = handler.rfile.read(min(size, 65_536))
        if not data:
            raise ConnectionError
        size -= len(data)
        yield data


class UploadClient:
    """A client on a connection of its own that uploads a form with one file."""

    def __init__(
        self,
        port: int,
        megabytes: int,
        *,
        chunked: bool = False,
        key: str = "",
        expects: bool = False,
    ) -> None:
        """Send the head of the request; `expects` asks for 100 Continue."""
        self._megabytes = megabytes
        self._chunked = chunked
        self.size = len(_HEAD) + len(PIECE) * megabytes + len(_TAIL)
        self.digest = ""
        self.sent_bytes = 0
        framing = "transfer-encoding: chunked" if chunked else f"content-length: {self.size}"
        lines = [
            "POST /v1/files HTTP/1.1",
            "host: localhost",
            "content-type: multipart/form-data; boundary=B",
            *(["expect: 100-continue"] if expects else []),
            framing,
        ]
        self.connection = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self.connection.sendall("\r\n".join([*lines, "", ""]).encode())

    def pieces(self) -> Iterator[bytes]:
        """Yield the form, a megabyte at a time."""
        yield _HEAD
        for _ in range(self._megabytes):
            yield PIECE
        yield _TAIL

    def send(self) -> None:
        """Send the whole form."""
        hasher = hashlib.sha256()
        for piece in self.pieces():
            hasher.update(piece)
            self.send_piece(piece)
        if self._chunked:
            self.connection.sendall(b"0\r\n\r\n")
        self.digest = hasher.hexdigest()

    def send_piece(self, piece: bytes) -> None:
        """Send one piece in the coding of the request."""
        coded = b"%x\r\n%b\r\n" % (len(piece), piece) if self._chunked else piece
        view = memoryview(coded)
        while view:
            count = self.connection.send(view)
            self.sent_bytes += count
            view = view[count:]

    def read_answer(self) -> tuple[int, bytes]:
        """Return the status and the body of the answer."""
        received = b""
        while b"\r\n\r\n" not in received or len(received) < _count_bytes(received):
            piece = self.connection.recv(65_536)
            assert piece, received
            received += piece
        head, _, body = received.partition(b"\r\n\r\n")
        return int(head.split()[1]), body


def _count_bytes(answer: bytes) -> int:
    head, _, _ = answer.partition(b"\r\n\r\n")
    length = head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]
    return len(head) + 4 + int(length or b"0")
