"""The bench loads two trees by turns, and prints their ratio and the noise."""

import shutil
from contextlib import ExitStack
from pathlib import Path

import pytest

from bench import compare_trees, peers
from bench.compare_trees import Comparison

ROOT = Path(__file__).parents[2]
compiles = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")


@compiles
def test_each_round_of_each_start_measures_both_trees(monkeypatch: pytest.MonkeyPatch) -> None:
    """Costs go to the right tree, whichever starts or comes first; the warm-up does not count."""
    loaded: list[object] = []
    began: list[Path] = []
    set_up = peers.set_up

    def cost(running: object, *_: object) -> float:
        """Return 1 for this tree and 2 for the other, in the order that the test asserts below."""
        loaded.append(running)
        return 1.0 if (len(loaded) - 1) % 8 in {0, 3, 5, 6} else 2.0

    def note_tree(name: str, ends: ExitStack, tree: Path) -> peers.Tiergate:
        began.append(tree)
        return set_up(name, ends, ROOT)

    monkeypatch.setattr(compare_trees, "cost", cost)
    monkeypatch.setattr(peers, "set_up", note_tree)
    other_tree = ROOT / "gateway"
    comparison = compare_trees.compare(
        other_tree, compare_trees.LOADS["plain"], setup="plain", starts=2, rounds=3
    )
    assert began == [ROOT, other_tree, other_tree, ROOT]
    assert comparison.starts == [[(1.0, 2.0)] * 3] * 2
    this, other_tree_gateway, next_other, next_this = loaded[:4]
    assert loaded[:8] == [
        *(this, other_tree_gateway, next_other, next_this),
        *(other_tree_gateway, this, next_this, next_other),
    ]
    assert loaded[8:] == loaded[:8]


def test_the_ratio_is_printed_beside_the_noise_between_starts() -> None:
    comparison = Comparison(
        [
            [(90.0, 100.0), (180.0, 200.0), (99.0, 100.0)],
            [(92.0, 101.0), (180.0, 202.0), (99.0, 101.0)],
        ]
    )
    assert comparison.ratios == pytest.approx([0.9, 92 / 101])
    assert comparison.same_tree_ratios == pytest.approx([1.0, 1.01])
    assert comparison.is_difference_real
    assert compare_trees.render(comparison, "request").splitlines() == [
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
def test_a_difference_within_the_noise_is_not_real(
    starts: list[list[compare_trees.Pair]],
) -> None:
    comparison = Comparison(starts)
    assert not comparison.is_difference_real
    printed = compare_trees.render(comparison, "chunk").splitlines()
    assert printed[-1] == "no difference between the trees is seen" or len(starts) == 1


@compiles
def test_the_bench_compares_a_tree_with_itself(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(compare_trees, "compare", lambda *a, **k: _compare(*a, **k, seconds=0.1))
    arguments = [str(ROOT), "rush", "--setup", "shipped", "--starts", "2", "--rounds", "1"]
    assert compare_trees.main(arguments) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("this tree ")
    assert "(2 starts of each, 1 rounds of each start)" in printed
    assert 0 < float(printed.split("ratio ")[1].split(";")[0]) < 20


def test_the_bench_refuses_a_load_that_a_set_up_has_no_scene_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        compare_trees.main([str(ROOT), "paced", "--setup", "cache"])
    assert "the setup cache is not measured under the load paced" in capsys.readouterr().err


_compare = compare_trees.compare
