"""Read the versions of Python and of the HTTP server that pyproject.toml and uv.lock allow."""

import platform
import tomllib
from pathlib import Path
from typing import Any

from packaging.markers import Marker, default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.tags import Tag
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

ROOT = Path(__file__).parents[2]
SERVER = "uvicorn"
_PYTHON_3 = "3."
_LAST_MINOR = 30
"""An upper bound: no Python 3 has a higher minor version."""


def read_project(root: Path = ROOT) -> dict[str, Any]:
    """Read the table `project`."""
    project: dict[str, Any] = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    return project


def read_locked(root: Path = ROOT) -> list[dict[str, Any]]:
    """Read the locked packages."""
    packages: list[dict[str, Any]] = tomllib.loads((root / "uv.lock").read_text("utf-8"))["package"]
    return packages


def find_server(project: dict[str, Any]) -> Requirement:
    """Find what the project requires of the server. Raises LookupError where it has no lower bound."""
    (requirement,) = (
        candidate
        for candidate in map(Requirement, project["dependencies"])
        if candidate.name == SERVER
    )
    if not any(bound.operator in {">=", "=="} for bound in requirement.specifier):
        raise LookupError(f"{requirement} has no lower bound")
    return requirement


def list_pythons(project: dict[str, Any], locked: list[dict[str, Any]]) -> list[str]:
    """List the Pythons that the project allows and that each locked package has wheels for."""
    allowed = SpecifierSet(project["requires-python"])
    return [
        version
        for minor in range(_LAST_MINOR)
        if allowed.contains(version := f"{_PYTHON_3}{minor}")
        and not list_missing_wheels(locked, version)
    ]


def list_missing_wheels(locked: list[dict[str, Any]], version: str) -> list[str]:
    """List the locked packages that have wheels, but none for this Python on this machine.

    Packages that are for other systems or Pythons alone are left out.
    """
    unneeded_names = _list_unneeded(locked, version)
    return [
        package["name"]
        for package in locked
        if package.get("wheels")
        and package["name"] not in unneeded_names
        and not any(
            _serves(wheel["url"].rpartition("/")[2], version) for wheel in package["wheels"]
        )
    ]


def _list_unneeded(locked: list[dict[str, Any]], version: str) -> set[str]:
    """List the packages whose markers all exclude this Python or this system."""
    environment: dict[str, str] = {
        **{name: str(value) for name, value in default_environment().items()},
        "python_version": version,
        "python_full_version": f"{version}.0",
    }
    needed_by_name: dict[str, bool] = {}
    for package in locked:
        groups = [package.get("dependencies", [])]
        groups += package.get("optional-dependencies", {}).values()
        groups += package.get("dev-dependencies", {}).values()
        for edge in (edge for group in groups for edge in group):
            is_needed = "marker" not in edge or Marker(edge["marker"]).evaluate(environment)
            needed_by_name[edge["name"]] = needed_by_name.get(edge["name"], False) or is_needed
    return {name for name, is_needed in needed_by_name.items() if not is_needed}


def _serves(wheel: str, version: str) -> bool:
    """True if a Python of this version can install the wheel here."""
    try:
        *_, tags = parse_wheel_filename(wheel)
    except InvalidWheelFilename:
        return False
    return any(_fits(tag, int(version.removeprefix(_PYTHON_3))) for tag in tags)


def _fits(tag: Tag, minor: int) -> bool:
    if tag.platform != "any" and not (
        "linux" in tag.platform and tag.platform.endswith(platform.machine())
    ):
        return False
    if tag.interpreter.startswith("py3"):
        return int(tag.interpreter.removeprefix("py3") or 0) <= minor
    if not tag.interpreter.startswith("cp3"):
        return False
    built_for = int(tag.interpreter.removeprefix("cp3"))
    return built_for == minor or (tag.abi == "abi3" and built_for <= minor)
