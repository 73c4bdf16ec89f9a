"""Facts of a request that only a few rules need. The gateway reads them only for such a rule."""

from collections.abc import Iterable, Mapping

import msgspec

from gateway.core.jsonio import Json


class RequestFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Facts of one request that stand in no row: they may tell of a person."""

    system: str = ""
    """The whole text of its instructions."""
    user: str = ""
    """The end user whom the client names."""
    metadata: Mapping[str, str] = {}
    """The client's own labels; values that are no text are left out."""
    temperature: float | None = None


EMPTY_FACTS = RequestFacts()


def join_system(texts: Iterable[str]) -> str:
    """Join the blocks of instructions into one text."""
    return "\n".join(texts)


def count_data_bytes(url: Json) -> int:
    """Count the bytes of a URL that has its data in itself; 0 for any other value."""
    return len(url) if isinstance(url, str) and url.startswith("data:") else 0


def read_labels(value: Json) -> dict[str, str]:
    """Read an object of labels; an odd one has none."""
    if not isinstance(value, dict):
        return {}
    return {name: label for name, label in value.items() if isinstance(label, str)}
