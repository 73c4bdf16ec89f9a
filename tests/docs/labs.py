"""Make the tables of docs/labs.md from the labs that ship.

`python -m tests.docs.labs` writes them anew.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gateway.core.rates import Rates
from gateway.core.target import TIERS, Lab, Target
from gateway.dialects import TARGET_OPERATIONS
from gateway.runtime.build import build_config
from gateway.settings import yaml
from gateway.settings.loader import load

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "labs.md"
_BEGIN, _END = "<!-- tables -->\n", "<!-- end of tables -->\n"
_VARIABLE = re.compile(r"\$\{([A-Z][A-Z_0-9]*)")
_DAY = datetime(2026, 11, 24, tzinfo=UTC)
"""The tables show the prices of this day."""


def page(text: str) -> str:
    """Return the page with its tables made anew."""
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    made = build_config(load(ROOT / "config/gateway.yaml", every_key()), _DAY)
    labs = made.built_catalogue.catalogue.labs
    return f"{before}{_BEGIN}\n{_labs(labs)}\n{_hosts(labs)}\n{_END}{after}"


def every_key() -> dict[str, str]:
    """Return a value for every variable in the labs' files, so that every lab is enabled."""
    texts = (file.read_text("utf-8") for file in ROOT.glob("config/labs/*.yaml"))
    names = {name for text in texts for name in _VARIABLE.findall(text)}
    url = "https://models.example.com"
    labs = {
        name: url if name.endswith(("URL", "ENDPOINT")) else "key-of-a-provider" for name in names
    }
    return labs | {"VLLM_MODEL": "VLLM_MODEL"}


def _labs(labs: Mapping[str, Lab]) -> str:
    lines = [f"| lab | {' | '.join(TIERS)} |", "|---|" + "---|" * len(TIERS)]
    for name, lab in sorted(labs.items()):
        cells = [_target(lab.tiers[tier]) for tier in TIERS]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _target(targets: tuple[Target, ...]) -> str:
    """Describe a tier's first target, and how many more follow."""
    if not targets:
        return ""
    first = targets[0]
    cell = f"`{first.model}`" + (f", effort {first.effort}" if first.effort else "")
    rates = (
        first.price.find_in_force(_DAY.timestamp()).rates if first.price is not None else Rates()
    )
    cell += f"; {_usd(rates.input)} / {_usd(rates.output)}"
    return f"{cell}; {len(targets) - 1} more" if len(targets) > 1 else cell


def _usd(rate: object) -> str:
    return "?" if rate is None else f"{rate}"


def _hosts(labs: Mapping[str, Lab]) -> str:
    lines = ["| set | provider | dialects | labs |", "|---|---|---|---|"]
    dialects = [name for name, operation in TARGET_OPERATIONS if operation == "generate"]
    parts: dict[str, Any] = {}
    for file in ROOT.glob("config/labs/*.yaml"):
        value: Any = yaml.read(file.read_text("utf-8"), file.name).value
        parts |= value.get("providers", {})
    for name, part in sorted(parts.items(), key=lambda item: (_variables(item[1]), item[0])):
        served = [f"`{lab}`" for lab, it in sorted(labs.items()) if name in _providers(it)]
        if served:
            cell = ", ".join(f"`{dialect}`" for dialect in dialects if dialect in part["dialects"])
            both = " and " if "enable" in part else " or "
            named = both.join(f"`{dialect}`" for dialect in _variables(part)) or "no key"
            lines.append(f"| {named} | `{name}` | {cell} | {', '.join(served)} |")
    return "\n".join(lines) + "\n"


def _variables(part: Mapping[str, Any]) -> list[str]:
    """Return the variables that enable a lab."""
    keys = () if part.get("optional_key") else part.get("accounts", {}).values()
    texts = [*([part["enable"]] if "enable" in part else ()), *keys]
    return [name for text in texts for name in _VARIABLE.findall(text)]


def _providers(lab: Lab) -> set[str]:
    return {target.provider.name for targets in lab.tiers.values() for target in targets}


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text("utf-8")), "utf-8")
