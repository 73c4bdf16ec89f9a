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
def sbom(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
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
    document: dict[str, Any] = json.loads(
        (folder / f"dist/tiergate-{VERSION}.cdx.json").read_text()
    )
    return document


def list_needed() -> dict[str, dict[str, Any]]:
    """Return the locked packages that tiergate needs with all extras."""
    by_name = {package["name"]: package for package in LOCK}
    todo, seen = ["tiergate"], dict[str, dict[str, Any]]()
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        package = seen[name] = by_name[name]
        todo += [dependency["name"] for dependency in package.get("dependencies", ())]
        for extra in package.get("optional-dependencies", {}).values():
            todo += [dependency["name"] for dependency in extra]
    return seen


def list_registry_components(sbom: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the components that come from the registry."""
    return [
        component for component in sbom["components"] if component["purl"].startswith("pkg:pypi/")
    ]


def test_the_sbom_describes_the_project(sbom: dict[str, Any]) -> None:
    assert (sbom["bomFormat"], sbom["specVersion"], sbom["version"]) == ("CycloneDX", "1.5", 1)
    assert re.fullmatch(r"urn:uuid:[0-9a-f-]{36}", sbom["serialNumber"])
    root = sbom["metadata"]["component"]
    assert (root["name"], root["version"]) == ("tiergate", VERSION)


def test_every_locked_package_is_in_the_sbom_and_no_tool_of_tests(sbom: dict[str, Any]) -> None:
    listed = {
        (component["name"], component["version"]) for component in list_registry_components(sbom)
    }
    lock = {
        (name, component["version"])
        for name, component in list_needed().items()
        if name != "tiergate"
    }
    core = {name for name, _ in listed}
    assert {"httpx", "uvloop", "psycopg", "opentelemetry-sdk", "duckdb"} <= core
    assert listed <= lock
    assert {name for name, _ in lock - listed} <= {"colorama", "tzdata", "exceptiongroup"}, (
        "of Windows"
    )
    assert not core & {"pytest", "ruff", "mypy", "openai", "anthropic"}


def test_each_component_has_a_purl_and_the_hashes_of_the_lock(sbom: dict[str, Any]) -> None:
    lock = list_needed()
    for component in list_registry_components(sbom):
        assert component["type"] == "library"
        assert component["purl"].startswith(f"pkg:pypi/{component['name']}@{component['version']}")
        hashes = {
            digest["content"]
            for reference in component["externalReferences"]
            for digest in reference["hashes"]
            if digest["alg"] == "SHA-256"
        }
        files = [*lock[component["name"]].get("wheels", ())]
        locked_hashes = {file["hash"].removeprefix("sha256:") for file in files}
        assert locked_hashes <= hashes, component["name"]


def test_vendored_code_of_the_dashboard_is_in_the_sbom(sbom: dict[str, Any]) -> None:
    """Each vendored code file has the version that the dashboard's documentation names."""
    vendored = [
        component
        for component in sbom["components"]
        if component not in list_registry_components(sbom)
    ]
    files = sorted((ROOT / VENDOR).glob("*.js"))
    names = [component["name"] for component in vendored]
    assert names == [file.stem for file in files] == ["preact", "uplot"]
    docs = (ROOT / "docs/dashboard.md").read_text("utf-8")
    root = sbom["metadata"]["component"]["bom-ref"]
    dependencies = {each["ref"]: each.get("dependsOn", []) for each in sbom["dependencies"]}
    for component, file in zip(vendored, files, strict=True):
        home = component["externalReferences"][0]["url"]
        assert re.search(rf"\[\w+\]\({re.escape(home)}\) {component['version']} \(MIT\)", docs)
        assert component["purl"] == f"pkg:npm/{component['name']}@{component['version']}"
        assert component["hashes"] == [
            {"alg": "SHA-256", "content": hashlib.sha256(file.read_bytes()).hexdigest()}
        ]
        assert component["bom-ref"] in dependencies[root]


@pytest.mark.parametrize(
    ("code", "licence", "problem"),
    [("var a", "The MIT License", "version"), ("/*! https://a.b (v1.0) */", "GPL", "licence")],
)
def test_vendored_code_of_unknown_version_or_licence_is_refused(
    sbom: dict[str, Any], tmp_path: Path, code: str, licence: str, problem: str
) -> None:
    """The script refuses a vendored file without a known version or licence."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts/vendored.py", tmp_path / "scripts")
    (tmp_path / VENDOR).mkdir(parents=True)
    (tmp_path / VENDOR / "other.js").write_text(code)
    (tmp_path / VENDOR / "other.LICENSE.txt").write_text(licence)
    (sbom_file := tmp_path / "bill.json").write_text(json.dumps(sbom))
    process = subprocess.run([sys.executable, "scripts/vendored.py", sbom_file], check=False, cwd=tmp_path, capture_output=True, text=True, timeout=60)  # fmt: skip
    assert process.returncode != 0
    assert problem in process.stderr.splitlines()[-1]
    assert json.loads(sbom_file.read_text()) == sbom


def test_references_of_the_sbom_are_unique_and_exist(sbom: dict[str, Any]) -> None:
    """No two components share a reference, and dependencies name existing components."""
    refs = [item["bom-ref"] for item in (sbom["metadata"]["component"], *sbom["components"])]
    assert len(set(refs)) == len(refs)
    dependencies = {item["ref"]: item.get("dependsOn", []) for item in sbom["dependencies"]}
    assert dependencies.keys() == set(refs)
    assert {name for names in dependencies.values() for name in names} <= set(refs)
    root = dependencies[sbom["metadata"]["component"]["bom-ref"]]
    direct = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert len(root) >= len(direct)


def test_the_image_and_the_distribution_contain_the_sbom() -> None:
    assert "/app/sbom.cdx.json" in (ROOT / "Dockerfile").read_text()
    assert Path(ROOT / "scripts/package").stat().st_mode & 0o111
