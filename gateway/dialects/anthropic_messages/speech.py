"""How Messages is translated to and from other dialects."""

from gateway.dialects.anthropic_messages import asked, asking, hearing, telling
from gateway.dialects.base import TranslationFunctions

SPEECH = TranslationFunctions(
    decode=asked.decode,
    encode=asking.encode,
    events=hearing.events,
    tell=telling.tell,
    decoder=hearing.decoder,
    encoder=telling.encoder,
)
