"""Requests that are the same for all calls of one kind, but for a few numbers, made once for all.

What a script is told of a call is its id, when it is, how long it runs and how much it takes: a
tenth of the request. The rest is written once, and again where the configuration, the window of a
budget or the length of ids is another.
"""

from struct import Struct

import msgspec

from gateway.limits.counters import CounterDemand, DemandTemplate, Owner
from gateway.state.redis.scripts import ScriptHead

_NUMBER = b"\xd3"
"""What stands before a whole number of eight bytes."""
_FIELDS = CounterDemand.__struct_fields__
_encode = msgspec.msgpack.Encoder().encode


class AdmitTemplate:
    """A request that takes what a form needs, as `meter.lua` reads it.

    Numbers of a call's own are written at full length, so that everything has its place.
    """

    __slots__ = ("_pack", "_pieces", "head", "owner", "size")

    def __init__(
        self, form: DemandTemplate, owner: Owner, head: ScriptHead, keep: int, size: int
    ) -> None:
        """Take what an owner counts of calls with ids of `size` bytes.

        `head` is what the request begins with, `keep` how long an ended hold is kept.
        """
        self.owner, self.head, self.size = owner, head, size
        # What stands before the id, the time, the life, and each amount; then the rest.
        plain = [_begin(8) + _encode("-" * size)[: -size or None], _NUMBER, _NUMBER]
        piece = _encode(0) + _encode(keep) + _begin(len(form.needs))
        for at, need in enumerate(form.needs):
            piece += _begin(len(_FIELDS))
            for name, value in zip(_FIELDS, msgspec.structs.astuple(need), strict=True):
                if name == "amount" and at in form.varies:
                    plain.append(piece + _NUMBER)
                    piece = b""
                else:
                    piece += _encode(value)
        plain.append(piece + 2 * _begin(0))
        numbers = len(plain) - 2
        length = size + 8 * numbers + sum(map(len, plain))
        plain[0] = b"%b$%d\r\n%b" % (head.start, length, plain[0])
        plain[-1] += b"\r\n"
        marks = zip(plain, [f"{size}s", *["q"] * numbers, ""], strict=True)
        self._pack = Struct(">" + "".join([f"{len(one)}s{mark}" for one, mark in marks])).pack
        self._pieces = [one for part in plain for one in (part, 0)][:-1]

    def cast(self, id: bytes, told: int, life: int, amounts: tuple[int, ...]) -> bytes:
        """The request of a call. Raises struct.error where an amount is larger than any number."""
        pieces: list[bytes | int] = self._pieces.copy()
        pieces[1::2] = (id, told, life, *amounts)
        return self._pack(*pieces)


def _begin(length: int) -> bytes:
    """How an array of so many begins."""
    return _encode([None] * length)[: -length or None]
