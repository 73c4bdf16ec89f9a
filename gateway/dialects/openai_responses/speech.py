"""The six functions that translate openai-responses to and from other dialects."""

from gateway.dialects.base import TranslationFunctions
from gateway.dialects.openai_responses import request_decoder as decode
from gateway.dialects.openai_responses import request_encoder as encode
from gateway.dialects.openai_responses import stream_decoder as decoder
from gateway.dialects.openai_responses import stream_encoder as encoder

SPEECH = TranslationFunctions(
    decode_request=decode.decode,
    encode_request=encode.encode,
    decode_response=decoder.events,
    encode_response=encoder.tell,
    make_decoder=decoder.Decoder,
    make_encoder=encoder.Encoder,
)
