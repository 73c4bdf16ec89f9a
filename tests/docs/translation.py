"""Make the tables of docs/translation.md from the data that the gateway itself uses.

`python -m tests.docs.translation` writes them anew.
"""

from pathlib import Path

from gateway.dialects import DIALECTS, TARGET_OPERATIONS
from gateway.dialects.beta_headers import UNKNOWN_WORD
from gateway.dialects.compatibility import FIELD_RULES, UNREADABLE_VALUE_RULES, FieldRule
from gateway.dialects.member_list import WHOLE, Member, MemberList
from gateway.dialects.translation import get_target_translation, get_translation

TARGET_DIALECTS = {
    name: dialect
    for (name, operation), dialect in TARGET_OPERATIONS.items()
    if operation == "generate"
}
"""The dialects that providers speak, by name."""
PAGE = Path(__file__).parents[2] / "docs" / "translation.md"
_BEGIN, _END = "<!-- tables -->\n", "<!-- end of tables -->\n"


def page(text: str) -> str:
    """Return the page with its tables made anew."""
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return f"{before}{_BEGIN}\n{_fields()}\n{_others()}\n{_members()}{_members_of_answers()}{_betas()}{_END}{after}"


def _fields() -> str:
    names = list(TARGET_DIALECTS)
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
    """Return a table for each dialect: the members of requests that are not read unchanged."""
    parts = ["## Members by dialect\n"]
    for name, dialect in DIALECTS.items():
        members = get_translation(dialect).request_members
        parts += [_count(name, members), _table(members)]
    return "\n".join(parts) + "\n"


def _members_of_answers() -> str:
    """Return a table of the members of answers that are not read unchanged, by what is done."""
    lines = ["## Members of answers\n"]
    lines += [
        _count(name, get_target_translation(dialect).answer_members)
        for name, dialect in TARGET_DIALECTS.items()
    ]
    lines += ["| dialect | member, or object as a whole | what translation does |", "|---|---|---|"]
    for name, dialect in TARGET_DIALECTS.items():
        names: dict[Member, dict[str, None]] = {}
        for place, place_members in get_target_translation(dialect).answer_members.items():
            for key, member in place_members.items():
                if member.decision in _DECISIONS:
                    group = names.setdefault(member._replace(inside="", path=""), {})
                    group[f"`{place.removeprefix('event:') if key == WHOLE else key}`"] = None
        lines += [
            f"| {name} | {', '.join(group)} | **{_DECISIONS[member.decision]}**: {member.reason} |"
            for member, group in sorted(
                names.items(), key=lambda item: item[0].decision, reverse=True
            )
        ]
    return "\n".join(lines) + "\n\n"


def _count(name: str, members: MemberList) -> str:
    """Return a sentence that counts the members of a list."""
    counted = [member for place_members in members.values() for member in place_members.values()]
    kept = sum(member.decision in ("read", "carried") for member in counted)
    return f"**{name}**: {len(counted)} members in {len(members)} objects, of which {kept} are read or carried.\n"


def _table(members: MemberList) -> str:
    """Return a table of the members that are not read unchanged."""
    lines = ["| object | member | what translation does |", "|---|---|---|"]
    lines += [
        f"| `{place}` | {keys} | **{_DECISIONS[member.decision]}**: {member.reason} |"
        for (place, member), keys in _group(members).items()
    ]
    return "\n".join(lines) + "\n"


def _betas() -> str:
    """Return a table of the words of all beta headers, grouped by decision."""
    lines = [
        "## Words of beta headers\n", "| dialect | header | words | what translation does |", "|---|---|---|---|"
    ]  # fmt: skip
    for name, dialect in DIALECTS.items():
        header = get_translation(dialect).beta_header
        groups: dict[Member, list[str]] = {}
        for word, member in header.words.items():
            groups.setdefault(member, []).append(f"`{word}`")
        lines += [
            f"| {name} | `{header.name}` | {', '.join(words)} | **{_DECISIONS[member.decision]}**: {member.reason} |"
            for member, words in groups.items()
        ]
        if header.name:
            lines.append(
                f"| {name} | `{header.name}` | any other | **dropped**: {UNKNOWN_WORD.reason} |"
            )
    return "\n".join(lines) + "\n\n"


_DECISIONS = {
    "named": "dropped",
    "refused": "refused",
    "approximated": "approximated",
    "ignored": "not needed",
}


def _group(members: MemberList) -> dict[tuple[str, Member], str]:
    """Group the members that are not read unchanged, by object and decision."""
    groups: dict[tuple[str, Member], list[str]] = {}
    for place, place_members in members.items():
        for key, member in place_members.items():
            if member.decision in _DECISIONS:
                group = groups.setdefault((place, member._replace(inside="", path="")), [])
                group.append("all of it" if key == WHOLE else f"`{key}`")
    return {group: ", ".join(keys) for group, keys in groups.items()}


def _cell(rule: FieldRule) -> str:
    return rule.treatment if rule.treatment == "mapped" else f"**{rule.treatment}**: {rule.reason}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
