"""A host sends one chunk in two data lines, with spaces inside JSON."""

from gateway.core.usage import Usage
from tests.wire.oddity import Stream

ODDITY = Stream(
    sent=(
        b'data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"m-1",\ndata:  "choices" : [ { "index" : 0 , "delta" : { "content" : "hi" } , "finish_reason" : null } ] }\n\n'
        b'data: { "model" : "m-1" , "choices" : [ { "index" : 0 , "delta" : { } , "finish_reason" : "stop" } ] , "usage" : { "prompt_tokens" : 1 , "completion_tokens" : 1 } }\n\n'
        b"data: [DONE]\n\n"
    ),
    usage=Usage(input=1, output=1),
    message={"role": "assistant", "content": "hi"},
)
