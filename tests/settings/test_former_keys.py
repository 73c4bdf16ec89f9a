"""Keys under their former names work as before, and a warning names the new one."""

from pathlib import Path

import pytest

from gateway.settings.errors import ConfigError
from gateway.settings.loader import load

GATEWAY = """\
version: 1
providers:
  a:
    base_url: http://127.0.0.1:1
    dialects: {openai-chat: /c}
    auth: none
labs:
  a:
    smart: [{model: m}]
"""


def load_with_warnings(folder: Path, text: str) -> tuple[object, list[str]]:
    """Return a configuration, and the texts of its warnings."""
    file = folder / "gateway.yaml"
    file.write_text(GATEWAY + text, "utf-8")
    source = load(file, {})
    return source.config, [f"{item.line} {item.message}" for item in source.warnings]


FORMER = """\
routing: {shadow_share: 0.5}
guards:
- name: one
  when: {any: [{turn: side}, {not: {turn: agent}}]}
  tag: x
choices:
- {name: two, when: {turn: main}, tier: smart}
"""


def test_former_names_work_and_give_warnings_with_their_lines(tmp_path: Path) -> None:
    former_config, warnings = load_with_warnings(tmp_path, FORMER)
    new = FORMER.replace("turn:", "kind:").replace("shadow_share", "shadow_sample")
    assert load_with_warnings(tmp_path, new) == (former_config, [])
    assert [warning.partition(" ")[0] for warning in warnings] == ["10", "13", "13", "16"]
    assert "`turn`, its former name: write `kind`" in warnings[-1]


def test_a_former_name_beside_the_new_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="shadow_share: no such key"):
        load_with_warnings(tmp_path, "routing: {shadow_share: 0.5, shadow_sample: 0.5}")


def test_a_former_value_works_and_gives_a_warning_with_its_line(tmp_path: Path) -> None:
    former_config, warnings = load_with_warnings(tmp_path, "on_redis_loss: local\n")
    assert load_with_warnings(tmp_path, "on_redis_loss: lease\n") == (former_config, [])
    assert [warning.partition(":")[0] for warning in warnings] == ["10 `local` is now `lease`"]


@pytest.mark.parametrize("text", ["guards: 1", "guards: [1]", "guards: [{name: a, when: 1}]"])
def test_a_rule_that_is_no_mapping_is_reported_as_usual(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="guards"):
        load_with_warnings(tmp_path, text)
