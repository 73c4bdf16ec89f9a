"""Make the tables of docs/translation.md from the data that the gateway itself uses.

`python -m tests.docs.translation` writes them anew.
"""

from pathlib import Path

from gateway.dialects import DIALECTS
from gateway.dialects.compatibility import FIELD_RULES, UNREADABLE_VALUE_RULES, FieldRule
from gateway.dialects.member_list import WHOLE, Member, MemberList
from gateway.dialects.translation import get_translation

PAGE = Path(__file__).parents[2] / "docs" / "translation.md"
_BEGIN, _END = "<!-- tables -->\n", "<!-- end of tables -->\n"


def page(text: str) -> str:
    """Return the page with its tables made anew."""
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return f"{before}{_BEGIN}\n{_fields()}\n{_others()}\n{_members()}{_END}{after}"


def _fields() -> str:
    names = list(DIALECTS)
    lines = [f"| field | {' | '.join(names)} |", "|---|" + "---|" * len(names)]
    lines += [
        f"| `{field}` | {' | '.join(_cell(rules[name]) for name in names)} |"
        for field, rules in FIELD_RULES.items()
    ]
    return "\n".join(lines) + "\n"


def _others() -> str:
    lines = ["| member, with a value that no field holds | |", "|---|---|"]
    lines += [
        f"| `{name}` | {_cell(rule)} |" for name, rule in sorted(UNREADABLE_VALUE_RULES.items())
    ]
    lines.append("| any other | **dropped**: has no such member |")
    return "\n".join(lines) + "\n"


def _members() -> str:
    """Return a table for each dialect: the members of its list that are not read unchanged."""
    parts = ["## Members by dialect\n"]
    for name, dialect in DIALECTS.items():
        members = get_translation(dialect).request_members
        counts = [member for known in members.values() for member in known.values()]
        kept = sum(member.decision in ("read", "carried") for member in counts)
        parts.append(
            f"**{name}**: {len(counts)} members in {len(members)} objects, of which {kept} are read or carried.\n"
        )
        lines = ["| object | member | what translation does |", "|---|---|---|"]
        lines += [
            f"| `{place}` | {keys} | **{_DECISIONS[member.decision]}**: {member.reason} |"
            for (place, member), keys in _group(members).items()
        ]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts) + "\n"


_DECISIONS = {
    "named": "dropped",
    "refused": "refused",
    "approximated": "approximated",
    "ignored": "not needed",
}


def _group(members: MemberList) -> dict[tuple[str, Member], str]:
    """Group the members that are not read unchanged, by object and decision."""
    groups: dict[tuple[str, Member], list[str]] = {}
    for place, known in members.items():
        for key, member in known.items():
            if member.decision in _DECISIONS:
                group = groups.setdefault((place, member._replace(inside="")), [])
                group.append("all of it" if key == WHOLE else f"`{key}`")
    return {group: ", ".join(keys) for group, keys in groups.items()}


def _cell(rule: FieldRule) -> str:
    return rule.treatment if rule.treatment == "mapped" else f"**{rule.treatment}**: {rule.reason}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
