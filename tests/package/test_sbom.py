"""The SBOM lists every package that an installation may need, with its version and hashes."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.docs.pages import ROOT
from tests.package.conftest import uv
from tests.package.test_contents import VERSION

VENDOR = "gateway/server/dashboard/files/vendor"
LOCK: list[dict[str, Any]] = tomllib.loads((ROOT / "uv.lock").read_text("utf-8"))["package"]


@pytest.fixture(scope="module")
def bill(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The SBOM that scripts/package writes, in a copy of the files that it reads."""
    uv("--version")  # skips if there is no uv
    folder = tmp_path_factory.mktemp("sbom")
    (folder / "scripts").mkdir()
    for name in ("pyproject.toml", "uv.lock", "scripts/package", "scripts/vendored.py"):
        shutil.copy(ROOT / name, folder / name)
    shutil.copytree(ROOT / VENDOR, folder / VENDOR)
    if (ROOT / ".tools").exists():
        (folder / ".tools").symlink_to(ROOT / ".tools")
    subprocess.run([folder / "scripts/package", "sbom"], check=True, capture_output=True, text=True, timeout=120)  # fmt: skip
    found: dict[str, Any] = json.loads((folder / f"dist/tiergate-{VERSION}.cdx.json").read_text())
    return found


def needed() -> dict[str, dict[str, Any]]:
    """Return the locked packages that tiergate needs with all extras."""
    named = {one["name"]: one for one in LOCK}
    todo, seen = ["tiergate"], dict[str, dict[str, Any]]()
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        one = seen[name] = named[name]
        todo += [each["name"] for each in one.get("dependencies", ())]
        for extra in one.get("optional-dependencies", {}).values():
            todo += [each["name"] for each in extra]
    return seen


def locked(bill: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the components that come from the registry."""
    return [one for one in bill["components"] if one["purl"].startswith("pkg:pypi/")]


def test_it_is_of_the_project(bill: dict[str, Any]) -> None:
    assert (bill["bomFormat"], bill["specVersion"], bill["version"]) == ("CycloneDX", "1.5", 1)
    assert re.fullmatch(r"urn:uuid:[0-9a-f-]{36}", bill["serialNumber"])
    root = bill["metadata"]["component"]
    assert (root["name"], root["version"]) == ("tiergate", VERSION)


def test_every_package_is_in_it_and_no_tool_of_ours(bill: dict[str, Any]) -> None:
    told = {(one["name"], one["version"]) for one in locked(bill)}
    lock = {(name, one["version"]) for name, one in needed().items() if name != "tiergate"}
    core = {name for name, _ in told}
    assert {"httpx", "uvloop", "psycopg", "opentelemetry-sdk", "duckdb"} <= core
    assert told <= lock
    assert {name for name, _ in lock - told} <= {"colorama", "tzdata", "exceptiongroup"}, (
        "of Windows"
    )
    assert not core & {"pytest", "ruff", "mypy", "openai", "anthropic"}


def test_each_has_a_purl_and_the_hashes_of_the_lock(bill: dict[str, Any]) -> None:
    lock = needed()
    for one in locked(bill):
        assert one["type"] == "library"
        assert one["purl"].startswith(f"pkg:pypi/{one['name']}@{one['version']}")
        given = {
            digest["content"]
            for each in one["externalReferences"]
            for digest in each["hashes"]
            if digest["alg"] == "SHA-256"
        }
        files = [*lock[one["name"]].get("wheels", ())]
        known = {file["hash"].removeprefix("sha256:") for file in files}
        assert known <= given, one["name"]


def test_what_the_dashboard_carries_along_is_in_it(bill: dict[str, Any]) -> None:
    """Each vendored code file has the version that the dashboard's documentation names."""
    carried = [one for one in bill["components"] if one not in locked(bill)]
    files = sorted((ROOT / VENDOR).glob("*.js"))
    assert [one["name"] for one in carried] == [file.stem for file in files] == ["uplot"]
    (one,), (file,) = carried, files
    assert f"uPlot](https://github.com/leeoniya/uPlot) {one['version']} (MIT)" in (
        ROOT / "docs/dashboard.md"
    ).read_text("utf-8")
    assert one["purl"] == f"pkg:npm/uplot@{one['version']}"
    assert one["hashes"] == [
        {"alg": "SHA-256", "content": hashlib.sha256(file.read_bytes()).hexdigest()}
    ]
    root = bill["metadata"]["component"]["bom-ref"]
    told = {each["ref"]: each.get("dependsOn", []) for each in bill["dependencies"]}
    assert one["bom-ref"] in told[root]


@pytest.mark.parametrize(
    ("code", "licence", "told"),
    [("var a", "The MIT License", "version"), ("/*! https://a.b (v1.0) */", "GPL", "licence")],
)
def test_code_of_unknown_version_or_other_licence_is_refused(
    bill: dict[str, Any], tmp_path: Path, code: str, licence: str, told: str
) -> None:
    """The script refuses a vendored file without a known version or licence."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts/vendored.py", tmp_path / "scripts")
    (tmp_path / VENDOR).mkdir(parents=True)
    (tmp_path / VENDOR / "other.js").write_text(code)
    (tmp_path / VENDOR / "other.LICENSE.txt").write_text(licence)
    (written := tmp_path / "bill.json").write_text(json.dumps(bill))
    run = subprocess.run([sys.executable, "scripts/vendored.py", written], check=False, cwd=tmp_path, capture_output=True, text=True, timeout=60)  # fmt: skip
    assert run.returncode != 0
    assert told in run.stderr.splitlines()[-1]
    assert json.loads(written.read_text()) == bill


def test_references_lead_somewhere(bill: dict[str, Any]) -> None:
    """No two components share a reference, and dependencies name existing components."""
    refs = [one["bom-ref"] for one in (bill["metadata"]["component"], *bill["components"])]
    assert len(set(refs)) == len(refs)
    told = {one["ref"]: one.get("dependsOn", []) for one in bill["dependencies"]}
    assert told.keys() == set(refs)
    assert {name for names in told.values() for name in names} <= set(refs)
    root = told[bill["metadata"]["component"]["bom-ref"]]
    direct = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert len(root) >= len(direct)


def test_the_bill_is_a_file_of_the_image_and_of_the_distribution() -> None:
    assert "/app/sbom.cdx.json" in (ROOT / "Dockerfile").read_text()
    assert Path(ROOT / "scripts/package").stat().st_mode & 0o111
