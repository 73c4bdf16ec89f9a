"""All fuzz targets, by name."""

from tests.fuzz.target import FuzzTarget
from tests.fuzz.targets import (
    configuration,
    dialects,
    framing,
    headers,
    http,
    journal,
    json_text,
    websocket,
)

_MODULES = (http, headers, framing, json_text, dialects, websocket, journal, configuration)

TARGETS: dict[str, FuzzTarget] = {
    target.name: target for module in _MODULES for target in module.TARGETS
}
