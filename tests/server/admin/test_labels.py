"""Test how admins compare pairs of answers, and what of it is kept."""

from pathlib import Path

import pytest

from gateway.core.target import Tier
from gateway.ledger.label_pairs import LabelPair, LabelPairs, ShownAnswer
from gateway.state.audit import AuditQuery
from tests.e2e.world import Make, World
from tests.server.admin.test_costs import get
from tests.server.admin.test_rights import browse, use_sign_in

PATH = "/admin/labels"
PLAN = "our secret plan"


def pair(name: str, first: Tier, second: Tier) -> LabelPair:
    return LabelPair(
        id=name,
        request=PLAN,
        first=ShownAnswer(tier=first, text=f"first of {name[0]}"),
        second=ShownAnswer(tier=second, text=f"second of {name[0]}"),
        label={"members": {"digest": name[0]}, "answers": {"fast": {"target": "acme/swift-1"}}},
    )


def fill(world: World) -> LabelPairs:
    pairs = LabelPairs(world.gateway.data)
    pairs.add_pairs([pair("a-fast", "fast", "smart"), pair("b-fast", "smart", "fast")])
    return pairs


def test_pairs_come_one_by_one_and_nothing_tells_their_tiers(world: World) -> None:
    assert get(world, PATH).json() == {"pairs": 0, "waiting": 0, "pair": None}
    pairs = fill(world)
    shown = get(world, PATH).json()
    assert shown == {
        "pairs": 2,
        "waiting": 2,
        "pair": {"id": "a-fast", "request": PLAN, "A": "first of a", "B": "second of a"},
    }
    assert "swift-1" not in get(world, PATH).text
    answer = world.client.post(f"{PATH}/a-fast", json={"better": "B"})
    assert (answer.status_code, answer.json()) == (200, {"id": "a-fast", "better": "B"})
    assert get(world, PATH).json()["pair"]["id"] == "b-fast"
    world.client.post(f"{PATH}/b-fast", json={"better": "skip"})
    world.client.post(f"{PATH}/a-fast", json={"better": "same"})
    assert get(world, PATH).json() == {"pairs": 2, "waiting": 0, "pair": None}
    verdicts = pairs.read_verdicts()
    assert {name: (item.better, item.who) for name, item in verdicts.items()} == {
        "a-fast": ("same", "local"), "b-fast": ("skip", "local"),
    }  # fmt: skip
    acts = [*world.gateway.audit.iter_rows(AuditQuery(act="label.compare"), 9)]
    assert [(row.subject, row.after) for row in acts] == [
        ("a-fast", {"better": "same"}), ("b-fast", {"better": "skip"}), ("a-fast", {"better": "B"}),
    ]  # fmt: skip
    assert PLAN not in repr(acts)


def test_what_is_no_verdict_is_refused(world: World) -> None:
    fill(world)
    unknown = world.client.post(f"{PATH}/c-fast", json={"better": "A"})
    assert unknown.status_code == 404
    assert "There is no such pair" in unknown.json()["error"]["message"]
    for body in {"better": "C"}, {}, {"better": "A", "tier": "fast"}:
        refused = world.client.post(f"{PATH}/a-fast", json=body)
        assert refused.status_code == 400
        assert "one of A, B, same and skip" in refused.json()["error"]["message"]
    large = world.client.post(f"{PATH}/a-fast", content=b" " * 5_000)
    assert large.status_code == 413
    assert get(world, PATH).json()["waiting"] == 2


def test_files_that_cannot_be_read_are_named(world: World) -> None:
    folder = fill(world).folder
    (folder / "pairs.jsonl").unlink()
    (folder / "pairs.jsonl").mkdir()
    refused = world.client.get(PATH)
    assert refused.status_code == 503
    assert "cannot read or write the pairs" in refused.json()["error"]["message"]
    (folder / "pairs.jsonl").rmdir()


@pytest.mark.parametrize("role", ["viewer", "operator", "admin"])
def test_only_admins_of_all_teams_see_texts_of_users(make: Make, role: str) -> None:
    """An attack: who may see costs, or one team alone, asks for what users wrote."""
    world: World = make(use_sign_in)
    fill(world)
    with browse(world, role) as browser:  # type: ignore[arg-type]
        answers = browser.get(PATH), browser.post(f"{PATH}/a-fast", json={"better": "A"})
        expected = 200 if role == "admin" else 403
        assert [answer.status_code for answer in answers] == [expected, expected]
        assert (PLAN in answers[0].text) == (role == "admin")
    with browse(world, role, "search") as browser:  # type: ignore[arg-type]
        answer = browser.get(PATH)
        assert answer.status_code == 403
        assert PLAN not in answer.text


def test_half_a_line_and_foreign_lines_are_left_out(tmp_path: Path) -> None:
    pairs = LabelPairs(tmp_path)
    assert pairs.read_pairs() == []
    pairs.add_pairs([pair("a-fast", "fast", "smart")])
    file = pairs.folder / "pairs.jsonl"
    with file.open("ab") as out:
        out.write(b'{"id": 1}\n{"id": "half')
    assert [item.id for item in pairs.read_pairs()] == ["a-fast"]
    assert file.stat().st_mode & 0o077 == 0
    assert pairs.folder.stat().st_mode & 0o077 == 0
    pairs.remove({"a-fast"})
    assert file.read_bytes() == b""
    assert not (pairs.folder / "pairs.jsonl.new").exists()
