"""Types that all parts of a configuration share: strictness, words, sizes, durations."""

import re
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BeforeValidator, ConfigDict, Field, StringConstraints

from gateway.core.quality import MAX_POSITION, find_share
from gateway.core.target import EFFORTS

STRICT_CONFIG = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, defer_build=True)
"""The pydantic settings of every part. Unknown keys are errors, and values never change after
reading."""
_DATE_LENGTH = 10
"""Characters of a date."""
_SIZE_UNITS = {"": 1, "B": 1, "KB": 1_000, "MB": 1_000_000, "GB": 1_000_000_000}
_DURATION_UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_size(value: object) -> object:
    """Return the bytes of a size such as 32MB; only text is converted. Raises ValueError."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMG]?B)?\s*", value)
    if match is None:
        raise ValueError("must be a size, as 500KB, 32MB or 1GB")
    return int(Decimal(match[1]) * _SIZE_UNITS[match[2] or ""])


def parse_duration(value: object) -> object:
    """Return the seconds of a duration such as 90s; only text is converted. Raises ValueError."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(ms|[smhd])?\s*", value)
    if match is None:
        raise ValueError("must be a duration, as 500ms, 90s, 15m, 1h or 7d")
    return float(match[1]) * _DURATION_UNITS[match[2] or ""]


def parse_end(text: str, zone: tzinfo = UTC) -> float:
    """Return when a date or a time ends, in seconds since the epoch.

    A date lasts to the end of its day in `zone`; a time without an offset is one of `zone`. Raises
    ValueError.
    """
    try:
        if len(text) == _DATE_LENGTH:
            end = date.fromisoformat(text) + timedelta(days=1)
            return datetime(end.year, end.month, end.day, tzinfo=zone).timestamp()
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)).timestamp()
    except (ValueError, OverflowError):
        message = "must be a date or a moment, as 2027-01-31 or 2027-01-31T18:00:00Z"
        raise ValueError(message) from None


def check_end(text: str) -> str:
    """Return a date or a time as it is. Raises ValueError if it is neither."""
    parse_end(text)
    return text


def wrap_in_list(value: object) -> object:
    """Return a text as a list of one; return any other value unchanged."""
    return [value] if isinstance(value, str) else value


def _parse_complete(value: object) -> object:
    """Read `on` as `hold`. Raises ValueError for `live`, which earlier versions accepted."""
    if isinstance(value, bool):
        return "hold" if value else "off"
    if value == "live":
        raise ValueError("'live' is no longer served: take `hold`, or leave it out")
    aliases = {"on": "hold", "true": "hold", "false": "off"}
    return aliases.get(value, value) if isinstance(value, str) else value


def _parse_escalate(value: object) -> object:
    """Read `on` as `checked`."""
    if isinstance(value, bool):
        return "checked" if value else "off"
    aliases = {"on": "checked", "true": "checked", "false": "off"}
    return aliases.get(value, value) if isinstance(value, str) else value


_QUALITY_FORM = f"a number from 0 (always fast) to {MAX_POSITION}, or a share as `keep: 0.97`"


def _parse_quality(value: object) -> object:
    """Return the fraction of quality that a dial position or `{keep: FRACTION}` stands for.

    Raises ValueError for anything else.
    """
    if isinstance(value, dict) and [*value] == ["keep"]:
        value = value["keep"]
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:
            return float(value)
        raise ValueError("`keep` is the fraction of the quality that is kept, 0 to 1")
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ValueError(_QUALITY_FORM)  # noqa: TRY004 - pydantic reports ValueErrors only
    if not 0 <= value <= MAX_POSITION:
        raise ValueError(_QUALITY_FORM)
    return find_share(value)


def _parse_default_quality(value: object) -> object:
    """Return `off`, or the fraction that `_parse_quality` reads. Raises ValueError."""
    return "off" if value is False or value == "off" else _parse_quality(value)


type Word = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
type Words = Annotated[list[str], BeforeValidator(wrap_in_list)]
type NonEmptyWords = Annotated[list[Word], BeforeValidator(wrap_in_list), Field(min_length=1)]
"""A list with at least one word: a condition on an empty list would never hold."""
type Effort = Annotated[str, Field(pattern=f"^({'|'.join(EFFORTS)})$")]
type ByteSize = Annotated[int, BeforeValidator(parse_size), Field(ge=0)]
type Duration = Annotated[float, BeforeValidator(parse_duration), Field(ge=0, allow_inf_nan=False)]
type QualitySetting = Annotated[float, BeforeValidator(_parse_quality)]
"""The fraction of the reasoning tier's quality that routing keeps."""
type DefaultQualitySetting = Annotated[
    float | Literal["off"], BeforeValidator(_parse_default_quality)
]
type CompleteSetting = Annotated[Literal["off", "hold"], BeforeValidator(_parse_complete)]
type EscalateSetting = Annotated[
    Literal["off", "watch", "checked"], BeforeValidator(_parse_escalate)
]
