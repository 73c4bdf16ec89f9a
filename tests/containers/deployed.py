"""Start each shipped way of deployment as its own files say, in a folder of its own.

The command, its words and its variables come from the files. The tests replace the folders of the
image or the machine, the port, Redis and PostgreSQL, which do not exist here, and the provider's
address: the provider is scripted.
"""

import configparser
import hashlib
import http.client
import re
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.containers import charts, files
from tests.containers.files import ROOT
from tests.e2e.child import Child, until
from tests.e2e.upstream import PATIENCE
from tests.mounted_secrets import mount_secrets

PROVIDER_KEY = "sk-proj-0123456789-never-shown"
ADMIN_KEY = "admin-key-0123456789-never-shown"
METRICS_KEY = "metrics-key-0123456789-never-shown"
CLIENT_KEY = "client-key-0123456789-never-shown"
ROOT_SECRET = "root-secret-0123456789-never-shown"
KEYS = f"alice={hashlib.sha256(CLIENT_KEY.encode()).hexdigest()}"
CONFIG = ROOT / "config" / "gateway.yaml"
_SECRET = {
    "TIERGATE_SECRET": ROOT_SECRET,
    "TIERGATE_KEYS": KEYS,
    "TIERGATE_METRICS__KEY": METRICS_KEY,
}
"""The Secret of pods."""
_ON = re.compile(r" on http://[\d.]+:(\d+)")
_FIRST = re.compile(r"tg-[0-9a-f]{64}")


@dataclass(frozen=True)
class Way:
    """The start of one deployment, with the variables that its docs ask of the operator."""

    words: Sequence[str]
    environ: Mapping[str, str] = field(default_factory=dict)
    keyed: bool = True
    """True if its clients need a key."""
    admin: bool = True
    """True if its operator has given an admin key."""
    files: Mapping[str, str] = field(default_factory=dict)
    """The content of each file of its secrets folder."""


def ways() -> dict[str, Callable[[], Way]]:
    """Return all ways of deployment, by name."""
    return {
        "make run": _process,
        "systemd": _unit,
        "compose": _compose,
        "fleet": _fleet,
        "kubernetes": _kubernetes,
        "helm": _helm,
    }


def _process() -> Way:
    """Read what `make run` starts: a gateway on this machine, as it ships."""
    rule = files.text("Makefile").partition("\nrun:")[2].partition("\n\n")[0]
    (command,) = re.findall(r"exec \.venv/bin/tiergate (.+)", rule)
    return Way(shlex.split(command), keyed=False, admin=False)


def _unit() -> Way:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(ROOT / "deploy" / "tiergate.service")
    program, *words = shlex.split(parser["Service"]["ExecStart"])
    assert program.endswith("/bin/tiergate")
    given = {"TIERGATE_SECRET": ROOT_SECRET, "TIERGATE_ADMIN_KEY": ADMIN_KEY}
    return Way(words, {**dict([parser["Service"]["Environment"].split("=")]), **given}, keyed=False)


def _compose() -> Way:
    service = files.gateways()["gateway"]
    shell = {"TIERGATE_ADMIN_KEY": ADMIN_KEY, "TIERGATE_METRICS__KEY": METRICS_KEY}
    given = {
        name: shell.get(name, "") if value is None else value
        for name, value in files.environment(service).items()
    }
    return Way(files.words(service["command"]), given)


def _fleet() -> Way:
    """Read the gateways of deploy/compose.yml, which run the image's own command."""
    text = (ROOT / "deploy" / "compose.yml").read_text()
    service = YAML(typ="safe").load(text)["services"]["gateway-1"]
    shell = {
        "TIERGATE_ADMIN_KEY": ADMIN_KEY,
        "TIERGATE_SECRET": ROOT_SECRET,
        "TIERGATE_KEYS": KEYS,
    }
    given = dict(item.partition("=")[::2] for item in service["environment"])
    return Way(["serve"], {**given, **shell})


def _kubernetes() -> Way:
    documents = YAML(typ="safe").load_all((ROOT / "deploy" / "kubernetes.yaml").read_text())
    fleet: Any = next(variable for variable in documents if variable["kind"] == "StatefulSet")
    (container,) = fleet["spec"]["template"]["spec"]["containers"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["path"] in ("/health", "/ready")
    env = {variable["name"]: str(variable["value"]) for variable in container["env"]}
    return Way(container["args"], {**env, **_SECRET}, admin=False)


def _helm() -> Way:
    """Read the pods of the chart's default values, whose secret is a folder."""
    (container,) = charts.find_pod(charts.render())["spec"]["containers"]
    env = {variable["name"]: str(variable["value"]) for variable in container["env"]}
    return Way(container["args"], env, admin=False, files=_SECRET)


@dataclass(frozen=True)
class DeployedReply:
    """An answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Deployed:
    """A gateway that was started in one of the ways."""

    def __init__(self, name: str, folder: Path, provider: str) -> None:
        way = ways()[name]()
        self.name, self.keyed, self.admin = name, way.keyed, way.admin
        words = [str(CONFIG) if word.endswith("/gateway.yaml") else word for word in way.words]
        replaced = {
            "TIERGATE_DATA": str(folder / "data"),
            "TIERGATE_KEY_FILE": str(folder / "data" / "keys.yaml"),
            "TIERGATE_CONFIG": str(CONFIG),
            "TIERGATE_SECRETS_FOLDER": str(folder / "secrets"),
            "REDIS_URL": "",
            "TIERGATE_LEDGER__STORE": "",
        }
        environ = {one: replaced.get(one, value) for one, value in way.environ.items() if value}
        self.given = frozenset({*environ.values(), *way.files.values()})
        """Values of its variables, from its files and its operator."""
        environ |= {
            "TIERGATE_DATA": replaced["TIERGATE_DATA"],
            "TIERGATE_SERVER__PORT": "0",
            "TIERGATE_SERVER__LB_DELAY": "0s",
            "TIERGATE_SERVER__MAX_LAG": "0s",  # a busy machine must not shed load
            "OPENAI_API_KEY": PROVIDER_KEY,
            "TIERGATE_PROVIDERS__OPENAI__BASE_URL": f"{provider}/v1",
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
        }
        (folder / "data").mkdir(parents=True)
        mount_secrets(folder / "secrets", 1, **way.files)
        self.child = Child([sys.executable, "-m", "gateway", *words], folder / "gateway", **environ)
        self.port = until(self._listens, f"listening; {folder}/gateway.err says why", 60.0)
        first = _FIRST.search(self.child.out)
        self.key = CLIENT_KEY if first is None else first[0]
        self.replies: list[DeployedReply] = []
        """All its answers."""

    def _listens(self) -> int:
        with suppress(FileNotFoundError):  # the shell has not started it yet
            match = _ON.search(self.child.out)
            return 0 if match is None or "  curl " not in self.child.out else int(match[1])
        return 0

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> DeployedReply:
        """Send a request exactly as it is written: neither the path nor Host is changed."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            client.putrequest(method, path, skip_host="host" in named, skip_accept_encoding=True)
            for header, value in {"content-length": str(len(body)), **named}.items():
                client.putheader(header, value)
            client.endheaders()
            with suppress(ConnectionError):  # the gateway may refuse it early
                client.send(body)
            answer = client.getresponse()
            headers = {header.lower(): value for header, value in answer.getheaders()}
            reply = DeployedReply(answer.status, headers, answer.read())
        finally:
            client.close()
        self.replies.append(reply)
        return reply

    def stop(self) -> None:
        """End the process."""
        self.child.stop()
