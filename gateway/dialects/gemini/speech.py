"""How Gemini is translated to and from other dialects."""

from gateway.dialects.base import TranslationFunctions
from gateway.dialects.gemini import decode, decoder, encode, encoder

SPEECH = TranslationFunctions(
    decode=decode.decode,
    encode=encode.encode,
    events=decoder.events,
    tell=encoder.tell,
    decoder=decoder.Decoder,
    encoder=encoder.Encoder,
)
