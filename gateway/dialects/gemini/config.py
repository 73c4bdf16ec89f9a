"""Changes within `generationConfig`: the client's own spelling, and its own bytes beside them."""

from gateway.dialects.body_patch import BodyPatch, LossAction
from gateway.dialects.gemini import content as wire
from gateway.dialects.gemini.content import Object

CONFIG = "generationConfig"


class Config:
    """The generationConfig of one body on its way to one target."""

    __slots__ = ("_changes", "_edit", "_name", "value")

    def __init__(self, edit: BodyPatch) -> None:
        self._edit = edit
        self._name = wire.spelled(edit.body.value, CONFIG)
        self._changes: dict[str, object] = {}
        self.value: Object = wire.group(edit.body.value, CONFIG)
        """As the client sent it."""

    def has(self, name: str) -> bool:
        """Whether the body still names a member, by its name in camelCase."""
        spelled = wire.spelled(self.value, name)
        return spelled in self.value and self._changes.get(spelled, self) is not None

    def put(self, name: str, value: object) -> None:
        """Set a member; None takes it out."""
        self._changes[wire.spelled(self.value, name)] = value

    def lose(self, name: str, inner: str, action: LossAction, why: str) -> None:
        """Name what the target does not get as it was written."""
        field = f"{self._name}.{wire.spelled(self.value, name)}"
        self._edit.record_loss(f"{field}.{inner}" if inner else field, action, why)

    def done(self) -> None:
        """Write the changes into the body; what is taken out last leaves the others their place."""
        for name, value in sorted(self._changes.items(), key=lambda change: change[1] is None):
            self._edit.set_inner_member(self._name, name, value)
