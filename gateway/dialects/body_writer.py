"""The body of a request for one target, member by member, with names and losses for the client."""

from gateway.core.canonical_request import CanonicalRequest
from gateway.core.jsonio import Json
from gateway.core.loss import Loss
from gateway.core.target import Target
from gateway.dialects.base import EncodedRequest
from gateway.dialects.body_patch import LossAction
from gateway.dialects.message_builder import MessageBuilder


class BodyWriter:
    """Collects the members of a body. A subclass writes those of its dialect."""

    def __init__(self, request: CanonicalRequest, target: Target, *, dialect_name: str) -> None:
        self._request, self._target = request, target
        self._dialect_name = dialect_name
        self._body: dict[str, Json] = {}
        self._names: dict[str, str] = {}
        self._losses: list[Loss] = []

    def _client_name(self, field: str) -> str:
        return self._request.names.get(field, field)

    def _set(self, member: str, value: Json, field: str) -> None:
        """Set a member from a field of the request, unless the value is None."""
        if value is not None:
            self._body[member] = value
            self._names[member] = self._client_name(field)

    def _record_loss(self, field: str, action: LossAction, why: str) -> None:
        self._losses.append(Loss(self._client_name(field), action, f"{self._dialect_name} {why}"))

    def _finish(self, turns: MessageBuilder) -> EncodedRequest:
        """Return the body, with the losses of its messages first."""
        return EncodedRequest(
            value=self._body,
            client_names=self._names,
            losses=tuple(dict.fromkeys([*turns.losses, *self._losses])),
        )
