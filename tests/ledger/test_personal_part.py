"""The personal part of a line can be erased, and the chain still notices all else."""

import random
import re
from decimal import Decimal
from pathlib import Path

import pytest

from gateway.core.conversation import ConversationTurn
from gateway.core.decision_context import DecisionContext, Session
from gateway.core.decision_record import DecisionRecord, RecordedScope
from gateway.core.ledger_rows import FinalRow
from gateway.ledger import personal_part
from gateway.ledger.chain import NO_LINK, is_intact, seal_lines
from gateway.ledger.journal import decode_row, encode_row
from gateway.ledger.personal_part import erase_basis, erase_line
from gateway.ledger.verify import verify_segment
from tests.ledger.rows import entry, intent, sealed

USER = "3f9a0c1d2e4b5a67"
BASIS = DecisionRecord(
    turn=ConversationTurn(conversation="c" * 16, first="f" * 8, client='a "first":"b" }'),
    scope=RecordedScope(lab="acme"),
    outcomes={"first": True},
    evidence=DecisionContext(seat=Session(lab="a", tier="fast", target="a/b", first="f" * 8)),
)
ROW = entry(
    "a",
    end_user=USER,
    conversation="c" * 16,
    upstream_id="req-1",
    response_id='r"x\\',
    asked='"end_user":"0000000000000000"',
    tags=('"first":"x"',),
    basis=BASIS,
)
KEPT = dict.fromkeys(("end_user", "conversation", "upstream_id", "response_id"))
SECRETS = (USER.encode(), b"c" * 16, b"f" * 8, b"req-1", b'r\\"x')


def test_an_erased_line_keeps_its_length_seal_and_all_that_is_not_personal() -> None:
    line = sealed(ROW)[:-1]
    assert decode_row(line) == ROW
    assert all(secret in line for secret in SECRETS)
    erased = erase_line(line)
    assert len(erased) == len(line)
    assert erased != line
    assert is_intact(erased)
    assert not any(secret in erased for secret in SECRETS)
    assert b'"salt":' not in erased
    assert re.search(rb' +,"kept":"[0-9a-f]{8}","seq":1,', erased)
    row = decode_row(erased)
    assert isinstance(row, FinalRow)
    assert row.basis == erase_basis(BASIS)
    changed = {name: getattr(ROW, name) for name in ROW.__struct_fields__} | KEPT
    assert row == FinalRow(**changed | {"basis": erase_basis(BASIS)})
    assert erase_line(erased) == erased


def test_a_line_that_has_its_checksum_at_once_as_earlier_versions_wrote_it_is_erased() -> None:
    row = (
        b'{"kind":"intent","id":"a","end_user":"3f9a0c1d2e4b5a67","tags":["x"],"salt":"'
        b'00112233445566ff","kept":"8d620586"}'
    )
    line = seal_lines([row + b"\n"], NO_LINK)[0][:-1]
    erased = erase_line(line)
    assert len(erased) == len(line)
    assert is_intact(erased)
    assert USER.encode() not in erased
    assert b"00112233445566ff" not in erased
    assert erase_line(erased) == erased
    assert not is_intact(erased.replace(b'["x"]', b'["y"]'))


def test_a_basis_keeps_what_is_not_personal() -> None:
    erased = erase_basis(BASIS)
    assert erased is not None
    assert erased.turn is not None
    assert erased.evidence is not None
    assert erased.evidence.seat is not None
    assert (erased.turn.conversation, erased.turn.first) == ("", "")
    assert erased.evidence.seat.first == ""
    assert (erased.turn.client, erased.scope) == (BASIS.turn and BASIS.turn.client, BASIS.scope)
    assert erase_basis(None) is None
    assert erase_basis(DecisionRecord()) == DecisionRecord()


def test_the_strategy_of_a_key_is_no_conversation() -> None:
    basis = DecisionRecord(scope=RecordedScope(conversation="pin"))
    line = sealed(entry("a", end_user=USER, conversation=None, basis=basis))[:-1]
    erased = erase_line(line)
    assert is_intact(erased)
    row = decode_row(erased)
    assert isinstance(row, FinalRow)
    assert row.basis == basis


def test_a_value_shorter_than_null_becomes_empty() -> None:
    erased = erase_line(sealed(entry("a", end_user=USER, upstream_id="a"))[:-1])
    assert b'"upstream_id":"" ,' in erased
    assert is_intact(erased)


def test_only_rows_with_an_end_user_have_a_salt() -> None:
    assert b'"salt"' not in sealed(entry("a", conversation="c"), intent("a"))
    first, second = sealed(*[intent("a", end_user=USER)] * 2).splitlines()
    salts = {re.findall(rb'"salt":"([0-9a-f]{16})"', line)[0] for line in (first, second)}
    assert len(salts) == 2


def test_each_changed_bit_of_erased_lines_is_noticed(tmp_path: Path) -> None:
    lines = sealed(intent("a", end_user=USER), ROW, entry("b"), ROW).splitlines()
    data = b"".join([*(erase_line(line) + b"\n" for line in lines), sealed_end(lines)])
    path, chance = tmp_path / "a.sealed.jsonl", random.Random(29)
    path.write_bytes(data)
    report = verify_segment(path)
    assert (report.rows, report.damages, report.debris) == (5, [], 0)
    for _ in range(1_000):
        place, bit = chance.randrange(len(data)), chance.randrange(8)
        changed = bytearray(data)
        changed[place] ^= 1 << bit
        path.write_bytes(changed)
        report = verify_segment(path)
        assert report.damages or report.debris or report.torn, (place, bit)


def sealed_end(lines: list[bytes]) -> bytes:
    last = int(lines[-1][-10:-2], 16)
    return sealed(entry("end"), link=(len(lines), last))


@pytest.mark.parametrize(
    ("part", "changed_part"),
    [
        (b'"cost":"0.0000126"', b'"cost":"9.0000126"'),
        (b'"end_user":null', b'"end_user":"x" '),
        (b'"kept":"', b'"kepT":"'),
    ],
)
def test_a_changed_erased_line_is_not_intact(part: bytes, changed_part: bytes) -> None:
    erased = erase_line(sealed(ROW)[:-1])
    assert is_intact(erased)
    assert part in erased
    assert not is_intact(erased.replace(part, changed_part))


def test_a_line_without_a_seal_is_erased_in_place() -> None:
    line = encode_row(ROW)[:-1]
    erased = erase_line(line)
    assert len(erased) == len(line)
    row = decode_row(erased)
    assert isinstance(row, FinalRow)
    assert (row.end_user, row.conversation, row.cost) == (None, None, Decimal("0.0000126"))


def test_a_line_belongs_to_one_user() -> None:
    line = sealed(ROW)
    assert personal_part.belongs_to(line, USER)
    assert not personal_part.belongs_to(line, "0" * 16)
