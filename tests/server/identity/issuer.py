"""An identity provider on this machine: its discovery document, its keys, and tokens that it signs."""

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey

from gateway.core import jsonio

AUDIENCE = "tiergate"
ABSENT = object()


class Issuer:
    """An identity provider over HTTP; `documents` holds what each path answers."""

    def __init__(self) -> None:
        self.key: RSAKey | ECKey = RSAKey.generate_key(2048, {"kid": "first", "use": "sig"})
        self.documents: dict[str, object] = {}
        self.paths: list[str] = []
        """The paths that were read, in order."""
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.paths.append(self.path)
                document = issuer.documents.get(self.path)
                data = b"" if document is None else jsonio.dumps(document)
                self.send_response(404 if document is None else 200)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/realm"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self.documents["/realm/.well-known/openid-configuration"] = {
            "issuer": self.url,
            "jwks_uri": f"{self.url}/keys",
        }
        self.publish_keys(self.key)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def publish_keys(self, *keys: RSAKey | ECKey | OctKey) -> None:
        self.documents["/realm/keys"] = {"keys": [key.as_dict(private=False) for key in keys]}

    def sign(self, algorithm: str = "RS256", **changes: object) -> str:
        """Return a token that is valid for five minutes, with changed claims; ABSENT removes one."""
        now = int(time.time())
        claims: dict[str, Any] = {
            "iss": self.url, "aud": AUDIENCE, "sub": "ann@example.com", "iat": now, "exp": now + 300,
            "groups": ["staff", "engineering"],
        }  # fmt: skip
        claims = {name: value for name, value in (claims | changes).items() if value is not ABSENT}
        header = {"alg": algorithm, "kid": self.key.kid}
        return jwt.encode(header, claims, self.key, algorithms=[algorithm])
