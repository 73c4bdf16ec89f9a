"""`make versions` fits pyproject.toml and uv.lock; the runs themselves are on demand."""

import platform
import re
import subprocess
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tests.versions import __main__ as command
from tests.versions import bounds
from tests.versions.bounds import ROOT

MACHINE = platform.machine()
PROJECT, LOCKED = bounds.read_project(), bounds.read_locked()


def locked(*wheels: str) -> list[dict[str, Any]]:
    return [{"name": "one", "wheels": [{"url": f"https://index/{wheel}"} for wheel in wheels]}]


def test_the_oldest_python_is_the_one_that_the_project_names() -> None:
    pythons = bounds.list_pythons(PROJECT, LOCKED)
    assert PROJECT["requires-python"] == f">={pythons[0]}"
    assert bounds.list_missing_wheels(LOCKED, pythons[0]) == []


def test_each_python_that_the_project_names_has_wheels() -> None:
    named = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
    assert set(named) <= set(bounds.list_pythons(PROJECT, LOCKED))


def test_the_locked_server_version_is_within_the_bounds() -> None:
    requirement = bounds.find_server(PROJECT)
    (version,) = (locked["version"] for locked in LOCKED if locked["name"] == bounds.SERVER)
    assert requirement.specifier.contains(version)
    oldest = min(Version(bound.version) for bound in requirement.specifier)
    assert oldest <= Version(version)


def test_a_server_without_a_lower_bound_is_refused() -> None:
    """Without a lower bound, there is no oldest server to run with."""
    with pytest.raises(LookupError, match="uvicorn<1 has no lower bound"):
        bounds.find_server({"dependencies": ["uvicornlike>=3", "uvicorn<1"]})
    assert bounds.find_server({"dependencies": ["uvicorn>=0.51,<1"]}) == Requirement(
        "uvicorn>=0.51,<1"
    )


@pytest.mark.parametrize(
    ("wheel", "serves"),
    [
        ("one-1-py3-none-any.whl", True),
        ("one-1-py2.py3-none-any.whl", True),
        (f"one-1-cp313-cp313-manylinux_2_28_{MACHINE}.whl", True),
        (f"one-1-cp312-abi3-manylinux_2_28_{MACHINE}.whl", True),
        (f"one-1-cp314-abi3-manylinux_2_28_{MACHINE}.whl", False),
        (f"one-1-cp312-cp312-manylinux_2_28_{MACHINE}.whl", False),
        (f"one-1-pp311-pypy311_pp73-manylinux_2_28_{MACHINE}.whl", False),
        ("one-1-cp313-cp313-win_amd64.whl", False),
        ("one-1-cp313-cp313-manylinux_2_28_other.whl", False),
        ("no wheel", False),
    ],
)
def test_a_wheel_is_of_a_python_and_a_machine(wheel: str, serves: bool) -> None:
    assert bounds.list_missing_wheels(locked(wheel), "3.13") == ([] if serves else ["one"])


def test_a_package_without_wheels_holds_nothing_back() -> None:
    """The project itself is one, and packages that are built from source are others."""
    assert bounds.list_missing_wheels([{"name": "tiergate"}, *locked()], "3.13") == []


def test_the_target_runs_tests_that_exist() -> None:
    assert [path for path in command.SUITE if not (ROOT / path).exists()] == []
    helped = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "make versions " in helped.stdout
    shown = subprocess.run(
        ["make", "--dry-run", "versions"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "-m tests.versions" in shown.stdout


def test_every_python_of_the_machine_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The program names a Python that the machine lacks."""
    monkeypatch.setattr(bounds, "list_pythons", lambda *_: ["3.12", "3.13", "3.14", "3.15"])
    monkeypatch.setattr(bounds, "list_missing_wheels", lambda *_: ["two"])
    there = {"3.12": "/usr/bin/a", "3.13": "/usr/bin/b", "3.14": "/usr/bin/c"}
    monkeypatch.setattr(command, "find_interpreter", lambda python: there.get(python, ""))
    assert command.choose_interpreters() == list(there.items())
    errors = capsys.readouterr().err
    assert "3.16 has no wheels of two" in errors
    assert "Python 3.15 is not on this machine" in errors
    del there["3.12"], there["3.13"]
    assert command.choose_interpreters() == [("3.14", "/usr/bin/c")]
    there.clear()
    with pytest.raises(SystemExit, match="no Python"):
        command.choose_interpreters()


def test_a_package_for_other_systems_needs_no_wheel_here() -> None:
    package = {"name": "one", "wheels": [{"url": "https://index/one-1-cp312-cp312-win_amd64.whl"}]}
    elsewhere = {"name": "two", "dependencies": [{"name": "one", "marker": "os_name == 'nt'"}]}
    needed = {"name": "two", "dependencies": [{"name": "one"}]}
    assert bounds.list_missing_wheels([package, elsewhere], "3.12") == []
    assert bounds.list_missing_wheels([package, elsewhere, needed], "3.12") == ["one"]
