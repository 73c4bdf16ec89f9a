"""What a replica has of a budget when it takes the place of Redis."""

from dataclasses import dataclass
from typing import Any

import msgspec
import redis

from gateway.state.redis.scripts import make_keys

COUNTER = "usd|b|all|total"
"""The counter of the budget."""


class HoldEntry(msgspec.Struct, array_like=True):
    """A part of a reservation, of one counter."""

    kind: int
    field: str
    amount: int


class Hold(msgspec.Struct, array_like=True):
    """A reservation, as scripts pack it."""

    answer: msgspec.Raw
    entries: list[HoldEntry]


@dataclass
class ReplicaState:
    """Micro-USD of the budget in a replica."""

    counted: int
    charged: int
    """What was charged while the counter could not begin."""
    reserved: dict[str, int]
    """What calls and leases have reserved, by id, also if that has expired."""

    @classmethod
    def read(cls, admin: redis.Redis, tenant: str) -> "ReplicaState":
        """Return what a server has of a tenant's budget."""
        spent, _, _, holds, _, told, _ = make_keys(tenant)

        def read_number(key: bytes, field: str) -> int:
            value: Any = admin.hget(key, field)
            return int(value or 0)

        packed_holds: Any = admin.hgetall(holds)
        return cls(
            max(read_number(spent, COUNTER), read_number(told, f"={COUNTER}")),
            read_number(told, f"+{COUNTER}"),
            {
                id.decode(): sum(
                    entry.amount for entry in msgspec.msgpack.decode(packed, type=Hold).entries
                )
                for id, packed in packed_holds.items()
            },
        )
