"""DashScope answers 200 and begins the stream with an error that is the request's own fault."""

from tests.wire.oddity import Stream

ODDITY = Stream(
    sent=(
        b'data: {"error":{"code":"invalid_parameter_error","param":null,"message":"The image cannot be read","type":"invalid_request_error"},"id":"chatcmpl-1"}\n\n'
    ),
    shown=b"",
    shown_with_usage=b"",
    finish=None,
    served=None,
    complete=False,
    problem="upstream_rejected",
)
