"""SEC-SUPPLY: what an installation contains, and what would run before the gateway does."""

import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PTH = {"_tiergate.pth", "a1_coverage.pth", "distutils-precedence.pth", "_virtualenv.pth"}
"""Files that Python reads at its start: from this checkout, coverage, setuptools and virtualenv."""
REFUSED = ("litellm", "litellm-check", "litellm-proxy-extras", "litellm-enterprise")
"""Packages with trojans, twice in 2026 (OSV MAL-2026-2144, and 1.107.0 of 21 October)."""
_NAME = re.compile(r"[A-Za-z0-9._-]+")


def packages() -> list[dict[str, object]]:
    lock = tomllib.loads((ROOT / "uv.lock").read_text("utf-8"))
    locked: list[dict[str, object]] = lock["package"]
    return locked


def needed(name: str, seen: set[str]) -> Iterator[Distribution]:
    """Yield a distribution and all that it needs, without extras and markers of other machines."""
    if name in seen:
        return
    seen.add(name)
    dist = distribution(name)
    yield dist
    for line in dist.requires or ():
        requirement, _, marker = line.partition(";")
        if "extra ==" in marker or "sys_platform ==" in marker:
            continue
        match = _NAME.match(requirement)
        assert match is not None
        try:
            distribution(match[0])
        except ModuleNotFoundError:
            assert marker, line  # for another Python
            continue
        yield from needed(match[0].lower(), seen)


def test_sec_supply_no_dependency_runs_before_the_gateway() -> None:
    """SEC-SUPPLY: no package that the gateway needs has a *.pth, a sitecustomize or a usercustomize."""
    core = list(needed("tiergate", set()))
    assert {"httpx", "redis", "fastapi", "starlette", "pydantic_core"} <= {
        dist.name.lower().replace("-", "_") for dist in core
    }
    for dist in core:
        for file in dist.files or ():
            if file.name == "_tiergate.pth":  # an editable checkout
                assert "import" not in Path(str(file.locate())).read_text("utf-8")
                continue
            assert file.suffix != ".pth", (dist.name, file)
            assert file.stem not in ("sitecustomize", "usercustomize"), (dist.name, file)


def test_sec_supply_no_unknown_file_runs_at_the_start_of_python() -> None:
    """SEC-SUPPLY: files of an implant, such as `litellm_init.pth` and `cook.pth`."""
    places = {Path(entry) for entry in sys.path if entry.endswith("site-packages")}
    own = {entry for entry in places if entry.is_relative_to(sys.prefix)}
    assert own
    for place in own:
        assert {file.name for file in place.glob("*.pth")} <= PTH
        assert not [*place.glob("sitecustomize*"), *place.glob("usercustomize*")]


def test_sec_supply_the_lock_has_a_hash_for_each_file_of_one_registry() -> None:
    """SEC-SUPPLY: nothing by URL, git or path, and no file without SHA-256."""
    for package in packages():
        if package["name"] == "tiergate":
            assert package["source"] == {"editable": "."}
            continue
        assert package["source"] == {"registry": "https://pypi.org/simple"}, package["name"]
        files = [*package.get("wheels", []), *([package["sdist"]] if "sdist" in package else [])]  # type: ignore[misc]
        assert files, package["name"]
        for file in files:
            assert re.fullmatch(r"sha256:[0-9a-f]{64}", file["hash"]), package["name"]
            assert file["url"].startswith("https://files.pythonhosted.org/"), package["name"]


@pytest.mark.parametrize("name", REFUSED)
def test_sec_supply_packages_that_had_trojans_are_not_installed(name: str) -> None:
    """SEC-SUPPLY: the gateway does not need them, and no other package brings them in."""
    assert name not in {str(package["name"]) for package in packages()}


def test_sec_supply_what_builds_the_package_has_hashes_and_nothing_else_may_build() -> None:
    """SEC-SUPPLY: uv refuses a build requirement without a hash."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["uv"]
    assert settings["require-build-hashes"] is True
    pinned = {entry["requirement"].partition("==")[0]: entry["hashes"] for entry in settings["build-constraint-dependencies"]}  # fmt: skip
    assert {"hatchling", "editables", "packaging", "pathspec", "pluggy"} <= pinned.keys()
    for hashes in pinned.values():
        assert hashes
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", digest) for digest in hashes)
    lock = tomllib.loads((ROOT / "uv.lock").read_text("utf-8"))["manifest"]["build-constraints"]
    assert {entry["name"]: entry["hashes"] for entry in lock} == pinned


def test_sec_supply_setup_and_image_install_no_package_without_a_hash() -> None:
    """SEC-SUPPLY: pip, which brings uv, checks the hashes of scripts/uv.txt."""
    for name in ("Dockerfile", "scripts/setup"):
        text = (ROOT / name).read_text("utf-8")
        assert text.count("pip install") == 1
        assert text.count("--require-hashes") == 1
    text = (ROOT / "scripts/uv.txt").read_text("utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert re.fullmatch(r"uv==\S+ \\", lines[0])
    assert len(lines) > 10
    assert all(re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?", line) for line in lines[1:])


def test_sec_supply_the_image_installs_locked_packages_and_no_secret() -> None:
    """SEC-SUPPLY: --frozen or --locked, from the lock; no key is a build argument."""
    dockerfile = (ROOT / "Dockerfile").read_text("utf-8")
    assert re.search(r"uv sync .*(--frozen|--locked)|--require-hashes", dockerfile)
    assert not re.search(
        r"(?i)^\s*(ARG|ENV)\s+\S*(KEY|TOKEN|SECRET|PASSWORD)", dockerfile, re.MULTILINE
    )
