"""How Messages is translated to and from other dialects."""

from gateway.dialects.anthropic_messages import asked, asking, hearing, telling
from gateway.dialects.base import TranslationFunctions

SPEECH = TranslationFunctions(
    decode_request=asked.decode,
    encode_request=asking.encode,
    decode_response=hearing.events,
    encode_response=telling.tell,
    make_decoder=hearing.decoder,
    make_encoder=telling.encoder,
)
