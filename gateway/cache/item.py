"""Items of earlier answers, which a request may name by their ids in place of sending them again.

The AI SDK does so by default: `{"type": "item_reference", "id": "msg_1"}`. Source: `ItemReference`
of OpenAI's API reference; its type may be left out.
"""

from collections.abc import Iterable, Mapping

import msgspec

from gateway.core import jsonio
from gateway.core.errors import ProblemError, invalid
from gateway.core.jsonio import Json
from gateway.dialects import RequestBody
from gateway.dialects.openai_responses.said import refers

type Object = dict[str, Json]

_READ = jsonio.reader(list[msgspec.Raw])
_FREE = frozenset({"message", "reasoning", "function_call", "custom_tool_call"})
"""Items that need no id."""


class StoredItem(msgspec.Struct, frozen=True, kw_only=True):
    """One item."""

    item: bytes
    """As it was told."""
    provider: str
    account: str
    kept: bool
    """Whether the provider keeps it too."""

    @property
    def seat(self) -> tuple[str, str] | None:
        """Who may be told its id alone; None where nobody may."""
        return (self.provider, self.account) if self.kept else None


def references(body: RequestBody) -> list[str]:
    """The ids of items that a request names, in their order, each once. Raises ProblemError."""
    given = body.said.get("input")
    found: dict[str, None] = {}
    for at, item in enumerate(given if isinstance(given, list) else ()):
        if refers(item):
            id, where = item.get("id"), f"input[{at}].id"
            if not isinstance(id, str):
                raise invalid(f'"{where}" must be a string.', where)
            if id in found:
                raise invalid(f"Item with id '{id}' is named twice: name it once.", where)
            found[id] = None
    return [*found]


def unknown(id: str) -> ProblemError:
    """What a client is told of an item that is not here."""
    message = (
        f"Item with id '{id}' not found: it was not stored, or is not kept any more. "
        "Send the item itself in its place, and ask with store set to false to go on so."
    )
    return invalid(message, "input")


def expand(
    body: RequestBody, held: Mapping[str, StoredItem], seat: tuple[str, str] | None = None
) -> list[bytes]:
    """The items of a request, each in place of its id but where who has the `seat` knows that."""
    given = body.said.get("input")
    if not isinstance(given, list):
        return [] if given is None else [jsonio.dumps({"role": "user", "content": given})]
    found = []
    for raw, item in zip(cut(bytes(memoryview(body.members["input"]))), given, strict=True):
        one = held[item["id"]] if refers(item) else None
        if one is None or (seat is not None and one.seat == seat):
            found.append(raw)
        elif one.kept:
            found += portable([jsonio.loads(one.item)])
        else:
            found.append(one.item)
    return found


def portable(items: Iterable[Object]) -> list[bytes]:
    """Items as they may go beyond the provider that keeps them."""
    return [jsonio.dumps(_free(item)) for item in items if _means(item)]


def cut(data: bytes | None) -> list[bytes]:
    """A JSON list as its items, byte for byte; none of anything else."""
    try:
        return [bytes(memoryview(it)) for it in _READ(data or b"[]")]
    except jsonio.JsonError:
        return []


def by_id(
    listed: Iterable[bytes], provider: str, account: str, *, kept: bool
) -> dict[str, StoredItem]:
    """Those of a list of items that have an id, and who has them."""
    found = {}
    for raw in listed:
        item = jsonio.loads(raw)
        id = item.get("id") if isinstance(item, dict) else None
        if isinstance(id, str):
            found[id] = StoredItem(item=raw, provider=provider, account=account, kept=kept)
    return found


def _means(item: Object) -> bool:
    """Whether an item means something beyond the provider that keeps it."""
    return item.get("type") != "reasoning" or bool(item.get("encrypted_content"))


def _free(item: Object) -> Object:
    """An item without the id by which its provider would look for those that belong to it."""
    if item.get("type") not in _FREE:
        return item
    return {name: value for name, value in item.items() if name != "id"}
