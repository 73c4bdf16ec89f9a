"""Losses are named in a header that every client can read."""

from gateway.core.loss import Loss, format_dropped_header


def test_names_stand_once_in_their_order() -> None:
    assert format_dropped_header((*lost("seed", "top_k"), *lost("seed"))) == "seed, top_k"


def test_a_header_is_short_whatever_a_client_made_up() -> None:
    """HTTP clients give up on a header of 64 kB, and lose an answer that was paid for."""
    many = lost(*(f"m{at}{'x' * 200}" for at in range(2000)))
    told = format_dropped_header(many).split(", ")
    assert told[0] == f"m0{'x' * 62}..."
    assert (len(told), told[-1]) == (33, "1968 more")
    assert format_dropped_header(lost(*(f"m{at}" for at in range(32)))).endswith("m30, m31")


def lost(*fields: str) -> tuple[Loss, ...]:
    return tuple(Loss(field, "dropped", "no such member") for field in fields)
