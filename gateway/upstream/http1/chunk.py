"""One chunk of the chunked coding, as nearly all who write a frame at a time send it.

Its size stands before it in the fewest digits, in lower case, without an extension: so does uvicorn
write it too. Source: RFC 9112, 7.1.
"""

_MOST = 4096
"""Bytes of a chunk that is looked at: longer ones cost their parser little beside the rest."""
_HEADS: dict[int, bytes] = {}
"""By the length of a whole chunk: what it begins with."""


def inside(data: bytes) -> bytes | None:
    """What one such chunk holds; None where the bytes are not one, all of it and nothing else."""
    size = len(data)
    if size > _MOST:
        return None
    head = _HEADS.get(size) or _head(size)
    if data.startswith(head) and data.endswith(b"\r\n"):
        return data[len(head) : -2]
    return None


def _head(size: int) -> bytes:
    """How a chunk of a length begins; more than there is where none has that length."""
    digits = 1
    while 16**digits <= size - digits - 4:
        digits += 1
    held = size - digits - 4
    right = held > 0 and held >= 16 ** (digits - 1)
    head = b"%x\r\n" % held if right else b"-" * (size + 1)
    _HEADS[size] = head
    return head
