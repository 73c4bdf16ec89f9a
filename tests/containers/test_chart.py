"""The Helm chart renders what Kubernetes and the gateway accept, and refuses bad values."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from gateway.settings import environment
from gateway.settings.schema.root import Config
from gateway.settings.schema.server import ServerPart
from tests.cli.run import run
from tests.containers import charts
from tests.containers.charts import CHART, RefusedValues, check_schemas, find, find_pod, render
from tests.containers.files import ROOT
from tests.docs import pages

LEDGER = {"store": "${LEDGER_STORE}"}
NO_DISKS: dict[str, Any] = {"mode": "deployment", "config": {"version": 1, "ledger": LEDGER}}
EVERYTHING: dict[str, Any] = {
    "image": {"repository": "registry.example.com/tiergate", "digest": f"sha256:{'0' * 64}"},
    "imagePullSecrets": [{"name": "registry"}],
    "secret": {"name": "models-secrets"},
    "externalSecret": {"enabled": True, "store": {"name": "vault"}, "key": "prod/tiergate"},
    "disk": {"storageClass": "fast"},
    "service": {"annotations": {"a": "b"}},
    "autoscaling": {"enabled": True, "callsInFlight": 200},
    "networkPolicy": {"enabled": True, "from": [{"namespaceSelector": {"matchLabels": {"a": "b"}}}]},
    "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "httpRoute": {"enabled": True, "parentRefs": [{"name": "edge", "namespace": "gateways"}], "hostnames": ["models.example.com"]},
    "ingress": {"enabled": True, "className": "nginx", "annotations": {"a": "b"}, "host": "models.example.com", "tlsSecret": "tls"},
    "serviceAccount": {"create": True, "annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/tiergate"}},
    "podLabels": {"azure.workload.identity/use": "true"},
    "nodeSelector": {"pool": "models"},
    "tolerations": [{"key": "models", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {}},
    "priorityClassName": "high",
    "extraEnv": [{"name": "TIERGATE_LOG__CALLS", "value": "all"}],
    "extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}],
    "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/ca"}],
}  # fmt: skip
SECRETS = {
    "OPENAI_API_KEY": "sk-proj-0123456789abcdef",
    "LEDGER_STORE": "postgresql://db/tiergate",
    "TIERGATE_SECRET": "0123456789abcdef" * 4,
    "TIERGATE_KEYS": f"website={'0' * 64}",
    "TIERGATE_METRICS__KEY": "metrics-0123456789abcdef",
    "TIERGATE_ADMIN_KEY": "admin-0123456789abcdef",
}
SECRET_AS = ("files", "variables", "csi", "injected")


def environ(objects: dict[str, list[Any]]) -> dict[str, str]:
    """Return the variables of the gateway's container."""
    (container,) = find_pod(objects)["spec"]["containers"]
    return {item["name"]: item["value"] for item in container["env"]}


@pytest.mark.parametrize("mode", ["statefulset", "deployment"])
@pytest.mark.parametrize("values", [{}, EVERYTHING], ids=["default values", "everything on"])
def test_kubernetes_accepts_all_objects(mode: str, values: dict[str, Any]) -> None:
    objects = render({**values, **(NO_DISKS if mode == "deployment" else {})})
    check_schemas(objects)
    for kind, name in (("Service", "service.yaml"), ("PodDisruptionBudget", "disruptionbudget.yaml")):  # fmt: skip
        assert {item["kind"] for item in objects[name]} == {kind}
    every_template = {
        path.name for path in (CHART / "templates").iterdir() if not path.name.startswith("_")
    }
    missing = every_template - objects.keys()
    assert missing == (
        {"secret.yaml"}
        if values
        else every_template
        - {"NOTES.txt", "configmap.yaml", "disruptionbudget.yaml", "service.yaml", "workload.yaml"}
    )


def test_selectors_find_the_pods_and_names_fit_each_other() -> None:
    objects = render(EVERYTHING)
    labels = find_pod(objects)["metadata"]["labels"]
    service, each = objects["service.yaml"]
    (workload,) = objects["workload.yaml"]
    for selector in (
        service["spec"]["selector"],
        each["spec"]["selector"],
        workload["spec"]["selector"]["matchLabels"],
        find(objects, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        find(objects, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        *(item["labelSelector"]["matchLabels"] for item in find_pod(objects)["spec"]["topologySpreadConstraints"]),
    ):  # fmt: skip
        assert selector.items() <= labels.items()
    assert workload["spec"]["serviceName"] == each["metadata"]["name"]
    assert "replicas" not in workload["spec"]  # the autoscaler decides
    target = find(objects, "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("StatefulSet", workload["metadata"]["name"])
    monitored = find(objects, "ServiceMonitor")["spec"]["selector"]["matchLabels"]
    assert monitored.items() <= each["metadata"]["labels"].items()
    assert not monitored.items() <= service["metadata"]["labels"].items()
    assert each["metadata"]["labels"]["app.kubernetes.io/name"] == "tiergate"  # the job of alerts
    (rule,) = find(objects, "HTTPRoute")["spec"]["rules"]
    (backend,) = rule["backendRefs"]
    assert (backend["name"], backend["port"]) == ("tiergate", service["spec"]["ports"][0]["port"])
    (container,) = find_pod(objects)["spec"]["containers"]
    assert container["image"] == f"registry.example.com/tiergate@sha256:{'0' * 64}"
    account = find(objects, "ServiceAccount")["metadata"]["name"]
    assert find_pod(objects)["spec"]["serviceAccountName"] == account
    target = find(objects, "ExternalSecret")["spec"]["target"]["name"]
    (endpoint,) = find(objects, "ServiceMonitor")["spec"]["endpoints"]
    assert target == endpoint["authorization"]["credentials"]["name"] == "models-secrets"


def test_the_autoscaler_asks_for_a_metric_that_the_gateway_has() -> None:
    objects = render(EVERYTHING)
    cpu, calls = find(objects, "HorizontalPodAutoscaler")["spec"]["metrics"]
    assert cpu["resource"]["name"] == "cpu"
    name = calls["pods"]["metric"]["name"]
    assert name in {code for row in pages.table("metric", "observing.md").rows for code in pages.codes(row[0])}  # fmt: skip
    (only,) = find(render({"autoscaling": {"enabled": True}}), "HorizontalPodAutoscaler")["spec"]["metrics"]  # fmt: skip
    assert only == cpu


@pytest.mark.parametrize("form", SECRET_AS)
def test_the_gateway_reads_secrets_where_the_chart_mounts_them(form: str) -> None:
    objects = render({"secret": {"as": form, "name": "mine"}})
    check_schemas(objects)
    pod = find_pod(objects)["spec"]
    (container,) = pod["containers"]
    mounts = {item["name"]: item["mountPath"] for item in container["volumeMounts"]}
    volumes = {item["name"]: item for item in pod["volumes"]}
    folder = environ(objects).get(environment.SECRETS_FOLDER_VARIABLE)
    assert ("envFrom" in container) is (form == "variables") is (folder is None)
    assert ("secrets" in mounts) is ("secrets" in volumes) is (form in ("files", "csi"))
    if "secrets" in mounts:
        assert mounts["secrets"] == folder
        assert "mine" in str(volumes["secrets"])
    created = render({"secret": {"as": form, "create": {"REDIS_URL": "redis://redis"}}})
    check_schemas(created)
    assert find(created, "Secret")["stringData"] == {"REDIS_URL": "redis://redis"}


@pytest.mark.parametrize("values", [{}, NO_DISKS, {"shutdown": {"drain": 120, "deliver": 60}}])
def test_a_pod_may_take_longer_to_end_than_the_gateway_does(values: dict[str, Any]) -> None:
    """The grace period has the drain, the last delivery, and the 5 s of docs/operating.md."""
    objects = render(values)
    pod, given = find_pod(objects)["spec"], environ(objects)
    seconds = {name: int(value.removesuffix("s")) for name, value in given.items() if value.endswith("s") and value[:-1].isdigit()}  # fmt: skip
    drain, deliver = seconds["TIERGATE_SERVER__DRAIN"], seconds["TIERGATE_LEDGER__DELIVER_ON_STOP"]
    assert pod["terminationGracePeriodSeconds"] >= drain + deliver + 10
    assert deliver >= (30 if values is NO_DISKS else 0)
    (container,) = pod["containers"]
    probe = container["readinessProbe"]
    delay = seconds["TIERGATE_SERVER__LB_DELAY"]
    assert 2 * probe["periodSeconds"] * probe["failureThreshold"] <= delay < drain
    assert "lifecycle" not in container


def test_the_default_drain_is_that_of_the_gateway() -> None:
    assert environ(render())["TIERGATE_SERVER__DRAIN"] == f"{ServerPart().drain:.0f}s"


def test_names_of_variables_are_those_that_the_gateway_reads() -> None:
    for name in environ(render(EVERYTHING)):
        path = name.removeprefix("TIERGATE_").lower().split("__")
        if len(path) == 1:
            assert path[0] in environment.RESERVED_WORDS, name
            continue
        section = Config.model_fields[path[0]].annotation
        assert section is not None
        assert path[1] in section.model_fields, name


def test_modes_differ_in_the_disk_alone() -> None:
    """Without disks the journal is the pod's own, and a pod more starts before one ends."""
    with_disks, without = render({"config": NO_DISKS["config"]}), render(NO_DISKS)
    (fleet,), (workload,) = with_disks["workload.yaml"], without["workload.yaml"]
    assert (fleet["kind"], workload["kind"]) == ("StatefulSet", "Deployment")
    volumes = {item["name"]: item for item in find_pod(without)["spec"]["volumes"]}
    (claim,) = fleet["spec"]["volumeClaimTemplates"]
    assert volumes.pop(claim["metadata"]["name"])["emptyDir"] == {"sizeLimit": "10Gi"}
    assert {item["name"]: item for item in find_pod(with_disks)["spec"]["volumes"]} == volumes
    assert workload["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    differing = {key for key in ("containers", "securityContext", "terminationGracePeriodSeconds") if find_pod(with_disks)["spec"][key] != find_pod(without)["spec"][key]}  # fmt: skip
    assert differing == {"containers", "terminationGracePeriodSeconds"}  # by DELIVER_ON_STOP


BAD_VALUES: list[tuple[dict[str, Any], str]] = [
    ({"mode": "daemonset"}, "'/mode'"),
    ({"replica": 3}, "'replica' not allowed"),
    ({"image": {"digest": "latest"}}, "'/image/digest'"),
    ({"mode": "deployment"}, "'/config': missing property 'ledger'"),
    ({"mode": "deployment", "config": {"version": 1, "ledger": {"store": "sqlite:///x.db"}}}, "'/config/ledger/store'"),
    ({"mode": "deployment", "config": {"version": 1, "ledger": {"sinks": {}}}}, "'/config/ledger/sinks'"),
    ({"config": {"version": 2}}, "'/config/version'"),
    ({"secret": {"as": "vault"}}, "'/secret/as'"),
    ({"secret": {"create": {"REDIS_URL": 1}}}, "'/secret/create/REDIS_URL'"),
    ({"workers": 0}, "'/workers'"),
    ({"shutdown": {"lbDelay": 2}}, "'/shutdown/lbDelay'"),
    ({"shutdown": {"drain": "25s"}}, "'/shutdown/drain'"),
    ({"disk": {"size": "fifty"}}, "'/disk/size'"),
    ({"autoscaling": {"cpu": 0}}, "'/autoscaling/cpu'"),
    ({"networkPolicy": {"ports": []}}, "'/networkPolicy/ports'"),
    ({"httpRoute": {"enabled": True}}, "'/httpRoute/parentRefs'"),
    ({"ingress": {"enabled": True}}, "'/ingress/host'"),
    ({"externalSecret": {"enabled": True}}, "'/externalSecret/store/name'"),
]  # fmt: skip


@pytest.mark.parametrize(("values", "name"), BAD_VALUES, ids=str)
def test_the_schema_refuses_bad_values_and_names_them(values: dict[str, Any], name: str) -> None:
    with pytest.raises(RefusedValues, match=name):
        render(values)


def test_a_sink_keeps_the_rows_of_pods_without_disks() -> None:
    config = {"version": 1, "ledger": {"sinks": {"lake": "s3://lake"}}}
    check_schemas(render({"mode": "deployment", "config": config}))
    check_schemas(render({"mode": "deployment", "existingConfigMap": "mine"}))


@pytest.mark.parametrize("values", [{}, NO_DISKS])
def test_the_gateway_accepts_the_rendered_configuration(
    tmp_path: Path, values: dict[str, Any]
) -> None:
    """The image's folders replace those of this machine, as the Dockerfile copies them."""
    base = YAML(typ="safe").load((CHART / "values.yaml").read_text())["config"]
    config = {**base, **values.get("config", {})}
    objects = render({**values, "config": config})
    file = tmp_path / "gateway.yaml"
    text = find(objects, "ConfigMap")["data"]["gateway.yaml"]
    file.write_text(text.replace("/app/config/", f"{ROOT}/config/"))
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    for name, text in SECRETS.items():
        (secrets / name).write_text(f"{text}\n")
    given = environ(objects) | {
        environment.SECRETS_FOLDER_VARIABLE: str(secrets),
        "TIERGATE_CONFIG": str(file),
        "TIERGATE_DATA": str(tmp_path),
    }
    result = run("check", "--strict", environ=given)
    assert result.exit_code == 0, result.output
    (secrets / "LEDGER_STORE").unlink()
    assert run("check", environ=given).exit_code == (1 if values else 0)


def test_the_plain_manifests_are_the_chart_in_short() -> None:
    """deploy/kubernetes.yaml differs from the default values where a person fills in names."""
    plain = list(YAML(typ="safe").load_all((ROOT / "deploy" / "kubernetes.yaml").read_text()))
    objects = render()
    (workload,) = objects["workload.yaml"]
    assert [item["kind"] for item in plain] == ["Service", "Service", "PodDisruptionBudget", "StatefulSet"]  # fmt: skip
    check_schemas({"kubernetes.yaml": plain})
    service, each, budget, fleet = plain
    for ours, theirs in zip((service, each), objects["service.yaml"], strict=True):
        assert ours["metadata"]["name"] == theirs["metadata"]["name"]
        assert ours["spec"]["ports"] == theirs["spec"]["ports"]
    assert budget["spec"]["maxUnavailable"] == find(objects, "PodDisruptionBudget")["spec"]["maxUnavailable"]  # fmt: skip
    for key in ("replicas", "serviceName", "podManagementPolicy", "volumeClaimTemplates"):
        assert fleet["spec"][key] == workload["spec"][key]
    ours, theirs = fleet["spec"]["template"], workload["spec"]["template"]
    assert ours["metadata"]["annotations"] == theirs["metadata"]["annotations"]
    for key in ("terminationGracePeriodSeconds", "automountServiceAccountToken", "enableServiceLinks", "securityContext"):  # fmt: skip
        assert ours["spec"][key] == theirs["spec"][key], key
    (plain_container,), (container,) = ours["spec"]["containers"], theirs["spec"]["containers"]
    for key in ("args", "ports", "startupProbe", "readinessProbe", "livenessProbe", "resources", "securityContext"):  # fmt: skip
        assert plain_container[key] == container[key], key
    plain_environ = {item["name"]: item["value"] for item in plain_container["env"]}
    assert plain_environ.items() <= environ(objects).items()
    for item in plain_container["volumeMounts"]:
        assert item in container["volumeMounts"]


def test_the_chart_has_the_version_of_the_package() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    chart = YAML(typ="safe").load((CHART / "Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (version, version)


def test_each_value_has_a_place_in_the_schema_and_the_schema_no_more() -> None:
    values = YAML(typ="safe").load((CHART / "values.yaml").read_text())
    schema = YAML(typ="safe").load((CHART / "values.schema.json").read_text())

    def compare(value: object, part: Any, path: str) -> None:
        if isinstance(value, dict) and "properties" in part and path != ".config":
            assert part["additionalProperties"] is False, path
            assert value.keys() == part["properties"].keys() - {"global"}, path
            for name, item in value.items():
                compare(item, part["properties"][name], f"{path}.{name}")

    compare(values, schema, "")


def test_notes_name_the_secret_that_pods_wait_for() -> None:
    assert "create secret generic tiergate" in render()["NOTES.txt"][0]
    assert "create secret" not in render(EVERYTHING)["NOTES.txt"][0]
    assert charts.NAMESPACE in render()["NOTES.txt"][0]


def documented(reason: str) -> list[Any]:
    """Return the YAML blocks of the page that tests do not run for this reason."""
    return [
        YAML(typ="safe").load(block.text)
        for block in pages.blocks()
        if block.page == "deployment.md" and block.kind == "yaml" and reason in str(block.reason)
    ]


def test_values_in_the_documents_render() -> None:
    """All together too, but for the two ways to bring secrets in."""
    blocks = documented("values of the chart")
    assert len(blocks) == 4
    for values in blocks:
        check_schemas(render(values))
    no_disks, scaled, external, injected = blocks
    check_schemas(render({**no_disks, **scaled, **external}))
    (name,) = [key.rpartition("-")[2] for key in injected["podAnnotations"] if "inject-secret" in key]  # fmt: skip
    assert name == "OPENAI_API_KEY"  # a file of the folder, and so a variable
    assert environ(render(injected))[environment.SECRETS_FOLDER_VARIABLE] == "/vault/secrets"


def test_the_table_of_values_names_values_with_their_defaults() -> None:
    values = YAML(typ="safe").load((CHART / "values.yaml").read_text())
    table = pages.table("value", "deployment.md")
    for code in (code for row in table.rows for code in pages.codes(row[0])):
        name, _, inner = code.partition(".")
        assert name in values, code
        assert not inner or inner in values[name], code
    defaults = {row[0]: row[1] for row in table.rows}
    assert defaults["`replicas`, `workers`"] == f"{values['replicas']}, {values['workers']}"
    assert defaults["`mode`"] == f"`{values['mode']}`"
    shutdown = values["shutdown"]
    (seconds,) = [default for name, default in defaults.items() if "shutdown" in name]
    assert seconds == f"{shutdown['lbDelay']}, {shutdown['drain']}, {shutdown['deliver']}"


def test_other_autoscalers_of_the_documents_ask_for_the_same_metric() -> None:
    """KEDA decides the number of gateways alone if the chart gives none."""
    metric = "tiergate_calls_in_flight"
    (adapter,) = documented("a rule of prometheus-adapter")
    (keda,) = documented("an object of KEDA")
    assert adapter["rules"][0]["seriesQuery"].startswith(metric + "{")
    (trigger,) = keda["spec"]["triggers"]
    assert metric in trigger["metadata"]["query"]
    (workload,) = render({**NO_DISKS, "replicas": None})["workload.yaml"]
    assert "replicas" not in workload["spec"]
    target = keda["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == (workload["kind"], workload["metadata"]["name"])
