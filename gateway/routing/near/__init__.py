"""Whether two texts ask the same: what must be equal for one's answer to serve the other."""

from gateway.routing.near.reading import Form, reading

__all__ = ["Form", "reading"]
