"""Losses are named in a header that every client can read."""

from gateway.core.loss import Loss, format_dropped_header


def test_the_dropped_header_names_each_loss_once_in_order() -> None:
    assert format_dropped_header((*losses("seed", "top_k"), *losses("seed"))) == "seed, top_k"
    assert format_dropped_header(()) == ""


def test_the_dropped_header_stays_short_for_any_number_and_length_of_names() -> None:
    """HTTP clients give up on a header of 64 kB, and lose an answer that was paid for."""
    many = losses(*(f"m{at}{'x' * 200}" for at in range(2000)))
    names = format_dropped_header(many).split(", ")
    assert names[0] == f"m0{'x' * 62}..."
    assert (len(names), names[-1]) == (33, "1968 more")
    assert format_dropped_header(losses(*(f"m{at}" for at in range(32)))).endswith("m30, m31")


def losses(*fields: str) -> tuple[Loss, ...]:
    return tuple(Loss(field, "dropped", "no such member") for field in fields)
