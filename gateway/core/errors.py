"""An error as a value: what went wrong, whose fault it is and what the client should do.

    Problem          a value; every package returns or raises it
    ProblemError     the exception that carries a Problem to the edge

The statuses follow the behaviour of the official SDKs. An error has a status that they retry only
if a retry can help. Otherwise the gateway sends `x-should-retry: false`.
"""

from typing import Literal

import msgspec

from gateway.core.rate_limits import ExceededQuota, RateLimits
from gateway.core.usage import Usage

type ProblemKind = Literal[
    "invalid_json", "invalid_request", "invalid_api_key", "not_allowed", "model_not_found",
    "not_found", "method_not_allowed", "request_timeout", "request_too_large", "media_type",
    "no_target", "loop", "rate_limited", "budget", "budget_busy", "budget_unbounded",
    "overloaded", "draining", "ledger", "keys_unavailable", "internal",
    "upstream_rejected", "upstream_context", "upstream_model", "upstream_rate_limited",
    "upstream_auth", "upstream_error", "upstream_moved",
    "upstream_overloaded", "upstream_timeout", "upstream_unreachable", "upstream_truncated",
]  # fmt: skip

STATUS_BY_KIND: dict[ProblemKind, int] = {
    "invalid_json": 400,
    "invalid_request": 400,
    "invalid_api_key": 401,
    "not_allowed": 403,
    "model_not_found": 404,
    "not_found": 404,
    "method_not_allowed": 405,
    "request_timeout": 408,
    "request_too_large": 413,
    "media_type": 415,
    "no_target": 400,
    "loop": 508,
    "rate_limited": 429,
    "budget": 429,
    "budget_busy": 429,
    "budget_unbounded": 400,
    "overloaded": 503,
    "draining": 503,
    "ledger": 503,
    "keys_unavailable": 503,
    "internal": 500,
    "upstream_rejected": 400,
    "upstream_context": 400,
    "upstream_model": 404,
    "upstream_rate_limited": 429,
    "upstream_auth": 502,
    "upstream_error": 502,
    "upstream_moved": 502,
    "upstream_overloaded": 503,
    "upstream_timeout": 504,
    "upstream_unreachable": 502,
    "upstream_truncated": 502,
}
_CLIENT_RETRY_KINDS: frozenset[ProblemKind] = frozenset({
    "rate_limited", "budget_busy", "overloaded", "draining", "ledger", "keys_unavailable",
    "upstream_rate_limited", "upstream_error", "upstream_overloaded", "upstream_timeout",
    "upstream_unreachable",
})  # fmt: skip
"""Kinds that the official SDKs retry by themselves, as they do with the provider."""


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One error, not yet in any dialect."""

    kind: ProblemKind
    message: str
    """Text for the client: what is wrong and what to do, without key, prompt or traceback."""
    name: str = ""
    """The name in ledger rows; empty takes the kind."""
    detail: str = ""
    """Steps for the operator. They name the operator's settings, so clients never see them."""
    param: str | None = None
    """The request field at fault, by the client's own name."""
    status: int = 0
    """The HTTP status; 0 takes the status of its kind."""
    retry_after: float | None = None
    """Seconds after which the client may try again."""
    exceeded_quota: ExceededQuota | None = None
    """The limit or budget that refuses the call."""
    rate_limits: RateLimits | None = None
    """The rate limits of the refused call, where its client may see some."""
    body: bytes | None = None
    """A provider's own error body in the client's dialect, which the gateway sends unchanged."""
    upstream_status: int | None = None
    is_permanent: bool = False
    """True if a retry cannot help: the cause is not load or chance, e.g. a bad certificate."""
    retryable: bool | None = None
    """True if the client may send the call again by its own rule; None takes the kind's rule."""
    spent: Literal["no", "maybe"] = "no"
    """`maybe` if the provider may have billed the failed attempt."""
    usage: Usage | None = None
    """The usage of the attempt, as far as the provider reported it."""
    content_bytes: int = 0
    """UTF-8 bytes of content that came before the error."""
    has_ended: bool = False
    """True if the answer came to its end, so that its usage is final: nobody got it."""

    @property
    def operator_message(self) -> str:
        """The message with the steps for the operator."""
        return f"{self.message} ({self.detail})" if self.detail else self.message

    @property
    def http_status(self) -> int:
        """The HTTP status that the client gets."""
        return self.status or STATUS_BY_KIND[self.kind]

    @property
    def should_retry(self) -> bool | None:
        """The header x-should-retry: False, or None to let the client follow its own rule."""
        is_retryable = (
            self.kind in _CLIENT_RETRY_KINDS if self.retryable is None else self.retryable
        )
        return None if is_retryable and not self.is_permanent else False


DRAINING = Problem(
    kind="draining",
    message="The gateway is stopping. Send the request again: another process takes it.",
    retry_after=1.0,
)
"""Refuses a call while the gateway stops."""


class ClientGone(Exception):
    """The client has left before its request was whole."""


class ProblemError(Exception):
    """The exception that carries a Problem to the edge."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem

    def __reduce__(self) -> tuple[type["ProblemError"], tuple[Problem]]:
        """Pickle the problem: an error of a ledger query comes from another process."""
        return ProblemError, (self.problem,)


def invalid_request(message: str, param: str | None = None) -> ProblemError:
    """Return the error for a request that the gateway cannot serve as written."""
    return ProblemError(Problem(kind="invalid_request", message=message, param=param))


def conflict(message: str) -> ProblemError:
    """Return the error for a request that the present state does not allow."""
    return ProblemError(Problem(kind="invalid_request", message=message, status=409))


def ledger_unwritable() -> ProblemError:
    """Return the error for a request that is not sent, as its row cannot be written."""
    message = "The gateway cannot write its ledger, so it calls no provider. Try again soon."
    return ProblemError(Problem(kind="ledger", message=message, retry_after=5))
