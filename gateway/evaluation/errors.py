"""Errors of evaluation and training.

EvaluationError
NoReader       DuckDB, which reads Parquet, is not installed
TooFewError    there are too few labels to learn from
"""


class EvaluationError(Exception):
    """The base of all errors of this package."""


class NoReader(EvaluationError):
    """DuckDB is not installed, so the gateway cannot read Parquet."""


class TooFewError(EvaluationError, ValueError):
    """There are too few labels to learn from; the text says what is missing."""
