"""Adds to an SBOM what the gateway carries along and no lock knows: `vendored.py BILL`, CycloneDX.

Each library lies in the folder `vendor` of the dashboard as NAME.js, which tells its version in its
first line, with its style and its licence beside it. Needs nothing but Python.
"""

import hashlib
import json
import re
import sys
from pathlib import Path
from typing import Any

VENDOR = Path(__file__).parents[1] / "gateway/server/dashboard/files/vendor"
TOLD = re.compile(r"/\*! (?P<home>https://\S+) \(v(?P<version>[\d.]+)\) \*/")


def components() -> list[dict[str, Any]]:
    """As CycloneDX 1.5 has them.

    Raises ValueError where a library does not tell its version, or has another licence than MIT.
    """
    return [_component(code) for code in sorted(VENDOR.glob("*.js"))]


def _component(code: Path) -> dict[str, Any]:
    if not (header := TOLD.match(code.read_text("utf-8"))):
        raise ValueError(f"{code.name} does not tell its version in its first line")
    if (
        not code.with_name(f"{code.stem}.LICENSE.txt")
        .read_text("utf-8")
        .startswith("The MIT License")
    ):
        raise ValueError(f"{code.name} has another licence than MIT")
    name, version = code.stem, header["version"]
    return {
        "type": "library",
        "bom-ref": f"{name}@{version}",
        "name": name,
        "version": version,
        "purl": f"pkg:npm/{name}@{version}",
        "licenses": [{"license": {"id": "MIT"}}],
        "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(code.read_bytes()).hexdigest()}],
        "externalReferences": [{"type": "vcs", "url": header["home"]}],
    }


def add(bill: dict[str, Any]) -> None:
    """Put them into an SBOM, as what its own component depends on."""
    own = bill["metadata"]["component"]["bom-ref"]
    needs = next(component for component in bill["dependencies"] if component["ref"] == own)
    for component in components():
        bill["components"].append(component)
        bill["dependencies"].append({"ref": component["bom-ref"]})
        needs.setdefault("dependsOn", []).append(component["bom-ref"])


if __name__ == "__main__":
    written = Path(sys.argv[1])
    told = json.loads(written.read_text("utf-8"))
    add(told)
    written.write_text(json.dumps(told, indent=2) + "\n", "utf-8")
