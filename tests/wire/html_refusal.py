"""A proxy refuses with a page, which no SDK can read."""

from tests.wire.oddity import Refusal

ODDITY = Refusal(
    status=413,
    sent=b"<html>\r\n<head><title>413 Request Entity Too Large</title></head></html>",
    problem="upstream_rejected",
    shown=413,
)
