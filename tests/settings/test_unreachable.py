"""Names that cannot be served: each with its line, and where calls go in its place."""

from pathlib import Path

import pytest

from tests.settings import world

TWO_PROVIDERS = """\
version: 1
providers:
  acme: {base_url: "https://a.example", dialects: {openai-chat: /c}, accounts: {m: "${ACME_API_KEY}"}}
  other: {base_url: "https://b.example", dialects: {openai-chat: /c}, accounts: {m: "${OTHER_KEY}"}}
labs:
  acme: {fast: [{model: a}], smart: [{model: b}], reasoning: [{model: c}]}
  other: {fast: [{model: d}], smart: [{model: e}], reasoning: [{model: f}]}
  both:
    fast: [{provider: other, model: d}, {provider: acme, model: a}]
    smart: [{provider: other, model: e}]
    reasoning: [{provider: acme, model: c}]
"""
"""Line 6 is `acme`, which is on; 7 `other`, which is off; 8 `both`; new text is line 12."""

HINT = "A call that asks for it is refused; one that is routed there goes to the nearest tier."
SMART = f"10: warning: labs.both.smart: no target can serve (other: set OTHER_KEY). {HINT}"


def test_a_tier_that_no_target_can_serve_is_a_warning_with_the_reason(tmp_path: Path) -> None:
    assert world.unreached(tmp_path, TWO_PROVIDERS) == [f"c.yaml:{SMART}"]
    assert world.unreached(tmp_path, TWO_PROVIDERS, {**world.ON, "OTHER_KEY": "k"}) == []


def test_a_missing_tier_is_a_warning_at_its_lab(tmp_path: Path) -> None:
    assert world.unreached(tmp_path, world.BASE) == [
        f"c.yaml:8: warning: labs.acme: has no `reasoning` target. {HINT}"
    ]
    assert world.unreached(tmp_path, world.BASE, {}) == []  # off, which another warning says


APPENDED: list[tuple[str, list[str]]] = [
    ("default: {lab: acme, tier: smart}", []),
    ("default: {lab: other}", ["12: warning: default.lab: other is off (set OTHER_KEY): calls go to acme."]),
    ("default: {lab: both}",
     ["12: warning: default.tier: both cannot serve smart: calls go to its nearest tier."]),
    ("default: {lab: both, tier: fast}", []),
    ("aliases: {x: auto, y: fast, z: acme/auto, u: acme/smart, v: a, w: acme/a, q: both/fast}", []),
    ("aliases: {x: other/auto}",
     [("12: warning: aliases.x: leads to other/auto, which cannot be served: "
       "other is off (set OTHER_KEY).")]),
    ("aliases: {x: both/smart}",
     ["12: warning: aliases.x: leads to both/smart, which cannot be served: both cannot serve smart."]),
    ("aliases: {x: d}",
     ["12: warning: aliases.x: leads to d, which cannot be served: none of its providers is on."]),
    ("aliases: {x: other/d}",
     ["12: warning: aliases.x: leads to other/d, which cannot be served: none of its providers is on."]),
    ("guards:\n- {name: g, allow: [other, both]}\n- {name: h, deny: other}", []),
    ("guards:\n- {name: g, allow: other}",
     [("13: warning: guards[0].allow (rule 'g'): allows only labs that serve nothing: "
       "every call that matches is refused.")]),
    ("choices:\n- {name: c, lab: acme, tier: fast}\n- {name: d, lab: both}\n- {name: e, model: a}", []),
    ("choices:\n- {name: c, lab: other, tier: fast}",
     ["13: warning: choices[0].lab (rule 'c'): other is off (set OTHER_KEY): calls go elsewhere."]),
    ("choices:\n- {name: c, lab: both, tier: smart}",
     ["13: warning: choices[0].tier (rule 'c'): both cannot serve smart: calls go elsewhere."]),
    ("choices:\n- {name: c, model: other/d, tier: fast}",
     ["13: warning: choices[0].model (rule 'c'): no provider of other/d is on: the choice goes on without it."]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), APPENDED)
def test_a_name_that_leads_to_an_unserved_target_is_a_warning(
    tmp_path: Path, text: str, expected: list[str]
) -> None:
    warnings = world.unreached(tmp_path, TWO_PROVIDERS + text + "\n")
    assert warnings == [f"c.yaml:{line}" for line in [SMART, *expected]]


def test_a_lab_without_targets_serves_nothing(tmp_path: Path) -> None:
    text = TWO_PROVIDERS + "  none: {about: Nothing.}\nchoices:\n- {name: c, lab: none}\n"
    assert world.unreached(tmp_path, text) == [
        f"c.yaml:{SMART}",
        "c.yaml:14: warning: choices[0].lab (rule 'c'): none is off (it has no target): calls go elsewhere.",
    ]


def test_with_all_labs_off_there_is_no_warning_about_the_default(tmp_path: Path) -> None:
    """The check that refuses to start reports, once, that no lab is on."""
    assert world.unreached(tmp_path, TWO_PROVIDERS + "default: {lab: acme}\n", {}) == []
