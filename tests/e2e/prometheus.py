"""The real Prometheus, which scrapes one gateway."""

import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from bench.free_port import find_free_port
from gateway.core import jsonio
from tests.e2e.child import Child


def program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"no {name}: apt-get install prometheus")
    return path


class Prometheus:
    """The program, which scrapes one place and evaluates `rules` five times a second.

    `secret` is the key that the place requires.
    """

    def __init__(
        self, folder: Path, place: str, rules: Sequence[Path] = (), secret: str | None = None
    ) -> None:
        port = find_free_port()
        file = folder / "prometheus.yml"
        often = {"scrape_interval": "200ms", "scrape_timeout": "200ms"}
        job: dict[str, Any] = {"job_name": "tiergate", "static_configs": [{"targets": [place]}]}
        if secret is not None:
            job["authorization"] = {"credentials": secret}
        config = {
            "global": {**often, "evaluation_interval": "200ms"},
            "rule_files": [str(rule) for rule in rules],
            "scrape_configs": [job],
        }
        file.write_bytes(jsonio.dumps(config))
        self.child = Child(
            [
                program("prometheus"),
                f"--config.file={file}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            folder / "prometheus",
        )
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False)

    def query(self, text: str) -> list[tuple[dict[str, str], float]]:
        """Return the result of a query now; empty while Prometheus does not answer."""
        try:
            reply = self._client.get("/api/v1/query", params={"query": text})
        except httpx.TransportError:
            return []
        assert reply.status_code in (200, 503), reply.text
        series = reply.json()["data"]["result"] if reply.status_code == 200 else []
        return [(row["metric"], float(row["value"][1])) for row in series]

    def rules(self) -> list[dict[str, Any]]:
        """Return all rules, as last evaluated."""
        groups = self._client.get("/api/v1/rules").json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def one(self, text: str) -> float:
        """Return the one value of a query, or NaN if it has none."""
        series = self.query(text)
        assert len(series) < 2, series
        return series[0][1] if series else math.nan

    def stop(self) -> None:
        self._client.close()
        self.child.stop()
