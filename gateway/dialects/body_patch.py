"""Changes to the top-level members of a request; nothing is rebuilt while there are none."""

from typing import Literal

import msgspec

from gateway.core import jsonio
from gateway.core.loss import Loss
from gateway.core.target import Target
from gateway.dialects.base import RequestBody, WrittenBody

type Action = Literal["dropped", "approximated", "clamped"]


def unchanged(body: RequestBody) -> bytes:
    """The client's own bytes, where no name stands twice: of such the last alone goes on."""
    raw = body.raw
    return jsonio.join(body.members) if jsonio.repeats(raw, body.members) else raw


def named(body: RequestBody, model: str, more: jsonio.Members | None = None) -> bytes:
    """The same for a model, by its own name; with `more` members, none of which it has."""
    if body.prompt.model != model:
        more = {"model": msgspec.Raw(jsonio.dumps(model)), **(more or {})}
    return jsonio.join({**body.members, **more}) if more else unchanged(body)


class BodyPatch:
    """One body on its way to one target."""

    __slots__ = ("_members", "body", "losses")

    def __init__(self, body: RequestBody) -> None:
        self.body = body
        self.losses: list[Loss] = []
        self._members: jsonio.Members | None = None

    def has(self, name: str) -> bool:
        """Whether the body still names a member."""
        return name in (self.body.members if self._members is None else self._members)

    def put(self, name: str, value: object) -> None:
        """Set a member."""
        self._copy()[name] = msgspec.Raw(jsonio.dumps(value))

    def fill(self, name: str, value: object) -> None:
        """Set a member that the client left out."""
        if name not in self.body.members:
            self.put(name, value)

    def put_in(self, name: str, inner: str, value: object) -> None:
        """Set one member of a member, None takes it out; the others in it keep their bytes."""
        held = self._copy().get(name)
        raw = b"null" if held is None else bytes(memoryview(held))
        parts: jsonio.Members = {} if raw == b"null" else jsonio.members(raw)
        if value is None:
            parts.pop(inner, None)
        else:
            parts[inner] = msgspec.Raw(jsonio.dumps(value))
        if parts:
            self._copy()[name] = msgspec.Raw(jsonio.join(parts))
        else:
            self.remove(name)

    def remove(self, name: str) -> None:
        """Take a member out."""
        self._copy().pop(name, None)

    def lose(self, field: str, action: Action, why: str) -> None:
        """Name what the target does not get as it was written."""
        self.losses.append(Loss(field, action, why))

    def drop_refused(self, target: Target) -> None:
        """Take out what a target answers with 400."""
        refused = target.facts.refuses | target.provider.refuses
        if not refused:
            return
        for name in sorted(refused & self.body.prompt.members):
            if self.has(name):
                self.drop(name, f"{target.name} refuses it")

    def drop(self, name: str, why: str) -> None:
        """Take a member out, and name it."""
        self.remove(name)
        self.lose(name, "dropped", why)

    def done(self) -> WrittenBody:
        """The body: the client's own bytes where nothing changed and no name stands twice."""
        if self._members is None:
            return WrittenBody(unchanged(self.body), tuple(self.losses))
        return WrittenBody(jsonio.join(self._members), tuple(self.losses))

    def _copy(self) -> jsonio.Members:
        if self._members is None:
            self._members = dict(self.body.members)
        return self._members
