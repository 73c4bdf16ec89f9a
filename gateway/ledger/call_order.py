"""The order in which calls are listed, and the text that they are searched for."""

from typing import Any, Final, NamedTuple

from gateway.ledger.query import SqlDialect

_TOKENS = "coalesce(c.input, 0) + coalesce(c.cache_read, 0) + coalesce(c.cache_write, 0)"
_SORT_EXPRESSIONS: Final = {
    "received": "c.at",
    "cost": "CAST(c.cost AS DOUBLE PRECISION)",
    "duration": "c.duration",
    "first_content": "c.first_content",
    "tokens": "CASE WHEN c.input IS NOT NULL OR c.output IS NOT NULL THEN"
    f" {_TOKENS} + coalesce(c.output, 0) + coalesce(c.reasoning, 0) END",
}
SORT_NAMES: Final = tuple(_SORT_EXPRESSIONS)
"""Names to sort calls by. `tokens` are all of the prompt and of the answer."""
_SEARCHED_COLUMNS = (
    *("id", "conversation", "asked", "model", "served", "key", "end_user", "problem"),
    *("upstream_id", "response_id"),
)


class CallOrder(NamedTuple):
    """An order of calls. Equal ones are sorted by id, and unknown values come last."""

    name: str = "received"
    """One of SORT_NAMES."""
    descending: bool = True

    @property
    def expression(self) -> str:
        """The SQL of the value that calls in the table c are sorted by."""
        return _SORT_EXPRESSIONS[self.name]

    def build_clause(self) -> str:
        """Return the SQL after ORDER BY."""
        direction = "DESC" if self.descending else "ASC"
        # The index on `at` gives this order only without a term for unknown values.
        nulls = "" if self.name == "received" else f"({self.expression}) IS NULL, "
        return f"{nulls}{self.expression} {direction}, c.id {direction}"

    def build_page_condition(
        self, dialect: SqlDialect, value: object, id: str
    ) -> tuple[str, list[Any]]:
        """Return the condition of calls after one with this value and id, and its values."""
        operator, mark = "<" if self.descending else ">", dialect.placeholder
        if value is None:
            return f"({self.expression}) IS NULL AND c.id {operator} {mark}", [id]
        condition = f"({self.expression}, c.id) {operator} ({mark}, {mark})"
        if self.name != "received":
            condition = f"({condition} OR ({self.expression}) IS NULL)"
        return condition, [value, id]


NEWEST_FIRST: Final = CallOrder()


class CallSearch(NamedTuple):
    """A text to look for in calls."""

    text: str
    """A part of an id, a name, a kind of error, or a hash; capital letters do not matter."""
    end_users: tuple[str, ...] = ()
    """The hashes of end users whose calls match too: those whom the text names."""

    def build_condition(self, dialect: SqlDialect) -> tuple[str, list[Any]]:
        """Return an SQL condition that selects calls in the table c, and its values."""
        text = self.text
        for character in "!%_":
            text = text.replace(character, f"!{character}")
        conditions = [
            f"lower(c.{name}) LIKE lower({dialect.placeholder}) ESCAPE '!'"
            for name in _SEARCHED_COLUMNS
        ]
        values: list[Any] = [f"%{text}%"] * len(conditions)
        if self.end_users:
            conditions.append(dialect.membership_test.format("c.end_user"))
            values.append(dialect.bind_texts(list(self.end_users)))
        return f"({' OR '.join(conditions)})", values
