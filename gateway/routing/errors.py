"""Errors of routing.

RoutingError
    RuleError             a condition that cannot be compiled
    CelError              a text that is no CEL condition
    ModelFileError        bytes that are no classifier
    ScoreError            a classifier that failed
    MissingFeatureError   a row does not keep what a decision needs
"""


class RoutingError(Exception):
    """The base of all errors of this package."""


class RuleError(RoutingError, ValueError):
    """A condition that cannot be compiled; `path` is its place in the rules."""

    def __init__(self, path: tuple[str | int, ...], message: str, hint: str = "") -> None:
        super().__init__(message)
        self.path = path
        self.hint = hint
        self.all_errors: tuple[RuleError, ...] = (self,)
        """This error, and all other errors of the same rules."""


class CelError(RoutingError, ValueError):
    """A text that is no expression, or that is no condition."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class ModelFileError(RoutingError, ValueError):
    """Bytes that are no classifier which this version can use; the text says why."""


class ScoreError(RoutingError):
    """A classifier failed; the text is the kind of error."""


class MissingFeatureError(RoutingError):
    """A decision needs a part of a call that its row does not keep; the text names the part."""
