"""The tables of docs/translation.md, from the data that the gateway itself works with.

`python -m tests.docs.translation` writes them anew.
"""

from pathlib import Path

from gateway.dialects import DIALECTS
from gateway.dialects.compatibility import EXTRA_MEMBER_RULES, FIELD_RULES, FieldRule

PAGE = Path(__file__).parents[2] / "docs" / "translation.md"
_BEGIN, _END = "<!-- tables -->\n", "<!-- end of tables -->\n"


def page(text: str) -> str:
    """The page with its tables as they must be."""
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return f"{before}{_BEGIN}\n{_fields()}\n{_others()}\n{_END}{after}"


def _fields() -> str:
    names = list(DIALECTS)
    lines = [f"| field | {' | '.join(names)} |", "|---|" + "---|" * len(names)]
    lines += [
        f"| `{field}` | {' | '.join(_cell(rules[name]) for name in names)} |"
        for field, rules in FIELD_RULES.items()
    ]
    return "\n".join(lines) + "\n"


def _others() -> str:
    lines = ["| member | abroad |", "|---|---|"]
    lines += [f"| `{name}` | {_cell(rule)} |" for name, rule in sorted(EXTRA_MEMBER_RULES.items())]
    lines.append("| any other | **dropped**: has no such member |")
    return "\n".join(lines) + "\n"


def _cell(rule: FieldRule) -> str:
    return rule.treatment if rule.treatment == "mapped" else f"**{rule.treatment}**: {rule.reason}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
