"""`make audit` asks OSV about each component of the SBOM, and says so if it could not ask."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from scripts import audit

type Json = dict[str, Any]

LIBC = "pkg:deb/debian/libc6@2.41-12?arch=amd64&distro=debian-13&upstream=glibc%402.41-12"
PACKAGES = [LIBC, "pkg:npm/preact@10.29.7", "pkg:pypi/httpx@0.28.1"]  # fmt: skip


@pytest.fixture
def sbom(tmp_path: Path) -> Path:
    parts: list[Json] = [{"name": url, "purl": url} for url in [*PACKAGES, "pkg:generic/python@3.13"]]  # fmt: skip
    parts.append({"name": "learned.tiergate"})
    (file := tmp_path / "bill.cdx.json").write_text(json.dumps({"components": parts}))
    return file


def make_osv(answer: Callable[[list[Json]], Json], asked: list[list[Json]]) -> httpx.Client:
    """Return a client of a scripted OSV, which notes the queries that it gets."""

    def reply(request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/v1/querybatch"
        queries = json.loads(request.content)["queries"]
        asked.append(queries)
        return httpx.Response(200, json=answer(queries))

    return httpx.Client(base_url="https://osv.test", transport=httpx.MockTransport(reply))


def test_a_known_vulnerability_is_printed_with_its_page(
    sbom: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def answer(queries: list[Json]) -> Json:
        return {"results": [{"vulns": [{"id": "GHSA-1"}]} if "preact" in str(query) else {} for query in queries]}  # fmt: skip

    asked: list[list[Json]] = []
    assert audit.run_audit(make_osv(answer, asked), sbom) == 1
    assert asked == [[
        {"package": {"name": "glibc", "ecosystem": "Debian:13"}, "version": "2.41-12"},
        {"package": {"purl": PACKAGES[1]}}, {"package": {"purl": PACKAGES[2]}},
    ]]  # fmt: skip
    assert capsys.readouterr().out.splitlines() == [
        "pkg:npm/preact@10.29.7: GHSA-1 (https://osv.dev/vulnerability/GHSA-1)",
        "audit: 3 packages of bill.cdx.json, 1 known vulnerabilities",
    ]


def test_further_pages_of_a_package_are_read(sbom: Path) -> None:
    def answer(queries: list[Json]) -> Json:
        if "page_token" in queries[0]:
            return {"results": [{"vulns": [{"id": "B"}]}]}
        return {"results": [{"vulns": [{"id": "A"}], "next_page_token": "t"}, {}, {}]}

    asked: list[list[Json]] = []
    found = list(audit.find_vulnerabilities(make_osv(answer, asked), PACKAGES))
    assert found == [(PACKAGES[0], "A"), (PACKAGES[0], "B")]
    assert asked[1] == [{**audit.make_query(LIBC), "page_token": "t"}]


def test_nothing_known_is_status_0(sbom: Path) -> None:
    client = make_osv(lambda queries: {"results": [{} for _ in queries]}, [])
    assert audit.run_audit(client, sbom) == 0


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (httpx.ConnectError("no route"), "no route"),
        (httpx.Response(503), "it answers 503"),
        (httpx.Response(200, text="<html>"), "its answer has no results"),
        (httpx.Response(200, json={"results": []}), "it answers other queries than were asked"),
    ],
)
def test_an_osv_that_could_not_be_asked_is_no_clean_bill(
    sbom: Path, capsys: pytest.CaptureFixture[str], reply: httpx.Response | Exception, reason: str
) -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        if isinstance(reply, Exception):
            raise reply
        return reply

    client = httpx.Client(base_url="https://osv.test", transport=httpx.MockTransport(handle))
    assert audit.run_audit(client, sbom) == 2
    assert capsys.readouterr().out == f"audit: OSV could not be asked about 3 packages: {reason}\n"
