"""A stream ends with [DONE] but without a finish: it may be cut, and an SDK would not notice."""

from tests.wire.oddity import Stream

_HEAD = b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m-1","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n'
_SAID = b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m-1","choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":null}]}\n\n'

ODDITY = Stream(
    sent=_HEAD + _SAID + b"data: [DONE]\n\n",
    held=_HEAD,
    shown=_HEAD + _SAID,
    shown_with_usage=_HEAD + _SAID,
    finish=None,
    complete=False,
)
