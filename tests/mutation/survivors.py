"""The lists: modules whose mutants are played, and mutants that no test can notice."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tests.mutation.play import Mutant

MODULES_FILE = Path(__file__).with_name("modules.yaml")
SURVIVORS_FILE = Path(__file__).with_name("survivors.yaml")


@dataclass(frozen=True)
class ListedSurvivor:
    """A mutant that survives, with the reason why no test can notice it."""

    function: str
    change: str
    reason: str


def read_modules(file: Path = MODULES_FILE) -> dict[str, list[str]]:
    """Return the modules whose mutants are played, each with the tests that are to notice them."""
    modules: dict[str, list[str]] = _read_yaml(file)
    return modules


def read_survivors(file: Path = SURVIVORS_FILE) -> dict[str, list[ListedSurvivor]]:
    """Return the listed survivors by module. Raises ValueError for an entry without a reason."""
    survivors: dict[str, list[ListedSurvivor]] = {}
    for module, entries in _read_yaml(file).items():
        for entry in entries:
            if set(entry) != {"function", "reason", "changes"} or not entry["reason"]:
                message = f"{file.name}: an entry needs function, reason and changes: {entry}"
                raise ValueError(message)
            survivors.setdefault(module, []).extend(
                ListedSurvivor(entry["function"], change.strip(), entry["reason"].strip())
                for change in entry["changes"]
            )
    return survivors


def compare_survivors(
    mutants: Iterable[Mutant], listed: Iterable[ListedSurvivor]
) -> tuple[list[Mutant], list[ListedSurvivor]]:
    """Return the survivors that are not listed, and the listed ones that did not survive."""
    survivors = [item for item in mutants if not (item.is_killed or item.only_drops_strict)]
    listed = list(listed)
    known = {(entry.function, entry.change) for entry in listed}
    found = {(mutant.function, mutant.change) for mutant in survivors}
    unlisted = [mutant for mutant in survivors if (mutant.function, mutant.change) not in known]
    return unlisted, [entry for entry in listed if (entry.function, entry.change) not in found]


def format_entry(mutant: Mutant) -> str:
    """Return a survivor as an entry of the list that still lacks its reason."""
    lines = [f"  - function: {mutant.function}", "    reason: ", "    changes:", "      - |-"]
    return "\n".join([*lines, *(f"        {line}" for line in mutant.change.splitlines())])


def _read_yaml(file: Path) -> dict[str, Any]:
    return YAML(typ="safe").load(file) or {}
