"""`make audit`: ask OSV for known vulnerabilities of each component of the SBOM.

    python -m scripts.audit [--url URL] [FILE]

`uv audit` asks the same of uv.lock alone. The SBOM also has the libraries of the dashboard, what
builds the package, and in the image (`/app/sbom.cdx.json`) the system's packages. Exit status: 0 if
nothing is known, 1 if something is, 2 if OSV could not be asked.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from itertools import batched
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx

OSV = "https://api.osv.dev"
_BATCH = 1000
"""The most queries that OSV takes at once."""
_ASKED_TYPES = ("pkg:pypi/", "pkg:npm/", "pkg:deb/")
"""The kinds of packages that OSV knows."""


class AuditError(Exception):
    """OSV could not be asked, or did not answer in its form."""


def list_packages(bill: dict[str, Any]) -> list[str]:
    """Return the package URL of each component that OSV knows by its kind."""
    urls = {component.get("purl", "") for component in bill["components"]}
    return sorted(url for url in urls if url.startswith(_ASKED_TYPES))


def find_vulnerabilities(client: httpx.Client, packages: list[str]) -> Iterator[tuple[str, str]]:
    """Yield each package with a vulnerability, and its id. Raises AuditError."""
    for batch in batched(packages, _BATCH):
        pending = [(package, make_query(package)) for package in batch]
        while pending:
            results = _ask(client, [query for _, query in pending])
            more: list[tuple[str, dict[str, Any]]] = []
            for (package, query), result in zip(pending, results, strict=True):
                for entry in result.get("vulns", ()):
                    yield package, entry["id"]
                if token := result.get("next_page_token"):
                    more.append((package, {**query, "page_token": token}))
            pending = more


def make_query(package: str) -> dict[str, Any]:
    """Return what OSV is asked about a package URL.

    OSV knows packages of Debian by source package and release: qualifiers of the URL.
    """
    if not package.startswith("pkg:deb/"):
        return {"package": {"purl": package}}
    qualifiers = dict(parse_qsl(urlsplit(package).query))
    source, _, version = qualifiers["upstream"].partition("@")
    system, _, release = qualifiers["distro"].partition("-")
    ecosystem = f"{system.capitalize()}:{release}"
    return {"package": {"name": source, "ecosystem": ecosystem}, "version": version}


def _ask(client: httpx.Client, queries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    try:
        answer = client.post("/v1/querybatch", json={"queries": queries})
    except httpx.HTTPError as error:
        raise AuditError(str(error)) from error
    if answer.status_code != 200:
        raise AuditError(f"it answers {answer.status_code}")
    try:
        results: list[dict[str, Any]] = answer.json()["results"]
    except (ValueError, KeyError, TypeError) as error:
        raise AuditError("its answer has no results") from error
    if len(results) != len(queries):
        raise AuditError("it answers other queries than were asked")
    return results


def find_sbom() -> Path:
    """Return the SBOM that `make sbom` wrote last. Raises AuditError."""
    files = sorted(Path("dist").glob("*.cdx.json"), key=lambda file: file.stat().st_mtime)
    if not files:
        raise AuditError("dist has no SBOM: make sbom")
    return files[-1]


def run_audit(client: httpx.Client, file: Path) -> int:
    """Print the known vulnerabilities of an SBOM's components; return the exit status."""
    packages = list_packages(json.loads(file.read_text("utf-8")))
    try:
        found = sorted(find_vulnerabilities(client, packages))
    except AuditError as error:
        print(f"audit: OSV could not be asked about {len(packages)} packages: {error}")
        return 2
    for package, number in found:
        print(f"{package}: {number} (https://osv.dev/vulnerability/{number})")
    print(f"audit: {len(packages)} packages of {file.name}, {len(found)} known vulnerabilities")
    return 1 if found else 0


def main(words: list[str] | None = None) -> int:
    """Audit one file."""
    parser = argparse.ArgumentParser(prog="scripts.audit")
    parser.add_argument("--url", default=OSV)
    parser.add_argument("file", nargs="?", type=Path)
    options = parser.parse_args(words)
    try:
        file = options.file or find_sbom()
    except AuditError as error:
        print(f"audit: {error}")
        return 2
    with httpx.Client(base_url=options.url, timeout=60) as client:
        return run_audit(client, file)


if __name__ == "__main__":
    sys.exit(main())
