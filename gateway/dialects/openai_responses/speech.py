"""The six functions that translate openai-responses to and from other dialects."""

from gateway.dialects.base import TranslationFunctions
from gateway.dialects.openai_responses import decode, decoder, encode, encoder

SPEECH = TranslationFunctions(
    decode=decode.decode,
    encode=encode.encode,
    events=decoder.events,
    tell=encoder.tell,
    decoder=decoder.Decoder,
    encoder=encoder.Encoder,
)
