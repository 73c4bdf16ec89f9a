"""How Messages is translated to and from other dialects."""

from gateway.dialects.anthropic_messages import (
    request_decoder,
    request_encoder,
    stream_decoder,
    stream_encoder,
)
from gateway.dialects.base import TranslationFunctions

SPEECH = TranslationFunctions(
    decode_request=request_decoder.decode,
    encode_request=request_encoder.encode,
    decode_response=stream_decoder.events,
    encode_response=stream_encoder.tell,
    make_decoder=stream_decoder.decoder,
    make_encoder=stream_encoder.encoder,
)
