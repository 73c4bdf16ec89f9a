"""The short form of the twin run: this tree equals itself, and a changed value is seen everywhere."""

import asyncio
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from bench import redis_process
from tests.twin import configuration, stages, trees
from tests.twin.run import Run, StageResult


def played(folder: Path, **overrides: str) -> StageResult:
    """Play the short form at two gateways of this tree; the second has other variables."""
    if redis_process.program() is None:
        pytest.skip("no server of the Redis protocol: make dev, or apt-get install redis-server")
    run = Run([trees.this_tree(), trees.this_tree()], folder, overrides=overrides)
    asyncio.run(run.play(stages.short()))
    return run.result


def test_this_tree_equals_itself(tmp_path: Path) -> None:
    result = played(tmp_path)
    assert result.differences == []
    assert result.exchanges > 100
    for what in ("ledger", "store", "log", "keys in Redis"):
        assert result.left[what] > 50, what


def test_a_changed_value_is_seen_by_client_ledger_and_redis(tmp_path: Path) -> None:
    """The second gateway caches all calls."""
    result = played(tmp_path, TIERGATE_CACHE__DEFAULT="on")
    kinds = Counter(difference.kind for difference in result.differences)
    assert kinds["client head", "x-tiergate-cache"] > 20
    assert kinds["ledger final", "$.cache"] > 20
    assert kinds["store costs", "$.cache"] > 20
    assert kinds["redis cache:*", "key is new"] > 20


def test_calls_of_shipped_labs_reach_the_scripted_provider_alone(tmp_path: Path) -> None:
    """No URL of a real provider is left: a placeholder key goes nowhere else."""
    configuration.keyed(0).write(tmp_path / "config", trees.ROOT / "config")
    for file in (tmp_path / "config").rglob("*.yaml"):
        for line in file.read_text("utf-8").splitlines():
            code = re.sub(r"(^| )#.*", "", line)
            assert not re.search(r"https?://(?!pictures\.example\.com)", code), (file.name, line)


def test_the_run_imports_nothing_of_the_gateway() -> None:
    """The run drives both trees from outside, so the modules of the base may have other names."""
    program = "import sys, tests.twin.__main__; print('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], cwd=trees.ROOT, capture_output=True, text=True, check=True)  # fmt: skip
    modules = done.stdout.split()
    assert "tests.twin.run" in modules
    assert [name for name in modules if name.partition(".")[0] == "gateway"] == []
