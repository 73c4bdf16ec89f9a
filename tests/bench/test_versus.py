"""Two trees are put under the same load by turns, and their ratio is said."""

import shutil
from pathlib import Path

import pytest

from bench import versus
from bench.peers import Place, Tiergate

ROOT = Path(__file__).parents[2]
compiles = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")


def test_a_tree_runs_its_own_code_with_its_own_interpreter(tmp_path: Path) -> None:
    tree = versus.Tree(tmp_path, Tiergate())
    where = Place(tmp_path, 1, 2)
    assert tree.command(where)[0] == str(tmp_path / ".venv/bin/python")
    assert tree.environment(where) == Tiergate().environment(where) | {"PYTHONPATH": str(tmp_path)}


@compiles
def test_each_round_has_a_cost_of_both_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever of the two was asked first."""
    asked: list[object] = []

    def cost(running: object, *_: object) -> float:
        asked.append(running)
        return 1.0 if running is asked[0] else 2.0

    monkeypatch.setattr(versus, "cost", cost)
    found = versus.compare(ROOT, versus.LOADS["plain"], full=False, rounds=3)
    assert found == [(1.0, 2.0)] * 3
    one, two = asked[:2]
    assert asked == [one, two, two, one, one, two, two, one]


@compiles
def test_a_tree_against_itself(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(versus, "compare", lambda *a, **k: _compare(*a, **k, seconds=0.1))
    assert versus.main([str(ROOT), "rush", "--rounds", "1"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("this tree ")
    assert 0 < float(told.split("ratio ")[1].split()[0]) < 20


_compare = versus.compare
