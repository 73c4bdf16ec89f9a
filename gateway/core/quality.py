"""The quality that routing keeps: positions of the dial, and the shares that they stand for.

A share is a part of the reasoning tier's expected quality, on a reference set of prompts.
"""

from bisect import bisect_left

ALWAYS_FAST = 0.0
"""The share at which the classifier sends every call to fast."""
ALWAYS_REASONING = 1.0
"""The share at which the classifier sends every call to reasoning."""
DIAL_SHARES = (ALWAYS_FAST, 0.55, 0.70, 0.78, 0.84, 0.88, 0.91, 0.94, 0.96, 0.98, ALWAYS_REASONING)
"""The shares that the positions of the dial keep, from 0 to 10."""
MAX_POSITION = len(DIAL_SHARES) - 1
SHIPPED_POSITION = 5
"""The position if nobody sets the dial. There most golden prompts get their tier."""


def find_share(position: float) -> float:
    """Return the share that a position of the dial keeps, interpolated between two positions.

    Raises ValueError if there is no such position.
    """
    if not 0 <= position <= MAX_POSITION:
        raise ValueError(f"a position of the dial is 0 to {MAX_POSITION}")
    below = min(int(position), MAX_POSITION - 1)
    lower, upper = DIAL_SHARES[below : below + 2]
    return lower + (upper - lower) * (position - below)


def find_position(share: float) -> float:
    """Return the position of the dial that keeps a share, 0 to 10."""
    above = max(1, bisect_left(DIAL_SHARES, share))
    lower, upper = DIAL_SHARES[above - 1 : above + 1]
    return above - 1 + (share - lower) / (upper - lower)
