"""Files for fleets and service managers name things that exist, and agree with each other."""

import configparser
import re
import shutil
import subprocess
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from gateway.cli.serve.command import command
from gateway.core.target import DEFAULT_TIMERS
from gateway.runtime.build import build_config
from gateway.settings.loader import load
from gateway.settings.schema.server import ServerPart
from tests.containers import files
from tests.containers.files import ROOT
from tests.docs import pages

FOLDER = ROOT / "deploy"
NGINX = (FOLDER / "nginx.conf").read_text()
HAPROXY = (FOLDER / "haproxy.cfg").read_text()


def documents(name: str) -> list[Any]:
    return list(YAML(typ="safe").load_all((FOLDER / name).read_text()))


@pytest.fixture
def services() -> dict[str, Any]:
    (document,) = documents("compose.yml")
    services: dict[str, Any] = document["services"]
    return services


def given(service: dict[str, Any]) -> dict[str, str]:
    return dict(item.partition("=")[::2] for item in service["environment"])


def test_nginx_asks_the_gateways_that_there_are(services: dict[str, Any]) -> None:
    named = re.findall(r"server (gateway-\d):(\d+) ", NGINX)
    gateways = [name for name, service in services.items() if service["image"] == "tiergate"]
    assert [name for name, _ in named] == gateways == services["nginx"]["depends_on"]
    for name, port in named:
        assert given(services[name])["TIERGATE_SERVER__PORT"] == port
    (port,) = services["nginx"]["ports"]
    assert port.startswith("127.0.0.1:")
    assert f"listen {port.rpartition(':')[2]};" in NGINX
    assert [name for name, service in services.items() if "ports" in service] == ["nginx"]


def test_nginx_parts_from_a_gateway_before_that_parts_from_it() -> None:
    """Keep-alive time and body size fit the gateway's, and nginx sends no call twice."""
    kept = re.search(r"keepalive_timeout (\d+)s;", NGINX)
    most = re.search(r"client_max_body_size (\d+)m;", NGINX)
    assert kept
    assert most
    assert int(kept[1]) < ServerPart().lb_delay < ServerPart().drain - 2
    assert int(kept[1]) < ServerPart().timeouts.idle
    assert int(most[1]) * 2**20 >= ServerPart().max_upload
    assert "proxy_next_upstream error timeout;" in NGINX
    assert "proxy_buffering off;" in NGINX
    assert "proxy_request_buffering off;" in NGINX
    assert "non_idempotent" not in NGINX


def test_haproxy_looks_twice_before_a_gateway_stops_and_waits_as_long_as_it_does(
    services: dict[str, Any],
) -> None:
    """HAProxy sends no call twice, and cuts none while a model thinks."""
    named = re.findall(r"^ +server (gateway-\d) (gateway-\d):(\d+)$", HAPROXY, re.MULTILINE)
    assert [(timer, host) for timer, host, _ in named] == [(name, name) for name in services if name.startswith("gateway")]  # fmt: skip
    assert {int(port) for *_, port in named} == {ServerPart().port}
    every = re.search(r"check inter (\d+)s fall 1", HAPROXY)
    assert every
    assert 2 * int(every[1]) <= ServerPart().lb_delay
    assert "http-check send meth GET uri /ready" in HAPROXY
    assert re.findall(r"retry-on (.*)", HAPROXY) == ["conn-failure"]
    silence = max(
        max(timer.whole_headers or timer.headers, timer.first_content, timer.idle)
        for timer in DEFAULT_TIMERS.values()
    )
    waits = re.findall(r"timeout (?:client|server) +(\d+)s", HAPROXY)
    waits += re.findall(r"proxy_read_timeout (\d+)s", NGINX)
    assert len(waits) == 3
    assert min(int(wait) for wait in waits) > silence


def test_systemd_takes_the_unit_and_lets_it_do_little(tmp_path: Path) -> None:
    """The unit drops each privilege that a service with a network can do without."""
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("no systemd-analyze: apt-get install systemd")
    unit = tmp_path / "tiergate.service"
    text = (FOLDER / "tiergate.service").read_text()
    unit.write_text(text.replace("/opt/tiergate/bin/tiergate", "/bin/true"))
    result = subprocess.run(
        [program, "verify", str(unit)], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")
    result = subprocess.run(
        [program, "security", "--offline=true", "--threshold=15", str(unit)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout


def test_the_units_files_are_its_own_users() -> None:
    """The unit lets the gateway write only to its own state directory."""
    unit = (FOLDER / "tiergate.service").read_text()
    state = re.findall(r"^StateDirectory=(.+)$", unit, re.MULTILINE)
    data = re.findall(r"^Environment=TIERGATE_DATA=(.+)$", unit, re.MULTILINE)
    assert data == [f"/var/lib/{state[0]}"]
    assert "UMask=0077" in unit


def test_gateways_share_what_must_be_shared_and_have_a_disk_of_their_own(
    services: dict[str, Any],
) -> None:
    gateways = [gateway for gateway in services.values() if gateway["image"] == "tiergate"]
    assert all(gateway["environment"] == gateways[0]["environment"] for gateway in gateways)
    assert len({gateway["volumes"][0] for gateway in gateways}) == len(gateways)
    settings = given(gateways[0])
    nodes = {gateway["networks"]["fleet"]["ipv4_address"] for name, gateway in services.items() if re.match(r"redis-\d", name)}  # fmt: skip
    assert settings["REDIS_URL"] == "redis+cluster://" + ",".join(
        f"{ip}:6379" for ip in sorted(nodes)
    )
    assert nodes <= set(re.findall(r"[\d.]{9,}", services["cluster"]["command"][2]))
    assert "@postgres/" in settings["TIERGATE_LEDGER__STORE"]
    for name in ("TIERGATE_SECRET", "TIERGATE_KEYS"):
        assert settings[name].startswith(f"${{{name}:?"), "it does not start without"
    assert "TIERGATE_SERVER__OPEN" not in settings
    plain = files.services()["redis"]
    for name in ("redis-1", "redis-2", "redis-3"):
        assert set(files.words(plain["command"])) < set(services[name]["command"])
    for gateway in gateways:
        assert int(gateway["stop_grace_period"].removesuffix("s")) >= ServerPart().drain + 5
        assert gateway["read_only"] is True


def test_the_unit_starts_what_there_is_and_replaces_workers_to_reload() -> None:
    unit = configparser.RawConfigParser(strict=False)  # some keys stand twice
    unit.optionxform = str  # type: ignore[assignment, method-assign]  # as it is written
    unit.read_string((FOLDER / "tiergate.service").read_text())
    service = unit["Service"]
    words = service["ExecStart"].split()[1:]
    assert {"serve", "--config"} <= set(words)
    options = {option for param in command.params for option in param.opts}
    assert {"--workers"} <= options
    assert int(words[words.index("--workers") + 1]) > 1
    assert service["ExecReload"] == "/bin/kill -USR2 $MAINPID"
    assert service["KillMode"] == "mixed"  # systemd signals the supervisor alone
    assert int(service["TimeoutStopSec"]) >= ServerPart().drain + 5


def test_kubernetes_looks_where_the_gateway_answers_and_waits_for_its_end() -> None:
    service, each, budget, fleet = documents("kubernetes.yaml")
    pod = fleet["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert fleet["kind"] == "StatefulSet"
    assert (each["spec"]["clusterIP"], each["metadata"]["name"]) == ("None", fleet["spec"]["serviceName"])  # fmt: skip
    labels = fleet["spec"]["template"]["metadata"]["labels"]
    assert fleet["spec"]["selector"]["matchLabels"] == each["spec"]["selector"] == labels
    assert budget["spec"] == {"maxUnavailable": 1, "selector": {"matchLabels": labels}}
    assert budget["spec"]["maxUnavailable"] < fleet["spec"]["replicas"]
    (spread,) = pod["topologySpreadConstraints"]
    assert spread["labelSelector"]["matchLabels"] == labels
    started = container["startupProbe"]
    assert started["httpGet"] == container["livenessProbe"]["httpGet"]
    assert started["periodSeconds"] * started["failureThreshold"] >= 60
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert service["spec"]["selector"] == fleet["spec"]["template"]["metadata"]["labels"]
    assert container["readinessProbe"]["httpGet"] == {"path": "/ready", "port": "http"}
    assert container["livenessProbe"]["httpGet"]["path"] == "/health"
    assert container["ports"] == [{"name": "http", "containerPort": ServerPart().port}]
    user = files.stages()[-1].one("USER").partition(":")[0]
    assert pod["securityContext"]["runAsUser"] == int(user)
    assert pod["terminationGracePeriodSeconds"] >= ServerPart().drain + 5
    given = {item["name"]: item["value"] for item in container["env"]}
    probe = container["readinessProbe"]
    delay = float(given["TIERGATE_SERVER__LB_DELAY"].removesuffix("s"))
    assert 2 * probe["periodSeconds"] * probe["failureThreshold"] <= delay < ServerPart().drain
    mounts = {mount["name"] for mount in container["volumeMounts"]}
    volumes = {volume["name"] for volume in pod["volumes"]}
    (disk,) = fleet["spec"]["volumeClaimTemplates"]
    assert mounts == volumes | {disk["metadata"]["name"]}
    assert container["securityContext"]["readOnlyRootFilesystem"] is True


def test_the_configuration_for_a_configmap_is_one(tmp_path: Path) -> None:
    """The image's folders replace those of this machine, as the Dockerfile copies them."""
    (block,) = [
        page_block
        for page_block in pages.blocks()
        if page_block.page == "deployment.md"
        and "names folders of the image" in str(page_block.reason)
    ]
    file = tmp_path / "gateway.yaml"
    file.write_text(block.text.replace("/app/config/", f"{ROOT}/config/"))
    made = build_config(load(file, {"ANTHROPIC_API_KEY": "x"}), datetime.now(UTC))
    assert made.source.config.server.host == "0.0.0.0"
    assert made.source.config.default.lab == "anthropic"


@pytest.mark.parametrize("name", ["nginx", "haproxy"])
def test_what_the_documents_say_of_a_balancer_stands_in_its_file(name: str) -> None:
    """Each setting of the table stands in the file, word by word."""
    text = {"nginx": NGINX, "haproxy": HAPROXY}[name]
    (matching_table,) = [
        table for table in pages.tables() if table.page == "deployment.md" and "nginx" in table.head
    ]
    at = matching_table.head.index({"nginx": "nginx", "haproxy": "HAProxy"}[name])
    codes = [code for row in matching_table.rows for code in pages.codes(row[at])]
    codes = [code for code in codes if not code.startswith("/") and code not in ("non_idempotent", "GET /ready")]  # fmt: skip
    assert len(codes) > 4
    for code in codes:
        assert code in re.sub(r" +", " ", text), code


def test_the_deployment_page_lists_every_extra() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    listed = [pages.codes(row[0])[0] for row in pages.table("extra", "deployment.md").rows]
    assert sorted(listed) == sorted(extras)


def test_what_commands_of_the_documents_name_is_there() -> None:
    """Each named file of deploy/, compose service or profile, and Kubernetes object exists."""
    text = "\n".join(service.text for service in pages.blocks() if service.page == "deployment.md")
    for path in re.findall(r"deploy/[\w./-]+", text):
        assert (ROOT / path).exists(), path
    profiles = {name for service in files.services().values() for name in files.words(service.get("profiles", []))}  # fmt: skip
    assert set(re.findall(r"--profile ([\w-]+)", text)) == profiles
    kinds = {
        (service["kind"].lower(), service["metadata"]["name"])
        for service in documents("kubernetes.yaml")
    }
    assert set(re.findall(r"(statefulset)/([\w-]+)", text)) <= kinds
    image = documents("kubernetes.yaml")[-1]["spec"]["template"]["spec"]["containers"][0]
    assert set(re.findall(r"statefulset/tiergate (\w+)=", text)) == {image["name"]}
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert set(re.findall(r"tiergate-([\d.]+)-py3", text)) == {version}
