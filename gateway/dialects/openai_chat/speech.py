"""How Chat Completions is translated to and from other dialects."""

from gateway.dialects.base import TranslationFunctions
from gateway.dialects.openai_chat.asking import decode
from gateway.dialects.openai_chat.hearing import decoder, events
from gateway.dialects.openai_chat.telling import encoder, tell
from gateway.dialects.openai_chat.wording import encode

SPEECH = TranslationFunctions(
    decode=decode, encode=encode, events=events, tell=tell, decoder=decoder, encoder=encoder
)
