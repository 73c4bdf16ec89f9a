"""Access while keys are open: only by a known Host, and not from a foreign web page.

Without keys the gateway can judge callers only by where they come from. Two kinds of foreign web
pages reach it through the browser of a user who may call:

    by its own address   the browser names the page: the header Origin
    by the page's name   the name leads to this machine (DNS rebinding): the header Host

A browser always sends Host, and it sends Origin with every harmful request. Programs send any
headers: only a key keeps them out.
"""

from collections.abc import Sequence

from gateway.core.errors import Problem
from gateway.server.cors import CorsPolicy
from gateway.server.host_header import Headers, find_value, is_loopback, parse_address, parse_name
from gateway.settings.schema.server import WILDCARD

_LOCAL_NAMES = ("localhost", "host.docker.internal", "host.containers.internal")
"""Names of this machine: its own, and the names that its containers use for it."""
_ANY_ADDRESSES = ("0.0.0.0", "::", "")  # noqa: S104 - addresses that mean all of them
_PAGE_PROBLEM = Problem(
    kind="not_allowed",
    message="While keys are open the gateway answers no web page of another origin: it could "
    "spend your money. Configure keys (docs/keys.md), or list the page's origin in "
    "server.cors.",
)
_HOST_PROBLEM = Problem(
    kind="not_allowed",
    message="While keys are open the gateway answers only to host names that it knows: "
    "localhost, or the address that it listens on. Configure keys (docs/keys.md), or "
    "list the name in server.hosts.",
)


class OpenAccess:
    """Checks the requests of a gateway whose keys are open.

    The gateway listens on `listen_address`. `hosts` are the operator's names for it. `cors` knows
    the web pages that may call.
    """

    def __init__(self, listen_address: str, hosts: Sequence[str], cors: CorsPolicy) -> None:
        self._allows_any_name = WILDCARD in hosts
        self._listens_on_any_address = listen_address in _ANY_ADDRESSES
        names = (*_LOCAL_NAMES, listen_address, *hosts)
        self._names = frozenset(name.lower().strip("[]").removesuffix(".") for name in names)
        self._cors = cors

    def find_problem(self, headers: Headers) -> Problem | None:
        """Return the problem of a request: unknown Host, or foreign Origin. None if it may pass."""
        if not self.knows_host(headers):
            return _HOST_PROBLEM
        return None if self._allows_page(headers) else _PAGE_PROBLEM

    def knows_host(self, headers: Headers) -> bool:
        """True if a request names this gateway. A request without a name comes from no browser."""
        host = find_value(headers, b"host")
        if self._allows_any_name or not host:
            return True
        name = parse_name(host)
        if name in self._names or is_loopback(name):
            return True
        return self._listens_on_any_address and parse_address(name) is not None

    def _allows_page(self, headers: Headers) -> bool:
        """True if a request comes from no web page, from one that may call, or from this machine.

        Without keys no page of `null` may call, whatever `server.cors` says.
        """
        origin = find_value(headers, b"origin")
        if origin == b"null":
            return False
        page = find_foreign_page(headers, self._cors)
        return page is None or is_loopback(parse_name(page.lower().partition(b"://")[2]))


def find_foreign_page(headers: Headers, cors: CorsPolicy) -> bytes | None:
    """Return the origin of the calling page if it may not call; None if it may, or is no page.

    A page of this gateway may call. Desktop programs have a scheme of their own, such as `app://`.
    """
    origin = find_value(headers, b"origin")
    if not origin or cors.allows(origin):
        return None
    scheme, _, authority = origin.lower().partition(b"://")
    if scheme not in (b"http", b"https", b"null"):
        return None
    is_own_page = authority == (find_value(headers, b"host") or b"").lower()
    return None if is_own_page and authority else origin
