"""What counts in Redis believes no answer that a script of its own did not give."""

import pytest

from gateway.limits.meter import Ask, Lost, Need, Over, Passed, Unseeded
from gateway.limits.shared import _encode, _told

NEED = Need(kind="usd", name="all", field="usd|total", limit=9, amount=1)
LOWER = Need(kind="usd", name="all", field="usd|fast|total", limit=9, amount=1)
ASK = Ask(id="c1", tenant="default", needs=(NEED,), expires=60.0, others=(("fast", (LOWER,)),))


def test_what_a_script_tells() -> None:
    assert _told(ASK, _encode((0, 0, 0, 1))) == Passed((NEED,))
    assert _told(ASK, _encode((0, 1, 1, 0, 1))) == Passed((), 1, (NEED,))
    assert _told(ASK, _encode((0, 2, 1, 0, 1))) == Passed()
    assert _told(ASK, _encode((1, 0, 0, 1, 2_500_000))) == Over(NEED, 2.5)
    assert _told(ASK, _encode((1, 0, 0, 1, -1))) == Over(NEED, None)
    assert _told(ASK, _encode((1, 1, 1, 0, 1, 1, -1))) == Over(LOWER, None, 1, (NEED,))
    assert _told(ASK, _encode((2, 0, 1))) == Unseeded(NEED)


@pytest.mark.parametrize(
    "reply",
    [5, None, [1], b"", b"x", b"half of it", b"\xc1", _encode("no"), _encode(()), _encode((1,)), _encode((1, 0, 0, 9, 1))],
    ids=repr,
)  # fmt: skip
def test_another_answer_is_a_loss(reply: object) -> None:
    """A proxy, another program, a value of somebody else: nothing is counted, and nothing fails."""
    with pytest.raises(Lost):
        _told(ASK, reply)  # type: ignore[arg-type]  # what may come
