"""What every part of a configuration is made of: how strictly it is read; words, one or several."""

from typing import Annotated

from pydantic import BeforeValidator, ConfigDict, Field, StringConstraints

STRICT = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
"""No key that is not known; nothing changes once it is read."""


def many(value: object) -> object:
    """A list of one where one stands alone."""
    return [value] if isinstance(value, str) else value


type Word = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
type Some = Annotated[list[Word], BeforeValidator(many), Field(min_length=1)]
"""One at least: a condition on none of them would never hold."""
