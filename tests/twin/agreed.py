"""The list of agreed differences."""

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from ruamel.yaml import YAML

from tests.twin.compare import TwinDifference

FILE = Path(__file__).with_name("agreed.yaml")
_REQUIRED, _OPTIONAL = {"where", "what", "reason"}, {"section", "exchange"}


@dataclass(frozen=True)
class AgreedDifference:
    """One entry of the list."""

    where: str
    what: str
    reason: str
    section: str = "*"
    exchange: str = "*"
    """The name of an exchange or a command line."""

    def covers(self, difference: TwinDifference) -> bool:
        """Return True if this entry explains a difference."""
        return (
            _matches(difference.where, self.where)
            and _matches(difference.what, self.what)
            and _matches(difference.section, self.section)
            and _matches(difference.exchange, self.exchange)
        )


def _matches(text: str, pattern: str) -> bool:
    """Match a pattern in which only * is special: paths of members have brackets."""
    return fnmatchcase(text, pattern.replace("[", "[[]").replace("?", "[?]"))


def read(file: Path = FILE) -> list[AgreedDifference]:
    """Read the list. Raises ValueError for an entry that lacks a member or has an unknown one."""
    entries = []
    for row in YAML(typ="safe").load(file) or []:
        if not isinstance(row, dict) or not _REQUIRED <= set(row) <= _REQUIRED | _OPTIONAL:
            message = f"{file.name}: an entry needs where, what and reason, and may have section and exchange: {row}"  # fmt: skip
            raise ValueError(message)
        entries.append(
            AgreedDifference(**{name: str(value).strip() for name, value in row.items()})
        )
    return entries


def split(
    differences: Iterable[TwinDifference], entries: Iterable[AgreedDifference]
) -> tuple[list[TwinDifference], dict[AgreedDifference, int]]:
    """Return the differences without an entry, and how many each entry covers."""
    covered = dict.fromkeys(entries, 0)
    unexplained = []
    for difference in differences:
        entry = next((entry for entry in covered if entry.covers(difference)), None)
        if entry is None:
            unexplained.append(difference)
        else:
            covered[entry] += 1
    return unexplained, covered
