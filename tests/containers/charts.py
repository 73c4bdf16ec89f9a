"""Render the Helm chart with Helm's own code, and check the result against Kubernetes' schemas."""

import functools
import json
import subprocess
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

from tests.containers.files import ROOT

CHART = ROOT / "deploy" / "helm" / "tiergate"
NAMESPACE = "models"
VERSIONS = ("1.27", "1.37")
"""The oldest Kubernetes that the chart allows, and the newest with a schema."""

_PROGRAM = """
import json, sys
import helm_python
values = json.load(sys.stdin)
with helm_python.Chart.load(sys.argv[1]) as chart:
    try:
        chart.validate_schema(chart.merge_values(values))
        rendered = chart.render(values, name="tiergate", namespace=sys.argv[2])
    except helm_python.HelmError as error:
        sys.exit(str(error))
report = helm_python.lint(sys.argv[1], values, strict=True)
lines = [item["error"] for item in report["messages"] if item["severity"] > 1]
json.dump({"rendered": rendered, "lines": lines + report["errors"]}, sys.stdout)
"""
"""Renders in a process of its own: the library runs Go's threads."""


class RefusedValues(Exception):
    """The chart's schema refused values; the text says which."""


def render(values: Mapping[str, Any] | None = None) -> dict[str, list[Any]]:
    """Return the objects of each template. Raises RefusedValues."""
    if find_spec("helm_python") is None or find_spec("kubernetes_validate") is None:
        pytest.skip("no Helm: scripts/setup dev engines")
    return json.loads(_render(json.dumps(values or {})))  # type: ignore[no-any-return] # a new copy


@functools.cache
def _render(values: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(CHART), NAMESPACE],
        input=values, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    if result.returncode:
        raise RefusedValues(result.stderr)
    answer = json.loads(result.stdout)
    assert answer["lines"] == []
    objects = {}
    for path, text in answer["rendered"].items():
        name = path.rpartition("/")[2]
        if name == "NOTES.txt":
            objects[name] = [text]
        else:
            objects[name] = [item for item in YAML(typ="safe").load_all(text) if item]
    return json.dumps({name: items for name, items in objects.items() if items})


def check_schemas(objects: Mapping[str, list[Any]]) -> None:
    """Check each object against the schemas of Kubernetes, or of its custom resource."""
    import kubernetes_validate  # noqa: PLC0415 - of the group engines

    for name, items in objects.items():
        for item in items if name != "NOTES.txt" else []:
            assert item["metadata"]["name"].startswith("tiergate")
            if (schema := CUSTOM_RESOURCES.get(item["kind"])) is not None:
                jsonschema.validate(item, schema)
                continue
            for version in VERSIONS:
                kubernetes_validate.validate(item, version, strict=True)


def find(objects: Mapping[str, list[Any]], kind: str) -> Any:
    """Return the one object of a kind."""
    (match,) = [
        item for name, items in objects.items() if name != "NOTES.txt" for item in items
        if item["kind"] == kind
    ]  # fmt: skip
    return match


def find_pod(objects: Mapping[str, list[Any]]) -> Any:
    """Return the pod template of the workload."""
    (workload,) = objects["workload.yaml"]
    return workload["spec"]["template"]


def _object(required: str = "", **properties: object) -> dict[str, object]:
    return {
        "type": "object",
        "required": required.split(),
        "properties": properties,
        "additionalProperties": False,
    }


def _list(item: object) -> dict[str, object]:
    return {"type": "array", "minItems": 1, "items": item}


_TEXT: dict[str, object] = {"type": "string", "minLength": 1}
_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
_DURATION = {"type": "string", "pattern": r"^([0-9]+(h|m|s|ms)){1,4}$"}
_PORT = {"type": "integer", "minimum": 1, "maximum": 65535}


def _resource(api_version: str, kind: str, spec: object) -> dict[str, object]:
    return _object(
        "apiVersion kind metadata spec",
        apiVersion={"const": api_version},
        kind={"const": kind},
        metadata=_object("name", name=_TEXT, labels=_TEXTS, annotations=_TEXTS),
        spec=spec,
    )


CUSTOM_RESOURCES: dict[str, dict[str, object]] = {
    "ServiceMonitor": _resource(
        "monitoring.coreos.com/v1",
        "ServiceMonitor",
        _object(
            "endpoints selector",
            jobLabel=_TEXT,
            selector=_object("matchLabels", matchLabels=_TEXTS),
            endpoints=_list(
                _object(
                    "port",
                    port=_TEXT,
                    path={"type": "string", "pattern": "^/"},
                    interval=_DURATION,
                    authorization=_object(
                        "credentials", credentials=_object("name key", name=_TEXT, key=_TEXT)
                    ),
                )
            ),
        ),
    ),
    "HTTPRoute": _resource(
        "gateway.networking.k8s.io/v1",
        "HTTPRoute",
        _object(
            "parentRefs rules",
            parentRefs=_list(
                _object("name", name=_TEXT, namespace=_TEXT, sectionName=_TEXT, port=_PORT)
            ),
            hostnames=_list(_TEXT),
            rules=_list(
                _object(
                    "backendRefs",
                    backendRefs=_list(_object("name port", name=_TEXT, port=_PORT)),
                    timeouts=_object(request=_DURATION, backendRequest=_DURATION),
                )
            ),
        ),
    ),
    "ExternalSecret": _resource(
        "external-secrets.io/v1",
        "ExternalSecret",
        _object(
            "secretStoreRef target dataFrom",
            refreshInterval=_DURATION,
            secretStoreRef=_object(
                "kind name", kind={"enum": ["SecretStore", "ClusterSecretStore"]}, name=_TEXT
            ),
            target=_object(
                "name",
                name=_TEXT,
                creationPolicy={"enum": ["Owner", "Orphan", "Merge", "None"]},
            ),
            dataFrom=_list(_object("extract", extract=_object("key", key=_TEXT))),
        ),
    ),
}
"""The fields that the chart uses, by kind: no package has the schemas of these resources."""
