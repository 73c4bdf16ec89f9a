"""Items and their parts: readers that accept any type of a member, and counts of content bytes."""

from gateway.core.jsonio import Json
from gateway.dialects.content_length import count_item_bytes, count_text_bytes

type Object = dict[str, Json]


def count_content_bytes(value: Json) -> int:
    """Count the bytes of content in one item of the output."""
    if not isinstance(value, dict):
        return 0
    kind = value.get("type")
    if kind == "message":
        return count_text_bytes(value.get("content"))
    if kind == "reasoning":
        return count_text_bytes(value.get("summary")) or count_text_bytes(value.get("content"))
    return count_item_bytes(value)


def read_object(value: Json) -> Object:
    """Return a member that should be an object; an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def list_objects(value: Json) -> list[Object]:
    """Return the objects of a member that should be a list of them."""
    return [it for it in value if isinstance(it, dict)] if isinstance(value, list) else []
