"""Sessions of the dashboard: cookies that only this gateway can make.

A cookie contains its expiry, a name of its own, and a signature over both and the admin key. So
every worker and machine with the root secret accepts it, and it becomes invalid with the key. The
gateway stores sessions that end sooner (state/ended_sessions.py).
"""

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Literal

from fastapi import Request, Response

from gateway.core import jsonio
from gateway.core.errors import Problem, ProblemError
from gateway.limits.keys import KeyTable
from gateway.server.identity.person import Person
from gateway.state.ended_sessions import SESSION_SECONDS, EndedSessions

MAIN_ADMIN = "admin"
"""The name of the admin who has TIERGATE_ADMIN_KEY."""
COOKIE_NAME = "tiergate-session"
CSRF_HEADER = "x-tiergate-csrf"
_SAFE_METHODS = frozenset({"GET", "HEAD"})
_OWN_FETCH_SITES = frozenset({"same-origin", "none"})
_MAX_COOKIE_LENGTH = 1_000
_PERSON_PARTS = 4
"""Parts of a person's cookie: its end, a name of its own, the person, and a signature."""
_read_person = jsonio.make_reader(Person)


class DashboardSessions:
    """Makes and checks cookies. `root` is a key for this purpose alone, `secret` the admin key."""

    def __init__(
        self,
        root: bytes,
        secret: str,
        keys: KeyTable,
        ended_sessions: EndedSessions,
        *,
        find_people_key: Callable[[], bytes] = bytes,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`find_people_key` hashes the settings of sign-in; empty if people cannot sign in."""
        self._root = root
        self._find_people_key = find_people_key
        self._ended_sessions = ended_sessions
        self._admin_digest = hash_secret(secret) if secret else b""
        self._keys = keys
        self._clock = clock

    @property
    def has_admin_key(self) -> bool:
        """True if an admin key exists, or people sign in by an identity provider.

        Otherwise the gateway serves admins on this machine.
        """
        return bool(self._admin_digest) or self._keys.has_admin or bool(self._find_people_key())

    def begin(self, secret: str) -> str | None:
        """Return a cookie for a user who knows an admin key; None if `secret` is no admin key."""
        secret_digest = hash_secret(secret)
        # All hashes are compared, so the duration reveals nothing about any key.
        matches = [
            hmac.compare_digest(secret_digest, admin_digest)
            for admin_digest in self._list_admin_digests()
        ]
        if not any(matches):
            return None
        body = self._make_session_id()
        return f"{body}.{self._sign(body, secret_digest)}"

    def begin_person(self, person: Person) -> str:
        """Return a cookie for a person whom the identity provider has signed in."""
        body = f"{self._make_session_id()}.{jsonio.dumps(person).hex()}"
        return f"{body}.{self._sign(body, self._find_people_key())}"

    def find_person(self, cookie: str) -> Person | None:
        """Return the person of a valid cookie; None if an admin key began its session."""
        parts = cookie.split(".")
        if len(parts) != _PERSON_PARTS:
            return None
        person: Person = _read_person(bytes.fromhex(parts[2]))
        return person

    async def is_valid(self, cookie: str) -> bool:
        """True if this is an admin's cookie whose session has not ended."""
        body, _, signature = cookie.rpartition(".")
        expires_at, _, rest = body.partition(".")
        name = rest.partition(".")[0]
        if len(cookie) > _MAX_COOKIE_LENGTH or not (cookie.isascii() and expires_at.isdigit()):
            return False
        people_key = self._find_people_key() if cookie.count(".") + 1 == _PERSON_PARTS else b""
        matches = [
            hmac.compare_digest(signature, self._sign(body, digest))
            for digest in ([people_key] if people_key else self._list_admin_digests())
        ]
        if not any(matches) or _to_microseconds(self._clock()) >= int(expires_at):
            return False
        return not await self._ended_sessions.is_ended(
            name, int(expires_at) / 1_000_000 - SESSION_SECONDS
        )

    async def end(self, cookie: str) -> None:
        """End the session of a valid cookie, so that no copy of the cookie works."""
        await self._ended_sessions.end(cookie.split(".")[1])

    async def end_all(self) -> None:
        """End all sessions. Raises ProblemError if other machines may not know of it."""
        if not await self._ended_sessions.end_all():
            message = (
                "All sessions of this machine have ended. Redis does not answer, so that other "
                "machines may take theirs still: try again."
            )
            raise ProblemError(Problem(kind="overloaded", message=message, retry_after=5.0))

    def make_token(self, cookie: str) -> str:
        """Return the token that our pages send with every change: other pages cannot know it."""
        return hmac.new(self._root, f"token {cookie}".encode(), "sha256").hexdigest()

    async def is_signed_in(self, request: Request) -> bool:
        """True if a request comes from an admin who has signed in.

        Raises ProblemError, not_allowed, if a foreign page makes the browser send the request.
        """
        cookie = request.cookies.get(COOKIE_NAME, "")
        if not cookie or not await self.is_valid(cookie):
            return False
        check_origin(request)
        if request.method not in _SAFE_METHODS:
            sent_token = request.headers.get(CSRF_HEADER, "").encode()
            if not hmac.compare_digest(sent_token, self.make_token(cookie).encode()):
                raise _make_origin_error(f"Send the session's token as {CSRF_HEADER}.")
        return True

    def find_admin(self, cookie: str) -> str:
        """Return the name of the admin or the person who has a valid cookie."""
        if (person := self.find_person(cookie)) is not None:
            return person.name
        body, _, signature = cookie.rpartition(".")
        for admin_digest in self._keys.iter_admin_hashes():
            if hmac.compare_digest(signature, self._sign(body, admin_digest)):
                return self._keys.find_by_hash(admin_digest).name
        return MAIN_ADMIN

    def _make_session_id(self) -> str:
        """Return when a session ends, and a name of its own."""
        return f"{_to_microseconds(self._clock() + SESSION_SECONDS)}.{secrets.token_urlsafe(12)}"

    def _list_admin_digests(self) -> Iterator[bytes]:
        if self._admin_digest:
            yield self._admin_digest
        yield from self._keys.iter_admin_hashes()

    def _sign(self, body: str, key: bytes) -> str:
        return hmac.new(self._root, b"cookie " + body.encode() + key, "sha256").hexdigest()


def set_session_cookie(response: Response, cookie: str, *, secure: bool) -> None:
    """Set the cookie of a session in the browser, or remove it if `cookie` is empty."""
    set_cookie(response, COOKIE_NAME, cookie, SESSION_SECONDS, secure=secure)


def set_cookie(
    response: Response,
    name: str,
    value: str,
    seconds: int,
    *,
    secure: bool,
    path: str = "/",
    same_site: Literal["lax", "strict"] = "strict",
) -> None:
    """Set a cookie that no script can read, or remove it if `value` is empty."""
    response.set_cookie(
        name,
        value,
        max_age=seconds if value else 0,
        path=path,
        secure=secure,
        httponly=True,
        samesite=same_site,
    )


def check_origin(request: Request) -> None:
    """Refuse a request that a foreign page triggers. Raises ProblemError: not_allowed."""
    fetch_site = request.headers.get("sec-fetch-site")
    if fetch_site is not None:
        if fetch_site not in _OWN_FETCH_SITES:
            raise _make_origin_error("Open the dashboard itself.")
        return
    # Browsers omit it if the page came neither by TLS nor from this machine.
    origin = request.headers.get("origin")
    host = request.headers.get("host", "")
    if origin is not None and origin.lower() not in (f"http://{host}", f"https://{host}".lower()):
        raise _make_origin_error("Open the dashboard itself.")


def _to_microseconds(seconds: float) -> int:
    """Return a cookie's time. Its precision shows who signed in after all were signed out."""
    return int(seconds * 1_000_000)


def hash_secret(secret: str) -> bytes:
    """Return the SHA-256 hash of a secret."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()


def _make_origin_error(hint: str) -> ProblemError:
    message = f"No page of another origin is answered. {hint}"
    return ProblemError(Problem(kind="not_allowed", message=message))
