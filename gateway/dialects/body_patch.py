"""Changes to the top-level members of a request; nothing is rebuilt while there are none."""

from typing import Literal

import msgspec

from gateway.core import jsonio
from gateway.core.loss import Loss
from gateway.core.target import Target
from gateway.dialects.base import RequestBody, WrittenBody

type LossAction = Literal["dropped", "approximated", "clamped"]


def client_bytes(body: RequestBody) -> bytes:
    """The client's own bytes, where no name stands twice: of such the last alone goes on."""
    raw = body.raw
    return (
        jsonio.join_members(body.members) if jsonio.has_repeated_member(raw, body.members) else raw
    )


def write_model(
    body: RequestBody, model: str, extra_members: jsonio.Members | None = None
) -> bytes:
    """Return the body for another model, with `extra_members`, none of which it has yet."""
    if body.prompt.model != model:
        extra_members = {"model": msgspec.Raw(jsonio.dumps(model)), **(extra_members or {})}
    return (
        jsonio.join_members({**body.members, **extra_members})
        if extra_members
        else client_bytes(body)
    )


class BodyPatch:
    """One body on its way to one target."""

    __slots__ = ("_members", "body", "losses")

    def __init__(self, body: RequestBody) -> None:
        self.body = body
        self.losses: list[Loss] = []
        self._members: jsonio.Members | None = None

    def has(self, name: str) -> bool:
        """Return True if the body still has a member."""
        return name in (self.body.members if self._members is None else self._members)

    def set_member(self, name: str, value: object) -> None:
        """Set a member."""
        self._copy_members()[name] = msgspec.Raw(jsonio.dumps(value))

    def set_default(self, name: str, value: object) -> None:
        """Set a member that the client left out."""
        if name not in self.body.members:
            self.set_member(name, value)

    def set_inner_member(self, name: str, inner_name: str, value: object) -> None:
        """Set one member of a member, None takes it out; the others in it keep their bytes."""
        raw_member = self._copy_members().get(name)
        raw = b"null" if raw_member is None else bytes(memoryview(raw_member))
        inner_members: jsonio.Members = {} if raw == b"null" else jsonio.read_members(raw)
        if value is None:
            inner_members.pop(inner_name, None)
        else:
            inner_members[inner_name] = msgspec.Raw(jsonio.dumps(value))
        if inner_members:
            self._copy_members()[name] = msgspec.Raw(jsonio.join_members(inner_members))
        else:
            self.remove(name)

    def remove(self, name: str) -> None:
        """Take a member out."""
        self._copy_members().pop(name, None)

    def record_loss(self, field: str, action: LossAction, reason: str) -> None:
        """Name what the target does not get as it was written."""
        self.losses.append(Loss(field, action, reason))

    def drop_refused(self, target: Target) -> None:
        """Take out what a target answers with 400."""
        refused = target.facts.refused_members | target.provider.refused_members
        if not refused:
            return
        for name in sorted(refused & self.body.prompt.members):
            if self.has(name):
                self.drop_member(name, f"{target.name} refuses it")

    def drop_member(self, name: str, reason: str) -> None:
        """Take a member out, and name it."""
        self.remove(name)
        self.record_loss(name, "dropped", reason)

    def finish(self) -> WrittenBody:
        """The body: the client's own bytes where nothing changed and no name stands twice."""
        if self._members is None:
            return WrittenBody(client_bytes(self.body), tuple(self.losses))
        return WrittenBody(jsonio.join_members(self._members), tuple(self.losses))

    def _copy_members(self) -> jsonio.Members:
        if self._members is None:
            self._members = dict(self.body.members)
        return self._members
