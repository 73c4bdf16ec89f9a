"""Token services and metadata servers of Google Cloud and Azure on loopback, and a proxy to them.

They check what the real ones check: signatures of assertions, headers of metadata requests, and the
parameters that the clouds' pages require.
"""

import asyncio
import datetime as dt
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, unquote, urlsplit

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

from gateway.core import jsonio

type Answer = tuple[int, dict[str, str], bytes]
"""Status, headers and body."""

CLOUD_PLATFORM = "https://www.googleapis.com/auth/cloud-platform"
ACCOUNT = "gateway@project-1.iam.gserviceaccount.com"
TARGET_ACCOUNT = "caller@project-2.iam.gserviceaccount.com"
CLOUD_HOSTS = (
    "oauth2.googleapis.com",
    "iamcredentials.googleapis.com",
    "login.microsoftonline.com",
)
CLIENT_SECRET = "client~secret+of/azure="
SUBJECT_TOKEN = "the-token-of-another-cloud"
_JWT_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_EXCHANGE_GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
_ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class CloudRequest(msgspec.Struct):
    """A request as it came."""

    method: str
    host: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.body.decode("ascii"), keep_blank_values=True))


class ScriptedCloud:
    """Answers as Google Cloud and Azure do, and keeps the requests."""

    def __init__(self, port: int, certificate: "CloudCertificate") -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.requests: list[CloudRequest] = []
        self.probe_count = 0
        """Requests to IMDS without its header, which only ask whether it is there."""
        self.arrived = asyncio.Event()
        """Set by the first request."""
        self.connects: list[str] = []
        """Hosts to which the proxy was asked to connect."""
        self.answers: dict[str, Answer | None] = {}
        """Other answers by path; None never answers."""
        self.life = 3600
        self.key = certificate.key
        """The key of the service account."""
        self.assertion = "the-projected-token"
        self._tls = certificate.make_server_context()
        self._count = 0

    @property
    def paths(self) -> list[str]:
        return [request.path for request in self.requests]

    def write_service_account(self, path: Path, **members: str) -> str:
        """Write the key file of a service account; return its path."""
        pem = self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        info = {
            "type": "service_account",
            "project_id": "project-1",
            "private_key_id": "key-1",
            "private_key": pem.decode(),
            "client_email": ACCOUNT,
            "client_id": "1",
            "token_uri": f"{self.url}/google/token",
            **members,
        }
        path.write_bytes(jsonio.dumps(info))
        return str(path)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of a connection."""
        try:
            await self._serve(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await _read_request(reader)
        if request.method == "CONNECT":
            self.connects.append(request.path)
            writer.write(b"HTTP/1.1 200 connected\r\n\r\n")
            await writer.start_tls(self._tls)
            request = await _read_request(reader)
        if _is_probe(request):
            self.probe_count += 1
            writer.write(b"HTTP/1.1 400 probe\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            return
        self.requests.append(request)
        self.arrived.set()
        answer = self.answers.get(request.path, self._answer)
        if answer is None:
            await reader.read()
            return
        status, headers, body = answer(request) if callable(answer) else answer
        lines = [f"HTTP/1.1 {status} scripted", f"content-length: {len(body)}"]
        lines += ["connection: close", *(f"{name}: {value}" for name, value in headers.items())]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        await writer.drain()

    def _answer(self, request: CloudRequest) -> Answer:
        routes: dict[str, Callable[[CloudRequest], Answer]] = {
            "/google/token": self._exchange_assertion,
            "/token": self._exchange_assertion,
            "/sts/token": self._exchange_subject_token,
            "/computeMetadata/v1/instance/service-accounts/default/token": self._give_metadata,
            "/computeMetadata/v1/instance/service-accounts/default/email": self._give_metadata,
            "/tenant-1/oauth2/v2.0/token": self._give_entra_token,
            "/metadata/identity/oauth2/token": self._give_imds_token,
            "/msi/token": self._give_app_service_token,
            "/subject-token": lambda _: _reply(200, SUBJECT_TOKEN),
        }
        if request.path.endswith(":generateAccessToken"):
            return self._impersonate(request)
        route = routes.get(request.path)
        return route(request) if route is not None else _reply(404, {"error": "not_found"})

    def _make_token(self, name: str) -> str:
        self._count += 1
        return f"{name}-token-{self._count}"

    def _exchange_assertion(self, request: CloudRequest) -> Answer:
        """Check the signature of a service account (RFC 7523), or a person's refresh token."""
        form = request.form
        if form["grant_type"] == "refresh_token":
            if form["refresh_token"] != "the-refresh-token":
                return _reply(400, {"error": "invalid_grant"})
        else:
            assert form["grant_type"] == _JWT_GRANT
            try:
                key = RSAKey.import_key(self.key.public_key())
                claims = jwt.decode(form["assertion"], key, algorithms=["RS256"]).claims
            except JoseError:
                text = f"Invalid JWT Signature of {form['assertion']}"
                return _reply(400, {"error": "invalid_grant", "error_description": text})
            assert claims["iss"] == ACCOUNT
            assert claims["aud"] == "https://oauth2.googleapis.com/token"
            assert 0 < claims["exp"] - claims["iat"] <= 3600
            assert claims["scope"] in (CLOUD_PLATFORM, "https://www.googleapis.com/auth/iam")
        token = self._make_token("google")
        return _reply(200, {"access_token": token, "expires_in": self.life, "token_type": "Bearer"})

    def _exchange_subject_token(self, request: CloudRequest) -> Answer:
        """Exchange the token of another cloud (RFC 8693)."""
        form = request.form
        assert form["grant_type"] == _EXCHANGE_GRANT
        subject = form["subject_token"]
        if subject != SUBJECT_TOKEN:  # AWS: a signed request to GetCallerIdentity
            signed = jsonio.loads(unquote(subject).encode())
            header = {item["key"].lower(): item["value"] for item in signed["headers"]}
            if "Credential=AKIDEXAMPLE/" not in header["authorization"]:
                return _reply(400, {"error": "invalid_grant", "error_description": subject})
        token = self._make_token("sts")
        return _reply(200, {"access_token": token, "expires_in": self.life, "token_type": "Bearer"})

    def _impersonate(self, request: CloudRequest) -> Answer:
        assert request.headers["authorization"].startswith(("Bearer google-", "Bearer sts-"))
        assert TARGET_ACCOUNT in request.path
        now = dt.datetime.now(dt.UTC)
        end = now + dt.timedelta(seconds=self.life)
        token = self._make_token("impersonated")
        return _reply(200, {"accessToken": token, "expireTime": end.strftime("%Y-%m-%dT%H:%M:%SZ")})

    def _give_metadata(self, request: CloudRequest) -> Answer:
        if request.headers.get("metadata-flavor") != "Google":
            return _reply(403, "Missing Metadata-Flavor:Google header.")
        flavor = {"metadata-flavor": "Google"}
        if request.path.endswith("/email"):
            return _reply(200, ACCOUNT, flavor)
        assert request.query == {"scopes": CLOUD_PLATFORM}
        token = self._make_token("metadata")
        body = {"access_token": token, "expires_in": self.life, "token_type": "Bearer"}
        return _reply(200, body, flavor)

    def _give_entra_token(self, request: CloudRequest) -> Answer:
        form = request.form
        assert form["grant_type"] == "client_credentials"
        assert form["client_id"] == "client-1"
        if "client_assertion" in form:
            assert form["client_assertion_type"] == _ASSERTION_TYPE
            is_right = form["client_assertion"] == self.assertion
            code = "AADSTS700024"
        else:
            is_right = form["client_secret"] == CLIENT_SECRET
            code = "AADSTS7000215"
        if not is_right:
            text = f"{code}: Invalid: {form.get('client_secret')}{form.get('client_assertion')}"
            return _reply(401, {"error": "invalid_client", "error_description": text})
        token = self._make_token(form["scope"].split("/")[2])
        return _reply(200, {"access_token": token, "expires_in": self.life, "token_type": "Bearer"})

    def _give_imds_token(self, request: CloudRequest) -> Answer:
        if request.headers.get("metadata") != "true" or "x-forwarded-for" in request.headers:
            return _reply(400, {"error": "bad_request_102"})
        assert request.query["api-version"] == "2018-02-01"
        token = self._make_token("imds")
        client = request.query.get("client_id", "system-assigned")
        return _reply(
            200,
            {
                "access_token": token,
                "client_id": client,
                "expires_in": str(self.life),
                "expires_on": "1",
                "resource": request.query["resource"],
                "token_type": "Bearer",
            },
        )

    def _give_app_service_token(self, request: CloudRequest) -> Answer:
        if request.headers.get("x-identity-header") != "identity-header-secret":
            return _reply(401, {"statusCode": 401})
        assert request.query["api-version"] == "2019-08-01"
        token = self._make_token("app-service")
        client = request.query.get("client_id")
        body = {"access_token": token, "client_id": client, "expires_on": "1800003600"}
        return _reply(200, {**body, "resource": request.query["resource"], "token_type": "Bearer"})


def _reply(status: int, body: Any, headers: dict[str, str] | None = None) -> Answer:
    data = body.encode() if isinstance(body, str) else jsonio.dumps(body)
    return status, {"content-type": "application/json", **(headers or {})}, data


def _is_probe(request: CloudRequest) -> bool:
    """True if a request only asks whether Azure's IMDS is there."""
    return request.path == "/metadata/identity/oauth2/token" and "metadata" not in request.headers


async def _read_request(reader: asyncio.StreamReader) -> CloudRequest:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = head[0].split(" ")
    headers = {}
    for line in filter(None, head[1:]):
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    if method == "CONNECT":
        return CloudRequest(method, target, target, {}, headers, body)
    parts = urlsplit(target)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    return CloudRequest(method, headers["host"], parts.path, query, headers, body)


class CloudCertificate:
    """A certificate for the hosts of the clouds, which the contexts of a test trust."""

    def __init__(self, folder: Path) -> None:
        key = self.key = rsa.generate_private_key(65537, 2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "clouds")])
        now = dt.datetime.now(dt.UTC)
        names = [x509.DNSName(host) for host in CLOUD_HOSTS]
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(1)
            .not_valid_before(now - dt.timedelta(days=1))
            .not_valid_after(now + dt.timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .sign(key, hashes.SHA256())
        )
        self._path = folder / "clouds.pem"
        self._path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            + certificate.public_bytes(serialization.Encoding.PEM)
        )

    def make_server_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._path)
        return context

    def make_client_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self._path)
        return context


@asynccontextmanager
async def run_cloud(certificate: CloudCertificate) -> AsyncIterator[ScriptedCloud]:
    """Run the clouds on one port of loopback, which is their proxy too."""
    clouds: list[ScriptedCloud] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await clouds[0].serve(reader, writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    clouds.append(ScriptedCloud(port, certificate))
    async with server:
        yield clouds[0]
