"""Tokens that are not text in the details of OpenAI's usage objects, read and written.

Chat Completions and Responses share these members (`audio_tokens`). OpenRouter and others add those
of images and video. `cached_tokens_details` is the member of OpenAI's Realtime API.
"""

from collections.abc import Mapping

from gateway.core.jsonio import Json
from gateway.core.usage import MODALITIES, Usage, count_cached_media

MEDIA_MEMBERS = tuple((f"{modality}_tokens", modality) for modality in MODALITIES)
_CACHED_DETAILS = "cached_tokens_details"


def add_cached_media(
    media: dict[str, int], prompt_details: Mapping[str, Json], cache_read: int | None
) -> dict[str, int]:
    """Return the media of a usage together with the media that the provider read from its cache."""
    if not media or not cache_read:
        return media
    cached_details = prompt_details.get(_CACHED_DETAILS)
    members = cached_details.items() if isinstance(cached_details, dict) else ()
    counts = [(name.removesuffix("_tokens"), value) for name, value in members]
    return media | count_cached_media(media, counts, cache_read)


def write_media_details(direction: str, usage: Usage) -> dict[str, Json]:
    """Write the tokens of one direction that are not text, those from the cache apart."""
    details: dict[str, Json] = {
        name: usage.media[f"{direction}_{modality}"]
        for name, modality in MEDIA_MEMBERS
        if f"{direction}_{modality}" in usage.media
    }
    cached = {
        name: usage.media[f"cache_read_{modality}"]
        for name, modality in MEDIA_MEMBERS
        if direction == "input" and f"cache_read_{modality}" in usage.media
    }
    if cached:
        text_tokens = (usage.cache_read or 0) - sum(cached.values())
        details[_CACHED_DETAILS] = {"text_tokens": text_tokens, **cached}
    return details
