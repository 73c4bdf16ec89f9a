"""Who is signed in to the dashboard: a cookie that nobody but this gateway can have made.

It holds when it ends and a mark over that and the admin's key which opened it: nothing is kept, so
it holds in every worker and machine that has the root secret, and ends where the key does.
"""

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Iterator

from fastapi import Request, Response

from gateway.core.problem import Problem, ProblemError
from gateway.limits.keys import Keys

COOKIE = "tiergate-session"
HEADER = "x-tiergate-csrf"
LASTS = 12 * 3_600
"""Seconds."""
_READS = frozenset({"GET", "HEAD"})
_OWN = frozenset({"same-origin", "none"})
_LONGEST = 200


class Sessions:
    """Makes and checks cookies. `root` is a key of this purpose alone, `secret` the admin key."""

    def __init__(
        self, root: bytes, secret: str, keys: Keys, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._root = root
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
        body = f"{int(self._clock()) + LASTS}.{secrets.token_urlsafe(12)}"
        return f"{body}.{self._mark(body, given)}"

    def holds(self, cookie: str) -> bool:
        """Whether this is a cookie of an admin that has not ended."""
        body, _, mark = cookie.rpartition(".")
        end = body.partition(".")[0]
        if len(cookie) > _LONGEST or not (cookie.isascii() and end.isdigit()):
            return False
        same = [hmac.compare_digest(mark, self._mark(body, one)) for one in self._admins()]
        return any(same) and self._clock() < int(end)

    def token(self, cookie: str) -> str:
        """What a page of ours sends with all that changes something: other pages cannot know it."""
        return hmac.new(self._root, f"token {cookie}".encode(), "sha256").hexdigest()

    def passes(self, request: Request) -> bool:
        """Whether a request is that of an admin who has signed in.

        Raises ProblemError, not_allowed, where a page from elsewhere makes the browser ask.
        """
        cookie = request.cookies.get(COOKIE, "")
        if not cookie or not self.holds(cookie):
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


def digest(secret: str) -> bytes:
    """What is known of a secret."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()


def _strange(hint: str) -> ProblemError:
    message = f"No page of another origin is answered. {hint}"
    return ProblemError(Problem(kind="not_allowed", message=message))
