"""What calls that are over have used of limits and budgets."""

from gateway.core.ledger_rows import FinalRow
from gateway.limits.cost_bounds import micro
from gateway.limits.counters import End


def end_of(entry: FinalRow) -> End:
    """What a call has used, where all of it is known: else it stays charged with what it held."""
    known = entry.cost is not None and entry.wasted is not None and not entry.estimate
    used = micro(entry.cost) if known and entry.cost is not None else None
    return entry.id, _tokens(entry), used


def _tokens(entry: FinalRow) -> int | None:
    """Tokens that providers worked on for a call; None where nobody knows."""
    if entry.cache == "hit" or entry.attempts == 0:
        return 0
    if entry.input is None or entry.output is None:
        return None
    cached = (entry.cache_read or 0) + (entry.cache_write or 0)
    return entry.input + entry.output + (entry.reasoning or 0) + cached
