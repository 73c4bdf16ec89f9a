"""Writes spans of time as the configuration has them."""

_LEAST = 0.001
"""Seconds: what is shorter is no time that anybody waits."""


def span(seconds: float) -> str:
    """Write seconds as `90s` or `0.5s`, without an exponent, which the configuration refuses."""
    text = f"{max(seconds, _LEAST):.3f}" if seconds else "0"
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text}s"
