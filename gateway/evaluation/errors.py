"""Errors of evaluation and training.

EvaluationError
NoReader       Parquet cannot be read here
TooFewError    there are too few labels
"""


class EvaluationError(Exception):
    """The base of all errors of this package."""


class NoReader(EvaluationError):
    """Parquet cannot be read here."""


class TooFewError(EvaluationError, ValueError):
    """There is too little to learn from; the text says what is missing."""
