"""Errors of routing.

RoutingError
RuleError             a condition that cannot be compiled
CelError              a text that is no CEL condition
ModelFileError        bytes that are no classifier
ScoreError            a classifier that failed
MissingFeatureError   a row does not keep what a decision asks for
"""


class RoutingError(Exception):
    """The base of all errors of this package."""


class RuleError(RoutingError, ValueError):
    """A condition that cannot be compiled; `path` says where in the rule."""

    def __init__(self, path: tuple[str | int, ...], message: str, hint: str = "") -> None:
        super().__init__(message)
        self.path = path
        self.hint = hint
        self.all_errors: tuple[RuleError, ...] = (self,)
        """Itself, and all the others of the same rules."""


class CelError(RoutingError, ValueError):
    """A text that is no expression, or no condition."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class ModelFileError(RoutingError, ValueError):
    """Bytes that are no classifier that this version can use; the text says why."""


class ScoreError(RoutingError):
    """A classifier failed; the text is the kind of error it failed with."""


class MissingFeatureError(RoutingError):
    """A decision asks for something of a call that its row does not keep; the text names it."""
