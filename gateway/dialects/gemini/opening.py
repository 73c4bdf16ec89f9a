"""How a conversation with Gemini begins. It has no name there."""

from collections.abc import Iterator

from gateway.core.jsonio import Json
from gateway.dialects import opening
from gateway.dialects.body import Body
from gateway.dialects.gemini import wire
from gateway.dialects.opening import Opening


def read(body: Body) -> Opening:
    """Read it; odd members say nothing."""
    system = wire.get(body.value, "systemInstruction")
    said = [system] if isinstance(system, str) else wire.texts(system)
    return Opening(system=opening.system(said), first=opening.first(_turns(body.value)))


def _turns(value: dict[str, Json]) -> Iterator[str | list[str]]:
    for content in wire.rows(value.get("contents")):
        if content.get("role") in ("user", None):
            yield wire.texts(content)
