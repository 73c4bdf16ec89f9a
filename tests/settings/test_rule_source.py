"""Rules as the operator wrote them: with comments, and without the rest of the files."""

from pathlib import Path

import pytest

from gateway.settings import yaml
from gateway.settings.errors import ConfigError
from gateway.settings.loader import CandidateRules, ConfigSource, load
from gateway.settings.rule_source import RuleSource, read_rule_source

HEAD = """\
version: 1
include: [rules.yaml]
providers:
  acme: {base_url: 'https://acme.example', dialects: {openai-chat: /v1}, accounts: {main: sk-never-shown}}
labs:
  acme: {smart: [{model: large}]}
"""
RULES = """\
# All of them bind.
guards:
  - name: one  # for drafts
    when: {tag: draft}
    max_tier: fast

# The first that matches.
choices:
  - name: two
    tier: smart

  - {name: three, tier: fast}
  # - name: four
# A remark on aliases.
aliases: {gpt-4o: auto}
"""


def load_files(folder: Path, rules: str = RULES, head: str = HEAD) -> ConfigSource:
    (folder / "gateway.yaml").write_text(head, "utf-8")
    (folder / "rules.yaml").write_text(rules, "utf-8")
    return load(folder / "gateway.yaml", {})


def test_rules_of_one_file_are_shown_as_written(tmp_path: Path) -> None:
    rule_source = read_rule_source(load_files(tmp_path))
    assert rule_source.text == RULES[: RULES.index("# A remark")]
    assert rule_source.file.endswith("rules.yaml")
    assert rule_source.slices == {
        ("guards", 0): "  - name: one  # for drafts\n    when: {tag: draft}\n    max_tier: fast",
        ("choices", 0): "  - name: two\n    tier: smart",
        ("choices", 1): "  - {name: three, tier: fast}\n  # - name: four",
    }


def test_without_rules_the_source_is_empty(tmp_path: Path) -> None:
    assert read_rule_source(load_files(tmp_path, "aliases: {}")) == RuleSource("", "", {})


@pytest.mark.parametrize(
    "rules",
    [
        '{"choices": [{"name": "a", "tier": "fast"}],\n "aliases": {"never-shown": "auto"}}',
        '{"choices": [{"name": "a", "tier": "fast"}], "aliases": {"never-shown": "auto"}}',
        'choices: [{"name": "a", "tier": "fast"}]\n? aliases\n: {"never-shown": auto}\n',
    ],
)
def test_rules_that_share_a_line_with_other_parts_are_formatted_anew(
    tmp_path: Path, rules: str
) -> None:
    rule_source = read_rule_source(load_files(tmp_path, rules))
    assert "never-shown" not in rule_source.text
    assert yaml.read(rule_source.text, "").value == {"choices": [{"name": "a", "tier": "fast"}]}
    assert (
        rule_source.slices["choices", 0].split() == ["-", "name:", "a", "tier:", "fast"]
        or rule_source.file
    )


def test_rules_of_several_or_changed_files_are_formatted_anew(tmp_path: Path) -> None:
    source = load_files(tmp_path, RULES, HEAD + "choices: [{name: mine, tier: smart}]\n")
    rule_source = read_rule_source(source)
    assert rule_source.file == ""
    assert yaml.read(rule_source.text, "").value == {
        part: source.raw[part] for part in ("guards", "choices")
    }
    source = load_files(tmp_path)
    for text in ("choices: []", "choices: [", "\n"):
        (tmp_path / "rules.yaml").write_text(text)
        assert (read_rule_source(source).file, "name: two" in read_rule_source(source).text) == (
            "",
            True,
        )
    (tmp_path / "rules.yaml").unlink()
    assert "name: two" in read_rule_source(source).text


def test_rules_of_the_environment_have_no_file(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text(HEAD.replace("include: [rules.yaml]\n", ""))
    source = load(tmp_path / "gateway.yaml", {"TIERGATE_CHOICES": "[{name: a, tier: fast}]"})
    assert (read_rule_source(source).text, read_rule_source(source).file) == (
        "choices:\n- name: a\n  tier: fast\n",
        "",
    )


def test_candidate_rules_replace_the_rules_of_the_files(tmp_path: Path) -> None:
    """Parts that the other rules leave out stay; findings have their name and lines."""
    load_files(tmp_path)
    candidate = load(
        tmp_path / "gateway.yaml",
        {},
        rules=CandidateRules("mine", "choices:\n- {name: x, tier: fast}"),
    )
    assert [rule.name for rule in candidate.config.choices] == ["x"]
    assert [rule.name for rule in candidate.config.guards] == ["one"]
    assert candidate.make_mistake(("choices", 0), "").line == 2
    assert candidate.make_mistake(("choices", 0), "").file == "mine"
    assert candidate.make_mistake(("guards", 0), "").file.endswith("rules.yaml")
    assert candidate.version != load(tmp_path / "gateway.yaml", {}).version
    without_choices = load(tmp_path / "gateway.yaml", {}, rules=CandidateRules("mine", "choices:"))
    assert (without_choices.config.choices, len(without_choices.config.guards)) == ([], 1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "mine:1: error: only guards and choices stand here."),
        ("[]", "mine:1: error: only guards and choices stand here."),
        ("choices: []\nlabs: {}", "mine:2: error: labs: only guards and choices stand here."),
        ("choices: [", "mine:1: error: not valid YAML"),
        (
            "choices:\n- {name: a, tear: fast}",
            "mine:2: error: choices[0].tear (rule 'a'): no such key. Did you mean 'tier'?",
        ),
    ],
)
def test_mistakes_in_candidate_rules_have_their_own_lines(
    tmp_path: Path, text: str, expected: str
) -> None:
    load_files(tmp_path)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "gateway.yaml", {}, rules=CandidateRules("mine", text))
    assert str(caught.value).startswith(expected)
