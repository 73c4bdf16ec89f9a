"""One gateway of a tree in a process of its own, and commands of that tree, as a user runs them."""

import json
import re
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.child import Child, until
from tests.twin.configuration import PROVIDER, TwinConfiguration, credentials
from tests.twin.trees import Tree

_LISTENING = re.compile(r"on http://127\.0\.0\.1:(\d+)")
_IN_FOLDER = ("sh", "-c", 'cd "$1" && shift && exec "$@"', "sh")
_RUNNER = Path(__file__).with_name("command_runner.py")
_START_TIMEOUT = 60.0
_COMMANDS_TIMEOUT = 120.0
"""Seconds for all commands together."""


@dataclass(frozen=True)
class Deployment:
    """A tree with all that its gateway and its commands need to run."""

    side: str
    """`base` or `tree`."""
    tree: Tree
    configuration: TwinConfiguration
    config: Path
    """The configuration file."""
    folder: Path
    """The folder that everything is written to."""
    provider: str
    """The URL of the scripted provider."""
    redis: str | None
    """The URL of its own Redis."""
    overrides: Mapping[str, str] = field(default_factory=dict)
    """Variables that this side alone has: a difference that a test plants."""

    @property
    def data(self) -> Path:
        """The data folder."""
        return self.folder / "data"

    @property
    def working_folder(self) -> Path:
        """An empty folder, the same for both: a gateway logs where it looks for a .env file."""
        return self.folder.parent / "working"

    @property
    def environ(self) -> dict[str, str]:
        """All variables."""
        return {
            "PYTHONPATH": str(self.tree.folder),
            "PYTHONUNBUFFERED": "1",
            "PYTHONHASHSEED": "0",  # else the order of a set is random
            "COLUMNS": "100",
            "TIERGATE_DATA": str(self.data),
            "TWIN_SIDE": f"twin-{self.side}",
            PROVIDER: self.provider,
            **credentials(self.config.parent, self.side),
            **self.configuration.environ,
            **({"REDIS_URL": self.redis} if self.redis else {}),
            **self.overrides,
        }


@dataclass
class GatewayProcess:
    """A running gateway."""

    deployment: Deployment
    child: Child
    port: int

    def stop(self) -> int:
        """Stop it as an operator does; return its exit status."""
        if not self.child.ended:
            self.child.signal(signal.SIGTERM)
        side = self.deployment.side
        until(lambda: self.child.ended, f"the gateway of {side} ends; {self.child.err[-3000:]}")
        return self.child.stop()


def start(deployment: Deployment) -> GatewayProcess:
    """Start a gateway, and wait until it listens. Raises RuntimeError with the end of its log."""
    deployment.folder.mkdir(parents=True)
    deployment.working_folder.mkdir(exist_ok=True)
    tree = deployment.tree
    program = [str(tree.python), "-m", "gateway", "--config", str(deployment.config)]
    command = [*_IN_FOLDER, str(deployment.working_folder), *program, "serve", "--port", "0"]
    child = Child(command, deployment.folder / "gateway", **deployment.environ)
    listening = until(
        lambda: _LISTENING.search(child.out) or (child.ended or None),
        "the gateway listens",
        _START_TIMEOUT,
    )
    if isinstance(listening, re.Match):
        return GatewayProcess(deployment, child, int(listening[1]))
    log = child.err[-3000:]
    child.stop()
    message = f"the gateway of {tree.name} does not start:\n{log}"
    raise RuntimeError(message)


def run_commands(
    deployment: Deployment, commands: Sequence[Sequence[str]]
) -> list[dict[str, object]]:
    """Run commands of a tree on the files that its gateway has left; return what they write."""
    environ = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(deployment.working_folder),
        "TIERGATE_CONFIG": str(deployment.config),
        **deployment.environ,
    }
    done = subprocess.run(
        [str(deployment.tree.python), str(_RUNNER)],
        cwd=deployment.working_folder,
        env=environ,
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        check=True,
        timeout=_COMMANDS_TIMEOUT,
    )
    outputs: list[dict[str, object]] = json.loads(done.stdout)
    return outputs
