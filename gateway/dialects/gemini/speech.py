"""How Gemini is translated to and from other dialects."""

from gateway.dialects.gemini import decode, decoder, encode, encoder
from gateway.dialects.speech import Speech

SPEECH = Speech(
    decode=decode.decode,
    encode=encode.encode,
    events=decoder.events,
    tell=encoder.tell,
    decoder=decoder.Decoder,
    encoder=encoder.Encoder,
)
