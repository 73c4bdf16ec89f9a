"""Find the sign-in of the configuration in force."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from gateway.core.errors import Problem, ProblemError
from gateway.runtime.composition import Gateway
from gateway.upstream.fetch_document import fetch_document

if TYPE_CHECKING:
    from gateway.server.identity.sign_in import SignIn


class SignInLookup:
    """Keeps a SignIn until the configuration changes.

    `clock` returns monotonic seconds, `wall` seconds since the epoch.
    """

    def __init__(
        self, gateway: Gateway, *, clock: Callable[[], float], wall: Callable[[], float]
    ) -> None:
        self._gateway = gateway
        self._clock = clock
        self._wall = wall
        self._built_config: object = None
        self._sign_in: SignIn | None = None

    def get(self) -> "SignIn":
        """Return the sign-in. Raises ProblemError, not_found, if none is configured."""
        if self._built_config is not self._gateway.built_config:
            self._built_config = self._gateway.built_config
            self._sign_in = self._make()
        if self._sign_in is None:
            message = "No identity provider is configured: sign in with an admin key."
            raise ProblemError(Problem(kind="not_found", message=message))
        return self._sign_in

    def _make(self) -> "SignIn | None":
        part = self._gateway.built_config.source.config.sign_in
        if part is None:
            return None
        # The extra `oidc`: a gateway without a sign-in does not have it.
        from gateway.server.identity.sign_in import SignIn  # noqa: PLC0415

        gateway = self._gateway
        return SignIn(
            part,
            gateway.cookie,
            fetch=fetch_document,
            clock=self._clock,
            wall=self._wall,
            log=gateway.log,
        )
