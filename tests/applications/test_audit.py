"""The audit of mixes finds each lie about one good call."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import orjson
import pytest

from tests.applications.audit import AuditedCall, _fresh, _judge
from tests.applications.process import Row
from tests.applications.provider.faults import Fault
from tests.applications.provider.provider import Charge
from tests.clients.model_turns import Tokens
from tests.e2e.recording_proxy import Exchange
from tests.e2e.upstream import Request

REQUEST = Request(
    b"POST /v1/chat/completions HTTP/1.1",
    [(b"authorization", b"Bearer x")],
    orjson.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi (ref chat1.1)"}]}),
)  # fmt: skip
HEADERS = {"content-type": "application/json", "x-tiergate-cache": "off", "x-tiergate-cost": "0.5"}
EXCHANGE = Exchange(REQUEST, 200, HEADERS, b'{"choices":["tok-00001"]}')
CHARGE = Charge(
    1, 0.0, "openai", "generate", "openai-chat", "/openai/v1/chat/completions", "gpt-4o", "chat1.1", False, REQUEST,
    token="tok-00001", tokens=Tokens(10, 7, read=4, write=2, reasoning=3), usd=Decimal("0.5"),
)  # fmt: skip
ROW: Row = {
    "id": "1", "state": "settled", "aborted_by": None, "provider": "openai", "model": "gpt-4o", "usage": "provider",
    "cost": "0.5", "estimate": "0", "input": 10, "cache_read": 4, "cache_write": 2, "output": 4, "reasoning": 3,
}  # fmt: skip
CUT = replace(EXCHANGE, whole=False)


def judged(exchange: Exchange = EXCHANGE, charge: Charge = CHARGE, **row: Any) -> list[str]:
    return list(_judge(AuditedCall(exchange, {**ROW, **row}, charge), {"chat1.2"}))


def test_a_good_call_is_good() -> None:
    assert judged() == []


@pytest.mark.parametrize(
    ("row", "wrong"),
    [
        ({"state": "failed"}, "a whole answer is told as failed"),
        ({"state": "cache_hit"}, "cache_hit with x-tiergate-cache: off"),
        ({"aborted_by": "upstream"}, "what the provider cut looks whole"),
        ({"provider": "anthropic"}, "the row names anthropic/gpt-4o, the provider openai/gpt-4o"),
        ({"model": "gpt-6-sol"}, "the row names openai/gpt-6-sol, the provider openai/gpt-4o"),
        ({"usage": "estimate"}, "the provider told its usage, the row has estimate"),
        ({"cost": "0.51"}, "cost 0.51, billed 0.5 for "),
        ({"cost": None}, "cost None, billed 0.5 for "),
        ({"cache_read": None}, "the row has {'input': 10, 'cache_read': 0, 'cache_write': 2}"),
        ({"output": 5}, "the row has 5 + 3 of output"),
    ],
)
def test_a_row_that_is_wrong(row: dict[str, Any], wrong: str) -> None:
    assert any(what.startswith(wrong) for what in judged(**row)), judged(**row)


@pytest.mark.parametrize(
    ("exchange", "charge", "wrong"),
    [
        (replace(EXCHANGE, headers={**HEADERS, "x-tiergate-cost": "0.4"}), CHARGE, "x-tiergate-cost 0.4, cost 0.5"),
        (EXCHANGE, replace(CHARGE, ref="chat1.2"), "the answer of chat1.2"),
        (EXCHANGE, replace(CHARGE, model="gpt-6-sol"), "answered by openai/gpt-6-sol"),
        (CUT, CHARGE, "200 that did not end is told as settled"),
        (replace(EXCHANGE, headers={"content-type": "text/event-stream"}), CHARGE, "200 that did not end is told as settled"),
    ],
)  # fmt: skip
def test_an_answer_that_is_wrong(exchange: Exchange, charge: Charge, wrong: str) -> None:
    assert wrong in judged(exchange, charge)


@pytest.mark.parametrize(
    ("row", "fault", "wrong"),
    [
        ({"aborted_by": "upstream", "cost": "0.3", "estimate": "0.1"}, Fault.CUT, []),
        ({"aborted_by": "client", "cost": "0.5"}, Fault.CUT, ["aborted by client, not upstream"]),
        ({"aborted_by": "upstream", "cost": None}, Fault.CUT, ["an answer that broke off has no cost"]),
        ({"aborted_by": "upstream", "cost": "0.3"}, Fault.CUT, ["cost 0.3, which no estimate explains; billed 0.5"]),
    ],
)  # fmt: skip
def test_what_broke_off(row: dict[str, Any], fault: Fault, wrong: list[str]) -> None:
    assert judged(CUT, replace(CHARGE, fault=fault), state="aborted", **row) == wrong


def test_an_answer_is_given_once() -> None:
    """An answer may come again only if the gateway says so, and never for another key."""
    call = AuditedCall(EXCHANGE, ROW, CHARGE)
    hit = replace(EXCHANGE, headers={**HEADERS, "x-tiergate-cache": "hit"})
    other = Request(b"POST / HTTP/1.1", [(b"authorization", b"Bearer y")], REQUEST.body)
    assert list(_fresh([call, AuditedCall(hit, ROW, CHARGE)])) == []
    assert list(_fresh([call, call])) == []
    assert list(_fresh([call, AuditedCall(EXCHANGE, ROW, CHARGE)])) == ["chat1.1 got the answer of chat1.1 again"]  # fmt: skip
    assert list(_fresh([call, AuditedCall(replace(hit, request=other), ROW, CHARGE)])) == ["chat1.1 got the answer of another key"]  # fmt: skip
