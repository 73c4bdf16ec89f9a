"""The bench loads two trees by turns, and prints their ratio and the noise."""

import shutil
from contextlib import ExitStack
from pathlib import Path

import pytest

from bench import peers, versus
from bench.versus import Comparison

ROOT = Path(__file__).parents[2]
compiles = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")


@compiles
def test_each_start_has_a_cost_of_both_trees_in_each_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """Costs go to the right tree, whichever starts or comes first; the warm-up does not count."""
    asked: list[object] = []
    began: list[Path] = []
    set_up = peers.set_up

    def cost(running: object, *_: object) -> float:
        """Return 1 for this tree and 2 for the other, in the order that the test asserts below."""
        asked.append(running)
        return 1.0 if (len(asked) - 1) % 8 in {0, 3, 5, 6} else 2.0

    def note_tree(name: str, ends: ExitStack, tree: Path) -> peers.Tiergate:
        began.append(tree)
        return set_up(name, ends, ROOT)

    monkeypatch.setattr(versus, "cost", cost)
    monkeypatch.setattr(peers, "set_up", note_tree)
    other_tree = ROOT / "gateway"
    found = versus.compare(other_tree, versus.LOADS["plain"], setup="plain", starts=2, rounds=3)
    assert began == [ROOT, other_tree, other_tree, ROOT]
    assert found.starts == [[(1.0, 2.0)] * 3] * 2
    this, other, next_other, next_this = asked[:4]
    assert asked[:8] == [
        *(this, other, next_other, next_this),
        *(other, this, next_this, next_other),
    ]
    assert asked[8:] == asked[:8]


def test_a_ratio_is_of_starts_and_stands_beside_what_starts_of_one_tree_differ_by() -> None:
    found = Comparison(
        [
            [(90.0, 100.0), (180.0, 200.0), (99.0, 100.0)],
            [(92.0, 101.0), (180.0, 202.0), (99.0, 101.0)],
        ]
    )
    assert found.ratios == pytest.approx([0.9, 92 / 101])
    assert found.same_tree_ratios == pytest.approx([1.0, 1.01])
    assert found.is_difference_real
    assert versus.render(found, "request").splitlines() == [
        "this tree 99.0 us a request, the other 101.0",
        "ratio 0.905; by start 0.900 to 0.911 (2 starts of each, 3 rounds of each start)",
        "two starts of one tree differ by 1.005, at most 1.010",
        "the trees differ by more than that",
    ]


@pytest.mark.parametrize(
    "starts",
    [
        [[(90.0, 100.0)]],  # one start alone proves nothing
        [[(97.0, 100.0)], [(101.0, 104.0)]],  # less than the starts of one tree differ by
        [[(80.0, 100.0)], [(80.0, 100.0)], [(101.0, 100.0)]],  # the starts disagree
    ],
)
def test_a_difference_that_starts_of_one_tree_may_have_is_none(
    starts: list[list[versus.Pair]],
) -> None:
    found = Comparison(starts)
    assert not found.is_difference_real
    told = versus.render(found, "chunk").splitlines()
    assert told[-1] == "no difference between the trees is seen" or len(starts) == 1


@compiles
def test_a_tree_against_itself(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(versus, "compare", lambda *a, **k: _compare(*a, **k, seconds=0.1))
    arguments = [str(ROOT), "rush", "--setup", "shipped", "--starts", "2", "--rounds", "1"]
    assert versus.main(arguments) == 0
    told = capsys.readouterr().out
    assert told.startswith("this tree ")
    assert "(2 starts of each, 1 rounds of each start)" in told
    assert 0 < float(told.split("ratio ")[1].split(";")[0]) < 20


def test_a_load_that_a_set_up_is_not_measured_under_is_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        versus.main([str(ROOT), "paced", "--setup", "cache"])
    assert "the setup cache is not measured under the load paced" in capsys.readouterr().err


_compare = versus.compare
