"""The budgets that count the calls of one key, as the owner of the key may see them."""

from collections.abc import Iterable, Iterator
from decimal import Decimal

from gateway.core.call import Key
from gateway.ledger.export import format_exact
from gateway.limits.budget_status import BudgetStatus, BudgetUse
from gateway.settings.schema.limits import BudgetPart


def counts_key(status: BudgetStatus, key: Key) -> bool:
    """True if a budget of money counts calls of a key."""
    if status.kind != "usd" or status.owner not in (None, key.tenant):
        return False
    part = status.part
    if not isinstance(part, BudgetPart):
        return status.key == key.name
    if part.key is not None and key.name not in part.key:
        return False
    if part.team is not None and key.team not in part.team:
        return False
    return part.tag is None or any(_may_have_tag(key, tag) for tag in part.tag)


def is_shared(status: BudgetStatus, key: Key) -> bool:
    """True if calls of other keys use the counters of a budget too."""
    part = status.part
    return isinstance(part, BudgetPart) and status.apart != "key" and part.key != [key.name]


def render_own_budget(
    status: BudgetStatus, key: Key, uses: Iterable[BudgetUse]
) -> Iterator[dict[str, object]]:
    """Yield a budget as JSON values, once for each of its counters; amounts are USD as text.

    `used` and `left` are null where the budget is shared: they would tell what others spend.
    """
    if is_shared(status, key):
        yield _render(status, None, None)
        return
    used_by_subject = {use.subject: use.used_amount for use in uses}
    if status.apart == "key":
        used_by_subject = {None: used_by_subject.get(key.name, Decimal(0))}
    for subject, used in (used_by_subject or {None: Decimal(0)}).items():
        yield _render(status, subject, used)


def _may_have_tag(key: Key, tag: str) -> bool:
    """True if calls of a key have a tag, or may add it."""
    return tag in key.tags or key.allowed_tags is None or tag in key.allowed_tags


def _render(status: BudgetStatus, subject: str | None, used: Decimal | None) -> dict[str, object]:
    limit, part = status.limit, status.part
    return {
        "name": status.name,
        "every": part.every,
        "since": status.window.start,
        "resets_at": status.window.end,
        "tiers": None if part.tier is None else list(part.tier),
        "subject": subject,
        "limit": format_exact(limit),
        "used": format_exact(used),
        "left": None if used is None else format_exact(max(limit - used, Decimal(0))),
        "shared": used is None,
        "hard": part.hard,
    }
