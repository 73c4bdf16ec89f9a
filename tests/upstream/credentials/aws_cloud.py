"""A scripted AWS on loopback: STS, instance metadata, a container's agent, and Bedrock.

It runs in the test's own loop, on the test's clock, and checks every signature by itself.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import parse_qs

import httpx
import msgspec

from gateway.upstream.credentials.identity_request import (
    ANSWER_SECONDS,
    IdentityResponse,
    send_identity_request,
)
from tests.upstream.credentials.aws_signature_check import Key, check_signature

REGION = "eu-central-1"
ROLE = "arn:aws:iam::123456789012:role/gateway"
SECRET_MARK = "sEcReT"
"""A part of each secret and each token of this cloud: no error and no status may have it."""


class Clock:
    """A clock in seconds since the epoch that only the test moves."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


class AwsCloud:
    """The services of a cloud, and what they were asked."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.lifetime = 3600.0
        self.keys: dict[str, Key] = {}
        self.asked: list[str] = []
        """The services that were asked, in their order."""
        self.sent: list[tuple[str, str | None]] = []
        """The host and the proxy of each request."""
        self.forms: list[dict[str, str]] = []
        self.web_tokens = {f"header.{SECRET_MARK}-web-identity-1.signature"}
        self.container_token: str | None = None
        self.container_path = "/credentials/task"
        self.answers: dict[str, tuple[int, bytes]] = {}
        """Fixed answers of services by their names."""
        self.is_open = asyncio.Event()
        """Cleared: every service waits with its answer."""
        self.is_open.set()
        self.stream_gate = asyncio.Event()
        self._metadata_token = f"{SECRET_MARK}-metadata-session"
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()
        self.is_open.set()
        self.stream_gate.set()
        await self._server.wait_closed()

    @property
    def port(self) -> int:
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def counts(self) -> Counter[str]:
        return Counter(self.asked)

    async def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes | None = None,
        proxy: str | None = None,
        seconds: float = ANSWER_SECONDS,
    ) -> IdentityResponse:
        """Send a request for any host to this cloud; it is what it would be there."""
        real = httpx.URL(url)
        self.sent.append((real.host, proxy))
        answer = await send_identity_request(
            method,
            str(real.copy_with(scheme="http", host="127.0.0.1", port=self.port)),
            headers={"host": real.netloc.decode(), **headers},
            body=body,
            seconds=seconds,
        )
        return msgspec.structs.replace(answer, host=real.netloc.decode())

    def add_key(self, secret: str, token: str | None = None) -> str:
        """Give out an access key."""
        name = f"{'ASIA' if token else 'AKIA'}{len(self.keys):016}"
        end = self.clock.now + self.lifetime if token else float("inf")
        self.keys[name] = Key(secret, token, end)
        return name

    def issue(self) -> dict[str, str]:
        """Give out a temporary credential, as metadata and agents spell it."""
        number = len(self.keys)
        secret, token = f"{SECRET_MARK}/key+{number}", f"{SECRET_MARK}//token+{number}=="
        name = self.add_key(secret, token)
        end = datetime.fromtimestamp(self.keys[name].ends_at, UTC)
        return {
            "AccessKeyId": name,
            "SecretAccessKey": secret,
            "Token": token,
            "Expiration": end.strftime("%Y-%m-%dT%H:%M:%SZ"),
        }

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head.rstrip().split("\r\n")
            method, target, _ = first.split(" ")
            headers = [
                (name, value.strip()) for name, _, value in (x.partition(":") for x in lines)
            ]
            length = int({name.lower(): value for name, value in headers}.get("content-length", 0))
            body = await reader.readexactly(length)
            service, respond = self._choose(method, target)
            self.asked.append(service)
            await self.is_open.wait()
            if service in self.answers:
                status, data = self.answers[service]
                chunks = _once(data)
            else:
                status, chunks = respond((method, target, headers, body))
            extra = "location: http://203.0.113.9/\r\n" if 300 <= status < 400 else ""
            writer.write(f"HTTP/1.1 {status} X\r\nconnection: close\r\n{extra}\r\n".encode())
            async for chunk in chunks:
                writer.write(chunk)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def _choose(self, method: str, target: str) -> tuple[str, "_Respond"]:
        if method == "PUT":
            return "metadata token", self._give_metadata_token
        if target.startswith("/latest/meta-data/iam/"):
            return "metadata", self._give_metadata
        if target.startswith("/credentials/"):
            return "container", self._give_container
        if target.startswith("/model/"):
            return "bedrock", self._answer_model
        return "sts", self._answer_sts

    def _give_metadata_token(self, request: "_Request") -> "_Response":
        headers = _lower(request)
        if headers.get("x-aws-ec2-metadata-token-ttl-seconds") != "21600":
            return 400, _once(b"")
        return 200, _once(self._metadata_token.encode())

    def _give_metadata(self, request: "_Request") -> "_Response":
        if _lower(request).get("x-aws-ec2-metadata-token") != self._metadata_token:
            return 401, _once(b"")
        if request[1] == "/latest/meta-data/iam/security-credentials/":
            return 200, _once(b"gateway-role")
        return 200, _once(json.dumps({"Code": "Success", **self.issue()}).encode())

    def _give_container(self, request: "_Request") -> "_Response":
        if _lower(request).get("authorization") != self.container_token:
            return 403, _once(SECRET_MARK.encode())
        if request[1] != self.container_path:
            return 404, _once(b"")
        return 200, _once(json.dumps({"RoleArn": ROLE, **self.issue()}).encode())

    def _answer_model(self, request: "_Request") -> "_Response":
        error = self._check(request, "bedrock")
        return (403, _once(error.encode())) if error else (200, self._stream())

    async def _stream(self) -> AsyncIterator[bytes]:
        yield b"first "
        await self.stream_gate.wait()
        yield b"last"

    def _answer_sts(self, request: "_Request") -> "_Response":
        form = {name: values[0] for name, values in parse_qs(request[3].decode()).items()}
        self.forms.append(form)
        assert form["Version"] == "2011-06-15"
        if form["Action"] == "AssumeRole":
            error = self._check(request, "sts")
        else:
            assert "authorization" not in _lower(request)
            token = form["WebIdentityToken"]
            error = None if token in self.web_tokens else f"InvalidIdentityToken {token}"
        if error:
            code, _, message = error.partition(" ")
            return 403, _once(
                f'<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error>'
                f"<Type>Sender</Type><Code>{code}</Code><Message>It is refused: {message}</Message>"
                f"</Error><RequestId>1</RequestId></ErrorResponse>".encode()
            )
        issued = self.issue()
        role = form["RoleArn"].rpartition("/")[2]
        return 200, _once(
            f'<{form["Action"]}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/">'
            f"<{form['Action']}Result>"
            f"<AssumedRoleUser><Arn>arn:aws:sts::1:assumed-role/{role}/{form['RoleSessionName']}</Arn>"
            f"</AssumedRoleUser><Credentials><AccessKeyId>{issued['AccessKeyId']}</AccessKeyId>"
            f"<SecretAccessKey>{issued['SecretAccessKey']}</SecretAccessKey>"
            f"<SessionToken>{issued['Token']}</SessionToken>"
            f"<Expiration>{issued['Expiration']}</Expiration></Credentials></{form['Action']}Result>"
            f"</{form['Action']}Response>".encode()
        )

    def _check(self, request: "_Request", service: str) -> str | None:
        return check_signature(
            request, self.keys, region=REGION, service=service, now=self.clock.now
        )


type _Request = tuple[str, str, Sequence[tuple[str, str]], bytes]
type _Response = tuple[int, AsyncIterator[bytes]]
type _Respond = Callable[[_Request], _Response]


def _lower(request: _Request) -> dict[str, str]:
    return {name.lower(): value for name, value in request[2]}


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
