"""Make the schema of the rows, docs/row.schema.json, from the code and the tables of docs/ledger.md.

`python -m tests.docs.ledger` writes it anew.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from gateway.core import jsonio
from gateway.core.ledger_rows import (
    ROW_VERSION,
    AttemptRow,
    FeedbackRow,
    FinalRow,
    IntentRow,
    RepriceRow,
    Row,
)
from tests.docs import pages
from tests.docs.pages import ROOT

FILE = ROOT / "docs" / "row.schema.json"
PAGE = "ledger.md"
PARTS = ("decision_record", "decision_context", "conversation", "turn_evidence")
"""Modules of core whose values are parts of a row; the code describes their fields."""
KINDS: dict[str, Any] = {
    "field": FinalRow,
    "of an intent": IntentRow,
    "of an attempt": AttemptRow,
    "of a reprice": RepriceRow,
    "of feedback": FeedbackRow,
}
"""Kinds of rows, by the head of the table that documents each."""

PUBLISHED = {
    "IntentRow": "Intent",
    "AttemptRow": "Attempt",
    "FinalRow": "Entry",
    "RepriceRow": "Reprice",
    "FeedbackRow": "Feedback",
    "DecisionRecord": "Basis",
    "DecisionContext": "Evidence",
    "ConversationTurn": "Turn",
    "RecordedOptions": "Said",
    "RecordedScope": "Scope",
    "Session": "Seat",
    "ShareCut": "Cut",
}
"""Names of classes in the published schema; they never change."""


def made() -> bytes:
    """Return the file, made anew."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A row of the ledger of tiergate",
        "description": f"Version {ROW_VERSION}. A later version only adds kinds and fields: skip those that you do not know. "
        "A field that is null is unknown, never zero. Money is USD, an exact decimal as text.",
        **msgspec.json.schema(Row.__value__),
    }
    schema["$defs"]["Closed"] = {
        "title": "Closed",
        "description": "The last line of a file of the journal that is done.",
        "type": "object",
        "properties": {"kind": {"enum": ["closed"]}},
        "required": ["kind"],
    }
    schema["anyOf"].append({"$ref": "#/$defs/Closed"})
    schema["discriminator"]["mapping"]["closed"] = "#/$defs/Closed"
    for head, kind in KINDS.items():
        part = schema["$defs"][kind.__name__]
        descriptions = {pages.codes(row[0])[0]: row[1] for row in pages.table(head, PAGE).rows}
        for name, field in part["properties"].items():
            if name in descriptions:
                field["description"] = _text(descriptions[name])
    for module in PARTS:
        for kind, fields in _told(ROOT / "gateway" / "core" / f"{module}.py"):
            for name, field in schema["$defs"].get(kind, {"properties": {}})["properties"].items():
                field["description"] = fields[name]
    return _published(msgspec.json.format(jsonio.dumps(schema), indent=2) + b"\n")


def _published(text: bytes) -> bytes:
    """Put the published names in place of the class names."""
    for name, published in PUBLISHED.items():
        for before, after in (("#/$defs/", ""), ("", ": {"), ('title": "', "")):
            old = f'{before}{name}"{after}' if before else f'"{name}"{after}'
            new = f'{before}{published}"{after}' if before else f'"{published}"{after}'
            text = text.replace(old.encode(), new.encode())
    return text


def _told(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the classes of a module, each with the descriptions of its fields, or else their names."""
    for item in ast.parse(path.read_text()).body:
        if isinstance(item, ast.ClassDef):
            fields: dict[str, str] = {}
            for node in item.body:
                if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                    fields[node.target.id] = node.target.id.replace("_", " ")
                elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and fields:
                    fields[[*fields][-1]] = re.sub(r"\s+", " ", str(node.value.value)).replace(
                        "`", ""
                    )
            yield item.name, fields


def _text(cell: str) -> str:
    """Return a cell without its markup."""
    return re.sub(r"\[([^]]+)\]\([^)]+\)", r"\1", cell).replace("`", "")


if __name__ == "__main__":
    FILE.write_bytes(made())
