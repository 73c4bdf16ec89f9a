"""Ids of tool calls that another dialect would refuse, always the same one for the same id."""

import hashlib
import re

_PLAIN_ID_PATTERN = re.compile(r"[A-Za-z0-9_-]{1,64}")


def make_plain_id(id: str, prefix: str = "call_") -> str:
    """An id of letters, digits, "_" and "-", 64 at most: as it is where it is one, else a hash.

    Source: `^[a-zA-Z0-9_-]+$` of Anthropic's API reference, and the 64 characters of OpenAI's.
    """
    if _PLAIN_ID_PATTERN.fullmatch(id):
        return id
    return prefix + hashlib.blake2b(id.encode("utf-8", "replace"), digest_size=12).hexdigest()


def make_short_id(id: str) -> str:
    """An id of nine letters and digits, as Mistral wants them."""
    if len(id) == 9 and id.isalnum() and id.isascii():
        return id
    return hashlib.blake2b(id.encode("utf-8", "replace"), digest_size=5).hexdigest()[:9]
