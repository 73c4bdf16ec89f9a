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
    (found,) = documents("compose.yml")
    told: dict[str, Any] = found["services"]
    return told


def given(service: dict[str, Any]) -> dict[str, str]:
    return dict(item.partition("=")[::2] for item in service["environment"])


def test_nginx_asks_the_gateways_that_there_are(services: dict[str, Any]) -> None:
    named = re.findall(r"server (gateway-\d):(\d+) ", NGINX)
    gateways = [name for name, one in services.items() if one["image"] == "tiergate"]
    assert [name for name, _ in named] == gateways == services["nginx"]["depends_on"]
    for name, port in named:
        assert given(services[name])["TIERGATE_SERVER__PORT"] == port
    (port,) = services["nginx"]["ports"]
    assert port.startswith("127.0.0.1:")
    assert f"listen {port.rpartition(':')[2]};" in NGINX
    assert [name for name, one in services.items() if "ports" in one] == ["nginx"]


def test_nginx_parts_from_a_gateway_before_that_parts_from_it() -> None:
    """Keep-alive time and body size fit the gateway's, and nginx sends no call twice."""
    kept = re.search(r"keepalive_timeout (\d+)s;", NGINX)
    most = re.search(r"client_max_body_size (\d+)m;", NGINX)
    assert kept
    assert most
    assert int(kept[1]) < ServerPart().lb_delay < ServerPart().drain - 2
    assert int(kept[1]) < ServerPart().timeouts.idle
    assert int(most[1]) * 2**20 >= ServerPart().max_body
    assert "proxy_next_upstream error timeout;" in NGINX
    assert "proxy_buffering off;" in NGINX
    assert "non_idempotent" not in NGINX


def test_haproxy_looks_twice_before_a_gateway_stops_and_waits_as_long_as_it_does(
    services: dict[str, Any],
) -> None:
    """HAProxy sends no call twice, and cuts none while a model thinks."""
    named = re.findall(r"^ +server (gateway-\d) (gateway-\d):(\d+)$", HAPROXY, re.MULTILINE)
    assert [(one, host) for one, host, _ in named] == [(name, name) for name in services if name.startswith("gateway")]  # fmt: skip
    assert {int(port) for *_, port in named} == {ServerPart().port}
    every = re.search(r"check inter (\d+)s fall 1", HAPROXY)
    assert every
    assert 2 * int(every[1]) <= ServerPart().lb_delay
    assert "http-check send meth GET uri /ready" in HAPROXY
    assert re.findall(r"retry-on (.*)", HAPROXY) == ["conn-failure"]
    silence = max(max(one.headers, one.first_content, one.idle) for one in DEFAULT_TIMERS.values())
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
    told = subprocess.run(
        [program, "verify", str(unit)], capture_output=True, text=True, check=False
    )
    assert (told.returncode, told.stderr) == (0, "")
    told = subprocess.run(
        [program, "security", "--offline=true", "--threshold=15", str(unit)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert told.returncode == 0, told.stdout


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
    gateways = [one for one in services.values() if one["image"] == "tiergate"]
    assert all(one["environment"] == gateways[0]["environment"] for one in gateways)
    assert len({one["volumes"][0] for one in gateways}) == len(gateways)
    told = given(gateways[0])
    nodes = {one["networks"]["fleet"]["ipv4_address"] for name, one in services.items() if re.match(r"redis-\d", name)}  # fmt: skip
    assert told["REDIS_URL"] == "redis+cluster://" + ",".join(f"{ip}:6379" for ip in sorted(nodes))
    assert nodes <= set(re.findall(r"[\d.]{9,}", services["cluster"]["command"][2]))
    assert "@postgres/" in told["TIERGATE_LEDGER__STORE"]
    for name in ("TIERGATE_SECRET", "TIERGATE_KEYS"):
        assert told[name].startswith(f"${{{name}:?"), "it does not start without"
    assert "TIERGATE_SERVER__OPEN" not in told
    plain = files.services()["redis"]
    for name in ("redis-1", "redis-2", "redis-3"):
        assert set(files.words(plain["command"])) < set(services[name]["command"])
    for one in gateways:
        assert int(one["stop_grace_period"].removesuffix("s")) >= ServerPart().drain + 5
        assert one["read_only"] is True


def test_the_unit_starts_what_there_is_and_replaces_workers_to_reload() -> None:
    unit = configparser.RawConfigParser(strict=False)  # some keys stand twice
    unit.optionxform = str  # type: ignore[assignment, method-assign]  # as it is written
    unit.read_string((FOLDER / "tiergate.service").read_text())
    service = unit["Service"]
    words = service["ExecStart"].split()[1:]
    assert {"serve", "--config"} <= set(words)
    options = {option for one in command.params for option in one.opts}
    assert {"--workers"} <= options
    assert int(words[words.index("--workers") + 1]) > 1
    assert service["ExecReload"] == "/bin/kill -USR2 $MAINPID"
    assert service["KillMode"] == "mixed"  # systemd signals the supervisor alone
    assert int(service["TimeoutStopSec"]) >= ServerPart().drain + 5


def test_kubernetes_looks_where_the_gateway_answers_and_waits_for_its_end() -> None:
    service, each, budget, fleet = documents("kubernetes.yaml")
    pod = fleet["spec"]["template"]["spec"]
    (one,) = pod["containers"]
    assert fleet["kind"] == "StatefulSet"
    assert (each["spec"]["clusterIP"], each["metadata"]["name"]) == ("None", fleet["spec"]["serviceName"])  # fmt: skip
    labels = fleet["spec"]["template"]["metadata"]["labels"]
    assert fleet["spec"]["selector"]["matchLabels"] == each["spec"]["selector"] == labels
    assert budget["spec"] == {"maxUnavailable": 1, "selector": {"matchLabels": labels}}
    assert budget["spec"]["maxUnavailable"] < fleet["spec"]["replicas"]
    (spread,) = pod["topologySpreadConstraints"]
    assert spread["labelSelector"]["matchLabels"] == labels
    started = one["startupProbe"]
    assert started["httpGet"] == one["livenessProbe"]["httpGet"]
    assert started["periodSeconds"] * started["failureThreshold"] >= 60
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert service["spec"]["selector"] == fleet["spec"]["template"]["metadata"]["labels"]
    assert one["readinessProbe"]["httpGet"] == {"path": "/ready", "port": "http"}
    assert one["livenessProbe"]["httpGet"]["path"] == "/health"
    assert one["ports"] == [{"name": "http", "containerPort": ServerPart().port}]
    user = files.stages()[-1].one("USER").partition(":")[0]
    assert pod["securityContext"]["runAsUser"] == int(user)
    assert pod["terminationGracePeriodSeconds"] >= ServerPart().drain + 5
    given = {item["name"]: item["value"] for item in one["env"]}
    probe = one["readinessProbe"]
    delay = float(given["TIERGATE_SERVER__LB_DELAY"].removesuffix("s"))
    assert 2 * probe["periodSeconds"] * probe["failureThreshold"] <= delay < ServerPart().drain
    mounts = {mount["name"] for mount in one["volumeMounts"]}
    volumes = {volume["name"] for volume in pod["volumes"]}
    (disk,) = fleet["spec"]["volumeClaimTemplates"]
    assert mounts == volumes | {disk["metadata"]["name"]}
    assert one["securityContext"]["readOnlyRootFilesystem"] is True


def test_the_configuration_for_a_configmap_is_one(tmp_path: Path) -> None:
    """The image's folders replace those of this machine, as the Dockerfile copies them."""
    (block,) = [one for one in pages.blocks() if one.page == "deployment.md" and one.kind == "yaml"]
    file = tmp_path / "gateway.yaml"
    file.write_text(block.text.replace("/app/config/", f"{ROOT}/config/"))
    made = build_config(load(file, {"ANTHROPIC_API_KEY": "x"}), datetime.now(UTC))
    assert made.source.config.server.host == "0.0.0.0"
    assert made.source.config.default.lab == "anthropic"


@pytest.mark.parametrize("name", ["nginx", "haproxy"])
def test_what_the_documents_say_of_a_balancer_stands_in_its_file(name: str) -> None:
    """Each setting of the table stands in the file, word by word."""
    text = {"nginx": NGINX, "haproxy": HAPROXY}[name]
    (found,) = [
        one for one in pages.tables() if one.page == "deployment.md" and "nginx" in one.head
    ]
    at = found.head.index({"nginx": "nginx", "haproxy": "HAProxy"}[name])
    said = [code for row in found.rows for code in pages.codes(row[at])]
    said = [code for code in said if not code.startswith("/") and code not in ("non_idempotent", "GET /ready")]  # fmt: skip
    assert len(said) > 4
    for code in said:
        assert code in re.sub(r" +", " ", text), code


def test_every_extra_is_told() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    told = [pages.codes(row[0])[0] for row in pages.table("extra", "deployment.md").rows]
    assert sorted(told) == sorted(extras)


def test_what_commands_of_the_documents_name_is_there() -> None:
    """Each named file of deploy/, compose service or profile, and Kubernetes object exists."""
    text = "\n".join(one.text for one in pages.blocks() if one.page == "deployment.md")
    for path in re.findall(r"deploy/[\w.]+", text):
        assert (ROOT / path).is_file(), path
    profiles = {name for one in files.services().values() for name in files.words(one.get("profiles", []))}  # fmt: skip
    assert set(re.findall(r"--profile ([\w-]+)", text)) == profiles
    kinds = {(one["kind"].lower(), one["metadata"]["name"]) for one in documents("kubernetes.yaml")}
    assert set(re.findall(r"(statefulset)/([\w-]+)", text)) <= kinds
    image = documents("kubernetes.yaml")[-1]["spec"]["template"]["spec"]["containers"][0]
    assert set(re.findall(r"statefulset/tiergate (\w+)=", text)) == {image["name"]}
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert set(re.findall(r"tiergate-([\d.]+)-py3", text)) == {version}
