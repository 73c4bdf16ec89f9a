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
    found: list[dict[str, object]] = lock["package"]
    return found


def needed(name: str, seen: set[str]) -> Iterator[Distribution]:
    """Yield a distribution and all that it needs, without extras and markers of other machines."""
    if name in seen:
        return
    seen.add(name)
    found = distribution(name)
    yield found
    for line in found.requires or ():
        said, _, marker = line.partition(";")
        if "extra ==" in marker or "sys_platform ==" in marker:
            continue
        match = _NAME.match(said)
        assert match is not None
        try:
            distribution(match[0])
        except ModuleNotFoundError:
            assert marker, line  # for another Python
            continue
        yield from needed(match[0].lower(), seen)


def test_sec_supply_nothing_of_the_core_runs_before_it() -> None:
    """SEC-SUPPLY: no package that the gateway needs has a *.pth, a sitecustomize or a usercustomize."""
    core = list(needed("tiergate", set()))
    assert {"httpx", "redis", "fastapi", "starlette", "pydantic_core"} <= {
        one.name.lower().replace("-", "_") for one in core
    }
    for one in core:
        for file in one.files or ():
            if file.name == "_tiergate.pth":  # an editable checkout
                assert "import" not in Path(str(file.locate())).read_text("utf-8")
                continue
            assert file.suffix != ".pth", (one.name, file)
            assert file.stem not in ("sitecustomize", "usercustomize"), (one.name, file)


def test_sec_supply_this_environment_has_no_stranger_that_starts_with_python() -> None:
    """SEC-SUPPLY: files of an implant, such as `litellm_init.pth` and `cook.pth`."""
    places = {Path(one) for one in sys.path if one.endswith("site-packages")}
    own = {one for one in places if one.is_relative_to(sys.prefix)}
    assert own
    for place in own:
        assert {file.name for file in place.glob("*.pth")} <= PTH
        assert not [*place.glob("sitecustomize*"), *place.glob("usercustomize*")]


def test_sec_supply_the_lock_has_a_hash_for_each_file_of_one_registry() -> None:
    """SEC-SUPPLY: nothing by URL, git or path, and no file without SHA-256."""
    for one in packages():
        if one["name"] == "tiergate":
            assert one["source"] == {"editable": "."}
            continue
        assert one["source"] == {"registry": "https://pypi.org/simple"}, one["name"]
        files = [*one.get("wheels", []), *([one["sdist"]] if "sdist" in one else [])]  # type: ignore[misc]
        assert files, one["name"]
        for file in files:
            assert re.fullmatch(r"sha256:[0-9a-f]{64}", file["hash"]), one["name"]
            assert file["url"].startswith("https://files.pythonhosted.org/"), one["name"]


@pytest.mark.parametrize("name", REFUSED)
def test_sec_supply_packages_that_are_not_taken(name: str) -> None:
    """SEC-SUPPLY: the gateway does not need them, and no other package brings them in."""
    assert name not in {str(one["name"]) for one in packages()}


def test_sec_supply_the_image_installs_what_is_locked_and_no_secret_is_near() -> None:
    """SEC-SUPPLY: --frozen or --locked, from the lock; no key is a build argument."""
    said = (ROOT / "Dockerfile").read_text("utf-8")
    assert re.search(r"uv sync .*(--frozen|--locked)|--require-hashes", said)
    assert not re.search(r"(?i)^\s*(ARG|ENV)\s+\S*(KEY|TOKEN|SECRET|PASSWORD)", said, re.MULTILINE)
