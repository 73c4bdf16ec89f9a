"""A request that is made once for all calls of a kind says what one made for each would say."""

import struct

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.limits.counters import CounterDemand, DemandTemplate
from gateway.limits.mould import AdmitTemplate
from gateway.state.redis.scripts import Script, make_head

SCRIPT = Script("meter")
KEEP = 172_800_000_000
TEXTS = st.text(max_size=40)
NUMBERS = st.integers(-(2**53), 2**53)
NEEDS = st.builds(
    CounterDemand,
    kind=st.sampled_from(["requests", "tokens", "concurrency", "usd", "share"]),
    name=TEXTS,
    field=TEXTS,
    limit=NUMBERS,
    amount=NUMBERS,
    period=st.sampled_from([0.0, 1.0, 60.0, 86_400.0]),
    total_field=TEXTS,
    needs_seed=st.booleans(),
    soft=st.none() | NUMBERS,
    then=st.none() | st.sampled_from(["fast", "smart", "reasoning"]),
    all_tenants=st.booleans(),
)
FORMS = st.lists(st.tuples(NEEDS, st.booleans()), max_size=20)


@given(FORMS, st.text(max_size=300), NUMBERS, NUMBERS, st.data())
def test_it_says_what_a_request_of_one_call_says(
    needs: list[tuple[CounterDemand, bool]], id: str, told: int, life: int, data: st.DataObject
) -> None:
    form = DemandTemplate(
        tuple([need for need, _ in needs]), tuple([at for at, (_, one) in enumerate(needs) if one])
    )
    amounts = tuple([data.draw(st.integers(-(2**63), 2**63 - 1)) for _ in form.variable_indexes])
    made = make_head(SCRIPT, "acme")
    mould = AdmitTemplate(form, "acme", made, KEEP, len(id.encode()))
    for _ in range(2):
        request = mould.render(id.encode(), told, life, amounts)
        assert request.startswith(made.prefix + b"$")
        size, _, argument = request[len(made.prefix) + 1 :].partition(b"\r\n")
        assert (argument[int(size) :], len(argument)) == (b"\r\n", int(size) + 2)
        asked = (id, told, life, 0, KEEP, form.fill(amounts), (), ())
        one = msgspec.msgpack.decode(argument[:-2])
        assert one == msgspec.msgpack.decode(msgspec.msgpack.encode(asked))


def test_what_is_more_than_any_number_is_refused() -> None:
    need = CounterDemand(kind="usd", name="x", field="usd|x|all|total", limit=1)
    mould = AdmitTemplate(DemandTemplate((need,), (0,)), "acme", make_head(SCRIPT, "acme"), KEEP, 2)
    with pytest.raises(struct.error):
        mould.render(b"c1", 0, 1, (2**63,))
