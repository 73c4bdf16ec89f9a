"""How Chat Completions is translated to and from other dialects."""

from gateway.dialects.base import TranslationFunctions
from gateway.dialects.openai_chat.hearing import decoder, events
from gateway.dialects.openai_chat.request_decoder import decode
from gateway.dialects.openai_chat.stream_encoder import encoder, tell
from gateway.dialects.openai_chat.wording import encode

SPEECH = TranslationFunctions(
    decode_request=decode,
    encode_request=encode,
    decode_response=events,
    encode_response=tell,
    make_decoder=decoder,
    make_encoder=encoder,
)
