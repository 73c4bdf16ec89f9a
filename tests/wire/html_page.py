"""A proxy sends an error page with status 200."""

from tests.wire.oddity import Whole

ODDITY = Whole(
    sent=b"<!DOCTYPE html><html><body><h1>Just a moment</h1></body></html>",
    problem="upstream_error",
    finish=None,
    served=None,
)
