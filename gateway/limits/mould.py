"""Requests that are the same for all calls of one kind, but for a few numbers, made once for all.

What a script is told of a call is its id, when it is, how long it runs and how much it takes: a
tenth of the request. The rest is written once, and again where the configuration, the window of a
budget or the length of ids is another.

A second way beside `RedisCounters.admit`, for speed: by `bench.limits` in Redis, admission and
settlement take 28 us with it and 45 us without it, where 30 us are the bound.
tests/limits/test_mould.py compares its requests with the general encoding.
"""

from struct import Struct

import msgspec

from gateway.limits.counters import CounterDemand, DemandTemplate, Owner
from gateway.state.redis.scripts import ScriptHead

_INT64_MARKER = b"\xd3"
"""What stands before a whole number of eight bytes."""
_DEMAND_FIELDS = CounterDemand.__struct_fields__
_encode = msgspec.msgpack.Encoder().encode


class AdmitTemplate:
    """A request that takes what a form needs, as `meter.lua` reads it.

    Numbers of a call's own are written at full length, so that everything has its place.
    """

    __slots__ = ("_pack", "_parts", "id_length", "owner", "script_head")

    def __init__(
        self,
        template: DemandTemplate,
        owner: Owner,
        script_head: ScriptHead,
        ttl_micros: int,
        id_length: int,
    ) -> None:
        """Take what an owner counts of calls with ids of `id_length` bytes.

        `script_head` is what the request begins with, `ttl_micros` how long an ended hold is kept.
        """
        self.owner, self.script_head, self.id_length = owner, script_head, id_length
        # What stands before the id, the time, the life, and each amount; then the rest.
        literals = [
            _encode_array_header(8) + _encode("-" * id_length)[: -id_length or None],
            _INT64_MARKER,
            _INT64_MARKER,
        ]
        literal = _encode(0) + _encode(ttl_micros) + _encode_array_header(len(template.demands))
        for index, demand in enumerate(template.demands):
            literal += _encode_array_header(len(_DEMAND_FIELDS))
            for name, value in zip(_DEMAND_FIELDS, msgspec.structs.astuple(demand), strict=True):
                if name == "amount" and index in template.variable_indexes:
                    literals.append(literal + _INT64_MARKER)
                    literal = b""
                else:
                    literal += _encode(value)
        literals.append(literal + 2 * _encode_array_header(0))
        number_count = len(literals) - 2
        length = id_length + 8 * number_count + sum(map(len, literals))
        literals[0] = b"%b$%d\r\n%b" % (script_head.prefix, length, literals[0])
        literals[-1] += b"\r\n"
        fields = zip(literals, [f"{id_length}s", *["q"] * number_count, ""], strict=True)
        self._pack = Struct(">" + "".join([f"{len(item)}s{code}" for item, code in fields])).pack
        self._parts = [item for chunk in literals for item in (chunk, 0)][:-1]

    def render(
        self, id: bytes, now_micros: int, lifetime_micros: int, amounts: tuple[int, ...]
    ) -> bytes:
        """The request of a call. Raises struct.error where an amount is larger than any number."""
        parts: list[bytes | int] = self._parts.copy()
        parts[1::2] = (id, now_micros, lifetime_micros, *amounts)
        return self._pack(*parts)


def _encode_array_header(length: int) -> bytes:
    """How an array of so many begins."""
    return _encode([None] * length)[: -length or None]
