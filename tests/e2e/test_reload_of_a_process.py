"""A gateway process whose configuration changes: by its files, by signals, by an admin."""

import asyncio
import http.client
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.core import jsonio
from gateway.upstream.read_url import read_url
from tests.e2e.child import until
from tests.e2e.reload_trial import ReloadTrial
from tests.e2e.service import Service, read_until
from tests.e2e.upstream import PATIENCE, Upstream, whole
from tests.e2e.world import Config, chat

type Serve = Callable[..., ReloadableService]


class ReloadableService(Service):
    """A gateway whose configuration the test can read and write."""

    def value(self) -> Config:
        config: Config = jsonio.loads(self.file.read_bytes())
        return config

    @property
    def file(self) -> Path:
        return self.folder / "gateway.yaml"

    def write(self, value: Config | bytes) -> None:
        data = value if isinstance(value, bytes) else jsonio.dumps(value)
        scratch = self.file.with_suffix(".new")
        scratch.write_bytes(data)
        scratch.replace(self.file)

    def ask(self, method: str, path: str) -> tuple[int, Any]:
        """Send a request on a new connection, which any worker may accept."""
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        client.request(method, path, headers={"connection": "close"})
        answer = client.getresponse()
        reply = answer.status, jsonio.loads(answer.read())
        client.close()
        return reply

    def state(self) -> dict[str, Any]:
        status, reply = self.ask("GET", "/admin/config")
        assert status == 200, reply
        state: dict[str, Any] = reply
        return state

    def taken(self, version: str, times: int = 2) -> Callable[[], bool]:
        """Return a check: true if workers have put this version in force at least `times` times."""
        return lambda: [row.get("version") for row in self.rows("config")].count(version) >= times


@pytest.fixture
def serve(tmp_path: Path, upstream: Upstream) -> Iterator[Serve]:
    services: list[ReloadableService] = []

    def serve(**server: Any) -> ReloadableService:
        services.append(ReloadableService(tmp_path / f"{len(services)}", upstream, server))
        return services[-1]

    yield serve
    for service in services:
        service.kill()


def other(value: Config) -> Config:
    """Give the smart tier another model."""
    value["labs"]["acme"]["smart"] = [{"model": "able-9"}]
    value["models"]["able-9"] = {"price": {"input": 2, "output": 2}}
    return value


def test_the_gateway_reloads_a_changed_file_by_itself(serve: Serve, upstream: Upstream) -> None:
    """The gateway also takes an earlier file again, refuses a broken one, and logs each once."""
    service = serve()
    upstream.on("/acme", whole())
    first, good = service.state()["version"], service.file.read_bytes()
    service.write(other(service.value()))
    second = until(
        lambda: (version := service.state()["version"]) != first and version, "it is read"
    )
    with service.open_call(chat()):
        assert upstream.arrived().json["model"] == "able-9"
    service.write(b"version: 1\nserverr: {}\n")
    until(lambda: service.state()["last_error"], "it tells of the mistake")
    assert service.state()["version"] == second
    service.write(good)
    until(lambda: service.state()["version"] == first, "it is as it was")
    lines = service.rows("config")
    assert [row.get("version") for row in lines] == [second, None, first]
    assert lines[1]["line"] == 2
    assert lines[1]["error"].startswith("serverr: no such key. Did you mean 'server'?")
    service.send_signal(signal.SIGTERM)
    assert service.ended() == 0


def test_sighup_reloads_the_configuration_at_once(serve: Serve) -> None:
    service = serve()
    first = service.state()["version"]
    service.write(other(service.value()))
    service.send_signal(signal.SIGHUP)
    until(lambda: service.state()["version"] != first, "it is read")
    assert service.rows("signal")[0]["text"] == "the gateway reads the configuration again"


def test_the_gateway_reloads_when_kubernetes_swaps_the_folder_of_a_link(
    serve: Serve, tmp_path: Path
) -> None:
    """Kubernetes updates a ConfigMap like this: `..data` leads elsewhere, no file is written."""
    service = serve()
    first, value = service.state()["version"], service.value()
    for name, content in (("..1", value), ("..2", other(service.value()))):
        (tmp_path / name).mkdir()
        (tmp_path / name / "gateway.yaml").write_bytes(jsonio.dumps(content))
    (tmp_path / "..data").symlink_to("..1")
    link = service.file.with_suffix(".link")
    link.symlink_to(tmp_path / "..data" / "gateway.yaml")
    link.replace(service.file)
    assert service.ask("POST", "/admin/reload")[1]["result"] == "same"
    (tmp_path / "..new").symlink_to("..2")
    (tmp_path / "..new").replace(tmp_path / "..data")
    until(lambda: service.state()["version"] != first, "it is read")
    assert service.state()["changes"][0] == "labs.acme.smart[0].model: able-1 -> able-9"


def test_an_admin_reads_tries_and_rolls_back_a_configuration(serve: Serve) -> None:
    service = serve()
    first, value = service.state()["version"], service.value()
    assert service.ask("POST", "/admin/reload")[1]["result"] == "same"
    status, reply = service.ask("POST", "/admin/rollback")
    assert (status, reply["error"]["message"]) == (
        409,
        f"Nothing has changed, {first} is in force: there is no earlier configuration to restore.",
    )
    service.write(b"version: 1\nlabs: [\n")
    status, reply = service.ask("POST", "/admin/reload?dry_run=true")
    assert status == 409
    assert "gateway.yaml:3: error: not valid YAML" in reply["error"]["message"]
    assert not service.state()["failures"]
    service.write(other(value))
    _, reply = service.ask("POST", "/admin/reload?dry_run=true")
    assert (reply["result"], reply["version"]) == ("would be taken", first)
    assert reply["changes"][0] == {
        "path": "labs.acme.smart[0].model", "before": "able-1", "after": "able-9", "waits": False,
    }  # fmt: skip
    _, reply = service.ask("POST", "/admin/reload?dry_run=false")
    second = reply["version"]
    assert (reply["result"], reply["found"]) == ("taken", second)
    assert service.ask("POST", "/admin/rollback?dry_run=true")[1]["found"] == first
    assert service.state()["version"] == second
    assert service.ask("POST", "/admin/rollback")[1]["version"] == first
    assert service.state()["rolled_back"]
    for path in ("/admin/reload?dry=1", "/admin/reload?dry_run=yes", "/admin/rollback?dry_run="):
        assert service.ask("POST", path)[0] == 400


def test_all_workers_have_one_version_even_those_that_start_later(serve: Serve) -> None:
    """The worker that gets a command tells the others; a later worker has the same version."""
    service = serve(workers=2)
    first, value = service.state()["version"], other(service.value())
    service.write(value)
    service.send_signal(signal.SIGHUP)
    until(lambda: len(service.rows("config")) == 2, "both have read it")
    (second,) = {row["version"] for row in service.rows("config")}
    service.write(b"labs: [\n")
    until(lambda: len(service.rows("config")) == 4, "both have told of the mistake")
    for row in service.rows("worker"):  # one by one: all that serve were born later
        count = len(service.rows("worker"))
        os.kill(row["pid"], signal.SIGKILL)
        until(lambda count=count: len(service.rows("worker")) == count + 2, "another")  # type: ignore[misc]
    until(lambda: service.state()["version"] == second, "the last good one")
    service.ask("POST", "/admin/rollback")
    until(service.taken(first), "both have gone back")
    service.write(value)
    assert service.ask("POST", "/admin/reload")[1]["result"] == "taken"
    until(service.taken(second, 4), "both have read it again")
    service.send_signal(signal.SIGTERM)
    assert service.ended() == 0


def test_a_shadow_configuration_decides_beside_the_current_one(
    serve: Serve, upstream: Upstream, tmp_path: Path
) -> None:
    """The gateway reads the candidate at the start and on change; a broken one stops nothing."""
    service = serve()
    assert service.ask("GET", "/admin/shadow")[0] == 404
    candidate, value = tmp_path / "next.yaml", service.value()
    candidate.write_bytes(b"labs: [")
    service.write({**value, "routing": {"shadow": str(candidate)}})
    assert service.ask("POST", "/admin/reload")[1]["result"] == "taken"
    until(lambda: service.ask("GET", "/admin/shadow")[1]["mistakes"], "it is read")
    candidate.write_bytes(jsonio.dumps(other(value)))
    until(lambda: service.ask("GET", "/admin/shadow")[1]["candidate"], "it is read again")
    upstream.on("/acme", whole())
    with service.open_call(chat()) as connection:
        read_until(connection, b"you.")
    report = until(
        lambda: (item := service.ask("GET", "/admin/shadow")[1]["report"])["calls"] and item,
        "it decides",
    )
    (changed,) = report["list"]
    assert changed["before"]["target"] == "acme/able-1"
    assert changed["after"]["target"] == "acme/able-9"
    reply = read_url(f"http://127.0.0.1:{service.port}/admin/shadow", "")
    assert reply is not None
    assert reply[0] == 200
    assert read_url("http://127.0.0.1:1/", "secret") is None


def test_p_06_p_07_ten_reloads_a_second_under_load_fail_no_call(tmp_path: Path) -> None:
    """The short form of `make reload`: each row is of one configuration, and nothing stays open."""
    trial = ReloadTrial(tmp_path)
    try:
        result = asyncio.run(trial.run(30))
    finally:
        trial.close()
    assert result.wrong() == []
    assert (result.reloads, result.refused) == (27, 3)
    assert result.streams > 10
    assert len({row.config for row in result.rows}) > 2
    assert max(result.files) <= min(result.files) + 8
