"""The expected results of the samples.

`python -m tests.importers.expected_results` writes the files that tests compare with.
"""

from pathlib import Path

from gateway.cli.import_config import _load_shipped_providers
from gateway.importers import writer
from gateway.importers.draft import ConfigDraft
from gateway.importers.providers import ShippedProviders
from gateway.importers.reader import convert_config

SAMPLES = Path(__file__).parent / "samples"
FILES = {"litellm": "litellm.yaml", "portkey": "portkey.json", "ccr": "ccr.json"}
SHIPPED: ShippedProviders = _load_shipped_providers()
FEW = ShippedProviders([])
"""The shipped providers with a few models of our own, because shipped models change each month."""
FEW.providers = SHIPPED.providers
FEW.models = {
    "claude-haiku-5-5": {"vision": True, "price": {"input": 0.1, "output": 0.5}},
    "claude-opus-5-5": {"like": "claude-haiku-5-5", "price": {"input": 4, "output": 20}},
    "gemini-small": {"context": 1_000_000, "price": {"input": 0.3, "output": 2.5}},
}
FEW.labs = {"google": {"fast": [{"provider": "gemini", "model": "gemini-small"}]}}


def draft(kind: str, shipped: ShippedProviders = SHIPPED) -> ConfigDraft:
    file = SAMPLES / FILES[kind]
    return convert_config(kind, file.read_text("utf-8"), file.name, shipped, {})


def golden(kind: str) -> str:
    """Return the configuration, the lines for .env with secrets left out, and the report."""
    drafted = draft(kind, FEW)
    env = {
        n: "<secret>" if n in drafted.secret_names else v
        for n, v in writer.format_env_lines(drafted).items()
    }
    notes = sorted(drafted.notes, key=lambda note: note.line or 0)
    return "\n".join(
        [
            writer.format_config(drafted, FILES[kind]),
            *(f"# .env {name}={value}" for name, value in env.items()),
            "",
            *(f"# {note.line}: {note.fate} {note.path}: {note.text}" for note in notes),
            "",
        ]
    )


if __name__ == "__main__":
    for kind in FILES:
        (SAMPLES / f"{kind}.golden.yaml").write_text(golden(kind), "utf-8")
