"""The version before becomes this one: short forms of `make upgrade`."""

from pathlib import Path

import pytest

from tests.e2e import scale_fleet
from tests.upgrade.data import STORES, try_store
from tests.upgrade.former import Program, unpack_former
from tests.upgrade.rollout import run_rollout


@pytest.fixture(scope="module")
def former(tmp_path_factory: pytest.TempPathFactory) -> Program:
    """The version before."""
    if absent := scale_fleet.missing():
        pytest.skip(f"missing {', '.join(absent)}: apt-get install {' '.join(absent)}")
    return unpack_former(tmp_path_factory.mktemp("former"))


@pytest.mark.parametrize("store", STORES)
def test_this_version_tells_the_same_of_the_data_of_the_version_before(
    former: Program, store: str, tmp_path: Path
) -> None:
    """Sums, rows, views, keys and budgets are the same, and the way back is as documented."""
    assert try_store(tmp_path / "trial", former, store) == []


def test_no_call_fails_while_gateways_of_two_versions_share_redis_and_postgresql(
    former: Program, tmp_path: Path
) -> None:
    """Each call has one row, no key passes its budget, and all gateways answer to the end."""
    rollout = run_rollout(tmp_path, former, 2, "1", clients=6)
    assert rollout.calls.wrong == []
    refused = {(name, path) for name, path, status in rollout.statuses if status != 200}
    assert refused <= {(former.name, "/v1/usage")}, "it can no longer read the newer store"
    assert sum(rollout.versions.values()) == rollout.calls.rows


def test_a_clone_without_the_former_commit_takes_this_tree(tmp_path: Path) -> None:
    program = unpack_former(tmp_path, "0" * 40)
    assert program.name == "this tree, since the clone has no 00000000"
    assert (program.folder / "gateway").is_dir()
