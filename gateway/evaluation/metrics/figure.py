"""A figure with its 95% interval, the difference of two, and both as JSON."""

import math
from decimal import Decimal
from typing import Literal, NamedTuple

from gateway.core.jsonio import Json

type Finding = Literal["higher", "lower", "no difference can be claimed"]


class Figure(NamedTuple):
    """A figure with its 95% interval."""

    value: float
    low: float | None = None
    """None if the calls are too few for an interval."""
    high: float | None = None

    @property
    def finding(self) -> Finding | None:
        """The finding of a difference: the side of 0 on which it lies; None without an interval."""
        if self.low is None or self.high is None:
            return None
        if self.low > 0:
            return "higher"
        return "lower" if self.high < 0 else "no difference can be claimed"


def subtract(left: Figure, right: Figure) -> Figure:
    """Return the difference of two figures of different calls, with its 95% interval.

    The interval comes from those of both figures, whatever their kind, and is as lopsided as they
    are (Zou and Donner 2008). For two Wilson intervals it is Newcombe's (1998, method 10).
    """
    value = left.value - right.value
    if left.low is None or left.high is None or right.low is None or right.high is None:
        return Figure(value)
    return Figure(
        value,
        value - math.hypot(left.value - left.low, right.high - right.value),
        value + math.hypot(left.high - left.value, right.value - right.low),
    )


def describe_money(figure: Figure | None) -> dict[str, Json] | None:
    """Return USD as text of six digits, because an interval is no exact sum."""
    if figure is None:
        return None
    return {
        name: None if usd is None else f"{Decimal(f'{usd:.6g}'):f}"
        for name, usd in figure._asdict().items()
    }


def describe_number(figure: Figure | None, digits: int) -> dict[str, Json] | None:
    """Return numbers rounded to some digits after the point."""
    if figure is None:
        return None
    return {
        name: None if number is None else round(number, digits)
        for name, number in figure._asdict().items()
    }
