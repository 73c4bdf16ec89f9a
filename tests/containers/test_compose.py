"""The compose file: a gateway that only this machine reaches, and a Redis that keeps counters."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import redis

from bench.free_port import find_free_port
from gateway.settings import environment, yaml
from gateway.settings.environment import find_config_file
from gateway.settings.loader import ConfigSource, load
from gateway.settings.schema.server import ServerPart
from gateway.settings.yaml import Value
from tests.conftest import redis_program
from tests.containers import files
from tests.containers.files import ROOT

FINAL = files.stages()[-1]


def shipped(variables: dict[str, str]) -> ConfigSource:
    return load(find_config_file(str(ROOT / "config" / "gateway.yaml"), {}), variables)


def names(value: Value) -> set[str]:
    """Return the variables that the strings of a configuration use."""
    if isinstance(value, dict):
        return {name for item in value.values() for name in names(item)}
    if isinstance(value, list):
        return {name for item in value for name in names(item)}
    return set(environment.list_variables(value)) if isinstance(value, str) else set()


def ports() -> list[tuple[str, str]]:
    """Return every published port, with its service."""
    return [
        (name, port)
        for name, service in files.services().items()
        for port in files.words(service.get("ports", []))
    ]


@pytest.mark.parametrize(("name", "port"), ports())
def test_every_published_port_is_of_this_machine_alone(name: str, port: str) -> None:
    inside = {"prometheus": "9090", "grafana": "3000"}.get(name, "8484")
    assert re.fullmatch(r"127\.0\.0\.1:\$\{[A-Z_]+:-\d+\}:" + inside, port)


def test_each_gateway_publishes_a_port_of_its_own_and_redis_none() -> None:
    watchers = {"prometheus", "grafana"}
    assert {name for name, _ in ports()} == files.gateways().keys() | watchers
    assert len({port for _, port in ports()}) == len(ports())


@pytest.mark.parametrize("name", files.gateways())
def test_a_gateway_may_listen_where_the_published_port_leads(name: str) -> None:
    """The gateway listens on all addresses of the container.

    It makes its own key and keeps it in its volume.
    """
    given = {key: value for key, value in _given(name).items() if value is not None}
    config = shipped(given).config
    server = config.server
    assert (server.host, server.open) == ("0.0.0.0", False)
    assert files.gateways()[name]["command"] == ["serve", "--first-key"]
    assert config.keys.store.startswith(f"{FINAL.env['TIERGATE_DATA']}/")
    (port,) = [port for service, port in ports() if service == name]
    assert port.endswith(f":{server.port}")


def _given(name: str) -> dict[str, str | None]:
    return files.environment(files.gateways()[name])


@pytest.mark.parametrize("name", files.gateways())
def test_a_gateway_waits_for_a_healthy_redis_and_uses_it(name: str) -> None:
    service = files.gateways()[name]
    waits = files.mapping(service["depends_on"])
    assert waits == {"redis": {"condition": "service_healthy"}}
    assert str(_given(name)["REDIS_URL"]).startswith("redis://redis:6379/")


def test_gateways_do_not_share_a_database_or_a_folder() -> None:
    places = [
        (_given(name)["REDIS_URL"], files.words(service["volumes"])[0])
        for name, service in files.gateways().items()
    ]
    assert len({url for url, _ in places}) == len({volume for _, volume in places}) == len(places)


@pytest.mark.parametrize("name", files.gateways())
def test_what_a_gateway_writes_is_in_a_volume_and_nothing_else_is_writable(name: str) -> None:
    service = files.gateways()[name]
    volume, _, folder = files.words(service["volumes"])[0].partition(":")
    assert volume in files.mapping(files.compose()["volumes"])
    assert folder == FINAL.env["TIERGATE_DATA"]
    assert _given(name).get("TIERGATE_DATA", folder) == folder
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "user", "cap_add", "network_mode"} & set(service)


@pytest.mark.parametrize("name", files.gateways())
def test_a_gateway_has_time_to_finish_its_calls(name: str) -> None:
    given = str(files.gateways()[name]["stop_grace_period"])
    assert int(given.removesuffix("s")) > ServerPart().drain


@pytest.mark.parametrize("name", files.gateways())
def test_a_gateway_keeps_the_health_check_of_its_image(name: str) -> None:
    assert "healthcheck" not in files.gateways()[name]
    assert FINAL.one("HEALTHCHECK")


def test_every_credential_and_address_of_the_shipped_configuration_can_be_given() -> None:
    assert names(shipped({}).raw) - set(_given("gateway")) == set()


def test_every_variable_that_is_passed_on_is_explained() -> None:
    explained = set(re.findall(r"[A-Z][A-Z0-9_]{2,}", files.text(".env.example")))
    passed = {name for name, value in _given("gateway").items() if value is None}
    assert passed - explained == set()


def test_a_dot_env_is_read_where_there_is_one() -> None:
    assert files.gateways()["gateway"]["env_file"] == [{"path": ".env", "required": False}]


def test_no_secret_stands_in_it() -> None:
    for service in files.gateways().values():
        given = {name for name, value in files.environment(service).items() if value is not None}
        secret = [name for name in given if re.search(r"KEY(?!_FILE)|SECRET|TOKEN", name)]
        assert not secret


def test_the_local_model_is_a_profile_with_the_extra_of_that_name() -> None:
    extras = tomllib.loads(files.text("pyproject.toml"))["project"]["optional-dependencies"]
    plain, variant = (files.gateways()[name] for name in ("gateway", "local-model"))
    assert "profiles" not in plain
    assert plain["build"] == "."
    assert variant["profiles"] == ["local-model"]
    build = files.mapping(variant["build"])
    assert files.mapping(build["args"])["EXTRAS"] in extras
    assert plain["image"] != variant["image"]


def test_no_provider_key_makes_the_local_model_step_aside() -> None:
    assert "env_file" not in files.gateways()["local-model"]
    assert not [name for name, value in _given("local-model").items() if value is None]


def test_redis_starts_with_these_options_and_evicts_only_what_expires(tmp_path: Path) -> None:
    """A real server reads the exact words of the compose file."""
    program = redis_program()
    if program is None:
        pytest.skip("no server of the Redis protocol: make dev, or apt-get install redis-server")
    name, *options = files.words(files.services()["redis"]["command"])
    assert name == "redis-server"
    port = find_free_port()
    here = ["--bind 127.0.0.1", f"--port {port}", f"--dir {tmp_path}"]
    with subprocess.Popen(
        [program, *options, *here], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as server:
        try:
            assert server.stdout
            output = ""
            for line in server.stdout:
                output += line
                if "Ready to accept connections" in line:
                    break
            else:
                pytest.fail(f"it did not start:\n{output}")
            client = redis.Redis(port=port)
            settings = client.config_get(
                "maxmemory", "maxmemory-policy", "appendonly", "appendfsync", "save"
            )
            client.close()
        finally:
            server.terminate()
            server.communicate(timeout=30)
    assert settings == {
        "maxmemory": str(256 * 1024 * 1024),
        "maxmemory-policy": "volatile-lru",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
    }


def test_what_redis_keeps_is_in_a_volume_and_its_health_is_checked() -> None:
    service = files.services()["redis"]
    (volume,) = files.words(service["volumes"])
    assert volume.partition(":")[0] in files.mapping(files.compose()["volumes"])
    assert volume.endswith(":/data")
    test = files.words(files.mapping(service["healthcheck"])["test"])
    assert test == ["CMD-SHELL", "redis-cli ping | grep -qx PONG"]


WATCHERS = ("prometheus", "grafana")


def test_prometheus_and_grafana_are_a_profile_that_reads_what_is_shipped() -> None:
    """Both read files of deploy/, and each has a volume for its own data."""
    named = files.mapping(files.compose()["volumes"])
    for name in WATCHERS:
        service = files.services()[name]
        assert service["profiles"] == ["observe"]
        assert service["cap_drop"] == ["ALL"]
        *shipped, kept = files.words(service["volumes"])
        assert kept.partition(":")[0] in named
        for mount in shipped:
            source, _, rest = mount.partition(":")
            assert (ROOT / source).is_dir()
            assert rest.endswith(":ro")
    image = str(files.services()["prometheus"]["image"])
    assert re.fullmatch(r"prom/prometheus:v\d+\.\d+\.\d+", image)


def test_prometheus_asks_the_gateway_where_it_listens() -> None:
    config = yaml.read(files.text("deploy/prometheus/prometheus.yml"), "prometheus.yml").value
    (job,) = [files.mapping(part) for part in files.listed(files.mapping(config)["scrape_configs"])]
    (static,) = [files.mapping(part) for part in files.listed(job["static_configs"])]
    assert files.words(static["targets"]) == [
        f"gateway:{_given('gateway')['TIERGATE_SERVER__PORT']}"
    ]
    for rules in files.words(files.mapping(config)["rule_files"]):
        assert (ROOT / "deploy/prometheus" / rules).is_file()


@pytest.mark.parametrize(("key", "status"), [("", 1), ("chosen", 0)])
def test_prometheus_has_the_key_that_the_gateway_asks_for(
    key: str, status: int, tmp_path: Path
) -> None:
    """Prometheus does not start without a key, and reads it from a file of its own.

    Nobody else may read that file. The script runs as it is written.
    """
    service = files.services()["prometheus"]
    assert files.environment(service) == {"METRICS_KEY": "${TIERGATE_METRICS__KEY:-}"}
    assert _given("gateway")["TIERGATE_METRICS__KEY"] is None
    config = yaml.read(files.text("deploy/prometheus/prometheus.yml"), "prometheus.yml").value
    (job,) = [files.mapping(part) for part in files.listed(files.mapping(config)["scrape_configs"])]
    written = str(files.mapping(job["authorization"])["credentials_file"])
    *shell, script = files.words(service["entrypoint"])
    assert f">{written}\n" in script
    assert "--config.file=/etc/prometheus/prometheus.yml" in script
    file = tmp_path / "key"
    text = script.replace("$$", "$").replace(written, str(file)).replace("/bin/prometheus", "echo")
    ran = subprocess.run(
        [*shell, text], env={"METRICS_KEY": key, "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == status
    if key:
        assert (file.read_text(), file.stat().st_mode & 0o777) == (key, 0o600)
    else:
        assert ran.stderr == "prometheus: set TIERGATE_METRICS__KEY\n"


@pytest.mark.parametrize(("password", "status"), [("", 1), ("chosen", 0)])
def test_grafana_lets_nobody_in_without_a_password_of_your_own(
    password: str, status: int, tmp_path: Path
) -> None:
    """Neither the initial password nor an empty one works; the script runs as it is written."""
    service = files.services()["grafana"]
    given = files.environment(service)
    assert given["GF_AUTH_ANONYMOUS_ENABLED"] == given["GF_USERS_ALLOW_SIGN_UP"] == "false"
    assert given["GF_SECURITY_ADMIN_PASSWORD"] == "${GRAFANA_PASSWORD:-}"
    home = str(given["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    (folder,) = [word for word in files.words(service["volumes"]) if "grafana-dashboards" in word]
    source, target, _ = folder.split(":")
    assert (ROOT / source / home.removeprefix(f"{target}/")).is_file()
    *shell, script = files.words(service["entrypoint"])
    run = tmp_path / "run.sh"
    run.write_text("#!/bin/sh\necho started\n")
    run.chmod(0o700)
    text = script.replace("$$", "$").replace("/run.sh", str(run))
    ran = subprocess.run(
        [*shell, text], env={"GF_SECURITY_ADMIN_PASSWORD": password, "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == status
    assert (ran.stdout, ran.stderr) == (
        ("started\n", "") if password else ("", "grafana: set GRAFANA_PASSWORD\n")
    )


def test_images_are_named_without_a_host() -> None:
    for service in files.services().values():
        assert not re.search(r"[.:][^/]*/", str(service["image"]))
