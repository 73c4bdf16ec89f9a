"""The results of arms, as JSON."""

from gateway.core import jsonio
from gateway.ledger.arm_rows import read_arm_rows
from gateway.ledger.query_params import LedgerQuery
from gateway.ledger.store import LedgerStore, count_damaged_rows
from gateway.server.queries import MAX_SECONDS


def render_arms(store: LedgerStore, query: LedgerQuery, rule: str) -> bytes:
    """Compare the arms of a rule, or of each rule. Raises QueryTooLongError, QueryTooLargeError."""
    # Only a query process imports what evaluates, and only for these results.
    from gateway.evaluation.arm_results import describe_results, sample_arms  # noqa: PLC0415

    rows = read_arm_rows(
        store, rule, **query.selection, zone=query.time_zone, max_seconds=MAX_SECONDS
    )
    samples = sample_arms(rows, rule)
    damages = store.read_damages(since=query.since, until=query.until)
    results = describe_results(
        samples,
        since=query.since,
        until=query.until,
        zone=query.zone,
        damaged_rows=count_damaged_rows(damages),
    )
    return jsonio.dumps(results)
