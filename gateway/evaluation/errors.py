"""Errors of evaluation and training.

EvaluationError
NoReader                DuckDB, which reads Parquet, is not installed
TooFewError             there are too few labels to learn from
DuplicatePromptError    a golden file has this prompt already
"""


class EvaluationError(Exception):
    """The base of all errors of this package."""


class NoReader(EvaluationError):
    """DuckDB is not installed, so the gateway cannot read Parquet."""


class TooFewError(EvaluationError, ValueError):
    """There are too few labels to learn from; the text says what is missing."""


class DuplicatePromptError(EvaluationError, ValueError):
    """A golden file has this prompt already."""

    def __init__(self, tier: str | None, line: int) -> None:
        super().__init__(f"line {line} has this prompt already, for the tier {tier or 'any'}")
        self.tier = tier
        self.line = line
