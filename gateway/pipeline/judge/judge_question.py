"""The question for a judge: each kind of judge puts it, and reads the answer, in its own way."""

from typing import Protocol

from gateway.core.decision_context import JudgeKind, Score


class JudgeQuestion(Protocol):
    """The question for one model."""

    @property
    def kind(self) -> JudgeKind:
        """The kind of the model."""
        ...

    @property
    def identity(self) -> str:
        """A text that is the same for two questions only if their verdicts mean the same."""
        ...

    @property
    def dialect(self) -> str:
        """The dialect of the judge's call."""
        ...

    @property
    def operation(self) -> str:
        """The operation of the judge's call."""
        ...

    @property
    def max_in_flight(self) -> int | None:
        """The number of calls of one process at a time; None sets no limit."""
        ...

    def make_body(self, text: str) -> bytes:
        """Return the body of a judge's call about a text."""
        ...

    def read_score(self, body: bytes) -> Score | None:
        """Return the score in an answer; None if the answer is not what was asked for."""
        ...
