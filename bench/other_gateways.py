"""Other gateways from a registry, as they are shipped: one provider, one model, one key.

Only settings that would make a benchmark meaningless are changed: limits on requests per client are
lifted, and no gateway reads anything from the internet.
"""

import msgspec

from bench import install_size, machine
from bench.free_port import find_free_port
from bench.install_peers import PEER_PACKAGES, PeerPackage
from bench.install_size import Weight
from bench.load import Ask
from bench.peers import Peer, Place

WHOLE = frozenset({"plain", "single", "burst", "middle", "large"})
"""The loads without streams."""
MAIN = frozenset({"plain", "single", "paced"})
"""The loads that show whether a second set-up of a gateway costs less than its first."""
_KEY = f"sk-inf-bench-{0:040}"
_AUTHORIZED = (("authorization", f"Bearer {_KEY}"),)
_PROVIDER_KEY = (("authorization", "Bearer sk-mock"),)

ROLTER = """\
[server]
host = "127.0.0.1"
port = {port}

[queue]
enabled = false

[[providers]]
name = "mock"
kind = "openai_compatible"
api_base = "http://127.0.0.1:{upstream}"
api_key_env = "MOCK_API_KEY"

[[routes]]
model = "mock-smart"
[[routes.targets]]
provider = "mock"
model = "mock-smart"
"""


class Other(Peer):
    """A gateway of another project, installed by `bench.install_peers`."""

    installed_as: str | None = None
    """The name of its package; None if that is its own name."""

    def __init__(self) -> None:
        """Find the program. Raises `Missing` if it is not installed."""
        self._parcel = self.package()
        self._program = str(self._parcel.find())

    @classmethod
    def package(cls) -> PeerPackage:
        """Return the package that has its program."""
        return PEER_PACKAGES[cls.installed_as or cls.name]

    def version(self) -> str:
        """Return the pinned version."""
        return self._parcel.version

    def weight(self) -> Weight:
        """Weigh all that was installed with it."""
        return install_size.venv(self._parcel.folder)


class Ferrogw(Other):
    """Ferro Labs' gateway, a Go binary in a wheel."""

    name = "ferrogw"

    def command(self, place: Place) -> list[str]:
        """Configure one target: OpenAI at the mock."""
        config = {"strategy": {"mode": "single"}, "targets": [{"virtual_key": "openai"}]}
        (place.folder / "config.yaml").write_bytes(msgspec.json.encode(config))
        return [self._program, "serve"]

    def environment(self, place: Place) -> dict[str, str]:
        """Set one core, no limit on requests, and no catalogue from elsewhere."""
        return {
            "GATEWAY_CONFIG": "config.yaml",
            "PORT": str(place.port),
            "MASTER_KEY": f"fgw_{0:032}",
            "ALLOW_UNAUTHENTICATED_PROXY": "true",
            "OPENAI_API_KEY": "sk-mock",
            "OPENAI_BASE_URL": f"http://127.0.0.1:{place.upstream}/v1",
            "RATE_LIMIT_RPS": "0",
            "LOG_LEVEL": "error",
            "FERRO_MODEL_CATALOG_URL": "http://127.0.0.1:9/none",
            "GOMAXPROCS": "1",
        }

    def ask(self, place: Place) -> Ask:
        """Name a model that it knows."""
        return Ask("gpt-4o-mini")


class Airmux(Other):
    """airmux without its control plane: FastAPI and aiohttp."""

    name = "airmux"

    def command(self, place: Place) -> list[str]:
        """Configure one provider, one model and one key, in files."""
        model = {
            "model_id": "mock/mock-smart",
            "provider_id": "mock",
            "upstream_model": "mock-smart",
            "input_price_per_mtok": 0.15,
            "output_price_per_mtok": 0.6,
            "cache_read_price_per_mtok": 0.075,
            "cache_write_price_per_mtok": 0,
            "context_window": 1_000_000,
            "max_output_tokens": 16384,
            "input_modalities": ["text"],
            "output_modalities": ["text"],
            "capabilities": ["streaming", "tools"],
            "parameter_support": {"temperature": "supported"},
        }
        provider = {
            "provider_id": "mock",
            "kind": "openai_compatible",
            "base_url": f"http://127.0.0.1:{place.upstream}/v1",
        }
        files: dict[str, object] = {
            "airmux.yml": {
                "data_plane": {
                    "bundle": {"kind": "local", "path": "bundle.yml"},
                    "secrets": {"kind": "env"},
                    "events": {"kind": "devnull"},
                }
            },
            "bundle.yml": {
                "keys": [{"token": _KEY, "user_id": "01a21915-f38e-71a9-b8b7-1961b219feea"}],
                "taxonomy": "taxonomy.yml",
            },
            "taxonomy.yml": {"providers": [provider], "models": [model]},
        }
        for name, content in files.items():  # JSON is valid YAML
            (place.folder / name).write_bytes(msgspec.json.encode(content))
        port = str(place.port)
        return [self._program, "gateway", "serve", "--config", "airmux.yml", "--port", port]

    def environment(self, place: Place) -> dict[str, str]:
        """Set the provider's key."""
        return {"MOCK_API_KEY": "sk-mock"}

    def ask(self, place: Place) -> Ask:
        """Ask on its own path, with its key."""
        return Ask("mock/mock-smart", "/inf/v1/chat/completions", _AUTHORIZED)


class LiteLLM(Other):
    """LiteLLM's proxy, without a database."""

    name = "litellm"
    slow = 3.0

    def command(self, place: Place) -> list[str]:
        """Configure one model, and the key that it needs to start."""
        upstream = f"http://127.0.0.1:{place.upstream}/v1"
        model = {"model": "openai/mock", "api_base": upstream, "api_key": "sk-mock"}
        config = {
            "model_list": [{"model_name": "mock", "litellm_params": model}],
            "general_settings": {"master_key": _KEY},
            "litellm_settings": {"telemetry": False},
        }
        (place.folder / "config.yaml").write_bytes(msgspec.json.encode(config))
        where = ["--host", "127.0.0.1", "--port", str(place.port)]
        return [self._program, "--config", "config.yaml", *where]

    def environment(self, place: Place) -> dict[str, str]:
        """Use the prices that came with it."""
        return {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}

    def ask(self, place: Place) -> Ask:
        """Ask with its key."""
        return Ask("mock", headers=_AUTHORIZED)


class LiteLLMRust(LiteLLM):
    """LiteLLM with all of its parts in Rust: its core, and the server Granian.

    In 1.108.7 the core takes over `/v1/messages` of three providers, and no Chat Completions.
    """

    name = "litellm-rust"
    installed_as = "litellm"
    scenes = MAIN

    def command(self, place: Place) -> list[str]:
        """Serve with Granian in place of uvicorn."""
        return [*super().command(place), "--run_granian"]

    def environment(self, place: Place) -> dict[str, str]:
        """Turn the core on, for all that it can do."""
        return super().environment(place) | {"LITELLM_RUST": "true"}


class Rolter(Other):
    """rolter's data plane, a Rust binary in a wheel, without its control plane."""

    name = "rolter"

    def command(self, place: Place) -> list[str]:
        """Configure one provider and one model, without the queue, which sends calls one by one."""
        config = ROLTER.format(port=place.port, upstream=place.upstream)
        (place.folder / "rolter.toml").write_text(config)
        return [self._program, "gateway", "--config", "rolter.toml"]

    def environment(self, place: Place) -> dict[str, str]:
        """Set the provider's key."""
        return {"MOCK_API_KEY": "sk-mock"}


class Smg(Other):
    """Shepherd Model Gateway in front of one OpenAI; written in Rust, started by Python."""

    name = "smg"

    def command(self, place: Place) -> list[str]:
        """Name the provider; at `info`, the default, it would log each call twice."""
        where = ["--host", "127.0.0.1", "--port", str(place.port)]
        metrics = ["--prometheus-host", "127.0.0.1", "--prometheus-port", str(find_free_port())]
        upstream = ["--backend", "openai", "--worker-urls", f"http://127.0.0.1:{place.upstream}"]
        return [self._program, "launch", *where, *metrics, *upstream, "--log-level", "warn"]

    def ask(self, place: Place) -> Ask:
        """Send the provider's key, which it passes on."""
        return Ask(headers=_PROVIDER_KEY)


class VllmRouter(Other):
    """vLLM's load balancer in front of one server; written in Rust, started by Python."""

    name = "vllm-router"

    def command(self, place: Place) -> list[str]:
        """Name the one server."""
        where = ["--host", "127.0.0.1", "--port", str(place.port)]
        metrics = ["--prometheus-host", "127.0.0.1", "--prometheus-port", str(find_free_port())]
        upstream = ["--worker-urls", f"http://127.0.0.1:{place.upstream}"]
        return [self._program, *where, *metrics, *upstream]

    def ask(self, place: Place) -> Ask:
        """Send the provider's key, which it passes on."""
        return Ask(headers=_PROVIDER_KEY)


class Firstpass(Other):
    """firstpass, a Rust binary in a wheel, as it ships: it observes, and keeps a receipt of each call.

    The receipts are in SQLite's memory: on a disk it falls behind, drops some and works on afterwards.
    """

    name = "firstpass"

    def command(self, place: Place) -> list[str]:
        """Start it; the environment has all settings."""
        return [self._program]

    def environment(self, place: Place) -> dict[str, str]:
        """Set the providers and the store of receipts; at `info`, the default, it would log each call."""
        upstream = f"http://127.0.0.1:{place.upstream}"
        return {
            "FIRSTPASS_BIND": f"127.0.0.1:{place.port}",
            "FIRSTPASS_UPSTREAM_OPENAI": upstream,
            "FIRSTPASS_UPSTREAM_ANTHROPIC": upstream,
            "FIRSTPASS_DB": ":memory:",
            "FIRSTPASS_PROMPT_SALT": "bench",
            "RUST_LOG": "warn",
        }

    def ask(self, place: Place) -> Ask:
        """Send the provider's key, which it passes on."""
        return Ask("gpt-4o-mini", headers=_PROVIDER_KEY)


class Portkey(Other):
    """Portkey's gateway on node; as shipped it answers each stream with 500 on node 20."""

    name = "portkey"
    scenes = WHOLE

    def __init__(self) -> None:
        """Find node and the program. Raises `Missing` if one is not installed."""
        self._node = machine.find("node")
        super().__init__()

    def command(self, place: Place) -> list[str]:
        """Start it without its console."""
        return [self._node, self._program, "--headless", f"--port={place.port}"]

    def ask(self, place: Place) -> Ask:
        """Name the provider in each request."""
        upstream = f"http://127.0.0.1:{place.upstream}/v1"
        headers = (("x-portkey-provider", "openai"), ("x-portkey-custom-host", upstream))
        return Ask(headers=(*headers, *_PROVIDER_KEY))

    def weight(self) -> Weight:
        """Weigh all that npm installed, without node."""
        return install_size.modules(self._parcel.folder)


OTHERS: dict[str, type[Other]] = {
    other.name: other
    for other in (
        Ferrogw,
        Rolter,
        Smg,
        VllmRouter,
        Firstpass,
        Airmux,
        LiteLLM,
        LiteLLMRust,
        Portkey,
    )
}
