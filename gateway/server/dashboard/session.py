"""Sessions of the dashboard: cookies that nobody but this gateway can make.

A cookie has the moment of its end, a name of its own, and a mark over both and the admin's key. So
every worker and machine with the root secret takes it, and it ends where the key does. The gateway
keeps sessions that end sooner (state/sessions.py).
"""

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Iterator

from fastapi import Request, Response

from gateway.core.errors import Problem, ProblemError
from gateway.limits.keys import KeyTable
from gateway.state.ended_sessions import LASTS, EndedSessions

COOKIE = "tiergate-session"
HEADER = "x-tiergate-csrf"
_READS = frozenset({"GET", "HEAD"})
_OWN = frozenset({"same-origin", "none"})
_LONGEST = 200


class DashboardSessions:
    """Makes and checks cookies. `root` is a key of this purpose alone, `secret` the admin key."""

    def __init__(
        self,
        root: bytes,
        secret: str,
        keys: KeyTable,
        ended: EndedSessions,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._root = root
        self._ended = ended
        self._own = digest(secret) if secret else b""
        self._keys = keys
        self._clock = clock

    @property
    def needed(self) -> bool:
        """Whether some key is an admin's; where none is, this machine is answered without one."""
        return bool(self._own) or self._keys.admin

    def begin(self, secret: str) -> str | None:
        """The cookie of whoever knows an admin's key; None where this is none."""
        given = digest(secret)
        # All are compared, of hashes: the time that it takes tells nothing of any key.
        same = [hmac.compare_digest(given, one) for one in self._admins()]
        if not any(same):
            return None
        body = f"{_microseconds(self._clock() + LASTS)}.{secrets.token_urlsafe(12)}"
        return f"{body}.{self._mark(body, given)}"

    async def holds(self, cookie: str) -> bool:
        """True if this is the cookie of an admin whose session has not ended."""
        body, _, mark = cookie.rpartition(".")
        end, _, name = body.partition(".")
        if len(cookie) > _LONGEST or not (cookie.isascii() and end.isdigit()):
            return False
        same = [hmac.compare_digest(mark, self._mark(body, one)) for one in self._admins()]
        if not any(same) or _microseconds(self._clock()) >= int(end):
            return False
        return not await self._ended.has(name, int(end) / 1_000_000 - LASTS)

    async def end(self, cookie: str) -> None:
        """End the session of a cookie that holds: nobody who has copied it goes on with it."""
        await self._ended.end(cookie.split(".")[1])

    async def end_all(self) -> None:
        """End all sessions. Raises ProblemError: other machines may not know of it."""
        if not await self._ended.end_all():
            message = (
                "All sessions of this machine have ended. Redis does not answer, so that other "
                "machines may take theirs still: try again."
            )
            raise ProblemError(Problem(kind="overloaded", message=message, retry_after=5.0))

    def token(self, cookie: str) -> str:
        """What a page of ours sends with all that changes something: other pages cannot know it."""
        return hmac.new(self._root, f"token {cookie}".encode(), "sha256").hexdigest()

    async def passes(self, request: Request) -> bool:
        """True if a request is that of an admin who has signed in.

        Raises ProblemError, not_allowed, where a page from elsewhere makes the browser ask.
        """
        cookie = request.cookies.get(COOKIE, "")
        if not cookie or not await self.holds(cookie):
            return False
        check_origin(request)
        if request.method not in _READS:
            given = request.headers.get(HEADER, "").encode()
            if not hmac.compare_digest(given, self.token(cookie).encode()):
                raise _strange(f"Send the session's token as {HEADER}.")
        return True

    def _admins(self) -> Iterator[bytes]:
        if self._own:
            yield self._own
        yield from self._keys.admins()

    def _mark(self, body: str, key: bytes) -> str:
        return hmac.new(self._root, b"cookie " + body.encode() + key, "sha256").hexdigest()


def keep(response: Response, cookie: str, *, secure: bool) -> None:
    """Give a browser the cookie, or take it away where it is empty."""
    response.set_cookie(
        COOKIE,
        cookie,
        max_age=LASTS if cookie else 0,
        path="/",
        secure=secure,
        httponly=True,
        samesite="strict",
    )


def check_origin(request: Request) -> None:
    """Refuse what a page from elsewhere makes a browser ask. Raises ProblemError: not_allowed."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        if site not in _OWN:
            raise _strange("Open the dashboard itself.")
        return
    # Browsers leave it out where the page came neither by TLS nor from this machine.
    origin = request.headers.get("origin")
    host = request.headers.get("host", "")
    if origin is not None and origin.lower() not in (f"http://{host}", f"https://{host}".lower()):
        raise _strange("Open the dashboard itself.")


def _microseconds(seconds: float) -> int:
    """Return a moment as cookies have it: it tells who signed in after all were signed out."""
    return int(seconds * 1_000_000)


def digest(secret: str) -> bytes:
    """What is known of a secret."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()


def _strange(hint: str) -> ProblemError:
    message = f"No page of another origin is answered. {hint}"
    return ProblemError(Problem(kind="not_allowed", message=message))
