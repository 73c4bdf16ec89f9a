"""Pages of conversations, as JSON."""

from gateway.core import jsonio
from gateway.ledger.conversations import (
    ConversationCursor,
    ConversationSums,
    read_conversations,
)
from gateway.ledger.export import build_group
from gateway.ledger.query_params import LedgerQuery
from gateway.ledger.store import LedgerStore, count_damaged_rows
from gateway.server.queries import MAX_SECONDS


def render_conversations(
    store: LedgerStore, query: LedgerQuery, before: ConversationCursor | None, limit: int
) -> bytes:
    """Return a page of conversations as JSON."""
    page = read_conversations(
        store,
        **query.selection,
        zone=query.time_zone,
        before=before,
        limit=limit + 1,
        max_seconds=MAX_SECONDS,
    )
    last = page[limit - 1].cursor if len(page) > limit else None
    damages = store.read_damages(since=query.since, until=query.until)
    return jsonio.dumps(
        {
            "since": query.since,
            "until": query.until,
            "conversations": [_describe(item) for item in page[:limit]],
            "next": None if last is None else f"{last.last!r}-{last.conversation}",
            "damaged_rows": count_damaged_rows(damages),
        }
    )


def _describe(item: ConversationSums) -> dict[str, object]:
    return {
        "conversation": item.conversation,
        "first": item.first,
        "last": item.last,
        "keys": item.keys,
        "last_call": item.last_call,
        **build_group(item.sums, ()),
    }
