"""Variables that look like settings: a warning where a setting is close, else nothing."""

from pathlib import Path

import pytest

from gateway.limits.keys import KeyTable
from gateway.runtime import build
from gateway.runtime.build import find_refusals
from gateway.settings.environment import find_stray_variables
from gateway.settings.schema.rules import MeaningPart
from tests.settings import world

STRAY_VARIABLES = [
    ("TIERGATE_PORT", "9000", "TIERGATE_SERVER__PORT"),
    ("TIERGATE_HOST", "0.0.0.0", "TIERGATE_SERVER__HOST"),
    ("TIERGATE_TTL", "1h", "TIERGATE_CACHE__TTL"),
    ("TIERGATE_KEY", "a=b", "TIERGATE_KEYS"),
    ("TIERGATE_CONFG", "x.yaml", "TIERGATE_CONFIG"),
    ("TIERGATE_DATAS", "x", "TIERGATE_DATA"),
    ("TIERGATE_ADMINKEY", "k", "TIERGATE_ADMIN_KEY"),
    ("TIERGATE_SEVER", "{}", "TIERGATE_SERVER"),
]


@pytest.mark.parametrize(("name", "text", "suggestion"), STRAY_VARIABLES)
def test_a_variable_close_to_a_setting_is_a_warning(name: str, text: str, suggestion: str) -> None:
    warnings = [str(item) for item in find_stray_variables({name: text})]
    assert warnings == [f"{name}: warning: changes nothing. Did you mean {suggestion}?"]


OTHER_VARIABLES = {
    "TIERGATE_PORT": "tcp://10.0.0.1:8484",  # Kubernetes names a service this way
    "TIERGATE_PORT_8484_TCP": "tcp://10.0.0.1:8484",
    "TIERGATE_PORT_8484_TCP_PORT": "8484",
    "TIERGATE_SERVICE_HOST": "10.0.0.1",
    "TIERGATE_SERVICE_PORT": "8484",
    "TIERGATE_VERSION": "0.1.0",
    "TIERGATE_NO_LOCAL": "1",
    "TIERGATE_CORPUS": "x",
    "TIERGATE_CONFIG": "c",
    "TIERGATE_ADMIN_KEY": "k",
    "TIERGATE_SERVER": "{}",
    "TIERGATE_SERVER__PROT": "1",  # the schema reports it
    "TIERGATE_HOST": "",
    "PORT": "1",
}


def test_variables_of_other_programs_are_no_warning() -> None:
    assert list(find_stray_variables(OTHER_VARIABLES)) == []


def test_stray_variables_are_among_the_warnings_of_a_configuration(tmp_path: Path) -> None:
    environ = {**world.ON, "TIERGATE_PORT": "9000"}
    assert world.warnings(tmp_path, world.BASE, environ) == [
        "TIERGATE_PORT: warning: changes nothing. Did you mean TIERGATE_SERVER__PORT?"
    ]


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
def test_a_proxy_variable_that_is_not_used_is_a_warning(tmp_path: Path, name: str) -> None:
    """Other programs use it: an operator behind a proxy finds out why nothing answers."""
    environ = {**world.ON, name: "http://proxy.example:3128"}
    assert world.warnings(tmp_path, world.BASE, environ) == [
        f'{name}: warning: is not used. Give a provider `proxy: "${{{name}}}"`.'
    ]
    assert world.warnings(tmp_path, world.BASE, {**world.ON, "HTTP_PROXY": "http://p"}) == []


def test_a_proxy_variable_that_a_provider_uses_is_no_warning(tmp_path: Path) -> None:
    environ = {**world.ON, "HTTPS_PROXY": "http://p:1"}
    text = world.BASE.replace("    acc", '    proxy: "${HTTPS_PROXY}"\n    acc', 1)
    assert text != world.BASE
    assert world.warnings(tmp_path, text, environ) == []


def test_a_max_share_without_effect_is_a_warning(tmp_path: Path) -> None:
    """The bounds limit nothing, or leave nothing but fast."""
    off = "routing: {classifier: off, max_share: {reasoning: 0.1}}\n"
    assert world.warnings(tmp_path, world.BASE + off) == [
        "c.yaml:16: warning: routing.max_share: has no effect: the classifier is off."
    ]
    none = "routing: {max_share: {reasoning: 0, smart: 0}}\n"
    (warning,) = world.warnings(tmp_path, world.BASE + none)
    assert warning.endswith("leaves the classifier nothing but fast. Turn it off instead.")
    assert world.warnings(tmp_path, world.BASE + "routing: {max_share: {smart: 0.4}}\n") == []


def test_near_questions_with_the_cache_off_are_a_warning(tmp_path: Path) -> None:
    smart = "    smart: [{model: large}]\n"
    text = world.BASE.replace(smart, smart + "    embeddings: [{model: small}]\n")
    assert world.warnings(tmp_path, text + "cache: {ttl: 0s, near: {embed: small}}\n") == [
        "c.yaml:17: warning: cache.near: finds nothing: the cache is off. Give `cache.ttl` some time."
    ]
    assert world.warnings(tmp_path, text + "cache: {near: {embed: small}}\n") == []


def test_exemplars_that_contradict_each_other_are_reported(tmp_path: Path) -> None:
    """Equal texts are an error, nearly equal texts a warning; each name must be unique."""
    words = " ".join(f"word{at}" for at in range(60))
    text = (
        "exemplars:\n"
        "- {prompt: Draft a reply, tier: fast, name: drafts}\n"
        "- {prompt: 'draft a reply!', tier: smart}\n"
    )
    assert world.mistakes(tmp_path, world.BASE + text) == [
        "c.yaml:18: error: exemplars[1]: is the same as 'drafts', which gets fast."
    ]
    near = (
        f"exemplars:\n- {{prompt: {words}, tier: fast}}\n- {{prompt: {words} more, tier: smart}}\n"
    )
    assert list(map(str, world.whole(tmp_path, world.BASE + near).warnings)) == [
        f"{tmp_path}/c.yaml:18: warning: exemplars[1]: is nearly the same as '1', which gets fast."
    ]
    off = near + "routing: {classifier: off}\n"
    assert any(
        "have no effect: the classifier is off" in line
        for line in world.warnings(tmp_path, world.BASE + off)
    )
    twice = "exemplars:\n- {prompt: a, tier: fast, name: x}\n- {prompt: b, tier: fast, name: x}\n"
    assert world.mistakes(tmp_path, world.BASE + twice) == [
        "c.yaml:18: error: exemplars[1].name: 'x' is given twice."
    ]


def test_wordings_and_routes_that_contradict_each_other_are_reported(tmp_path: Path) -> None:
    """Each wording counts for itself; the place is that of its exemplar or route."""
    exemplars = "exemplars:\n- {prompt: [a b c, d e f], tier: fast}\n- {prompt: [g h i, D E F], tier: smart}\n"  # fmt: skip
    assert world.mistakes(tmp_path, world.BASE + exemplars) == [
        "c.yaml:18: error: exemplars[1]: is the same as '1', which gets fast."
    ]
    routes = "routes:\n- {description: a b c, tier: fast, name: abc}\n- {description: A b c, tier: smart}\n"  # fmt: skip
    assert world.mistakes(tmp_path, world.BASE + routes) == [
        "c.yaml:18: error: routes[1]: is the same as 'abc', which gets fast."
    ]
    twice = "routes:\n- {description: a, tier: fast, name: x}\n- {description: b, tier: fast, name: x}\n"
    assert world.mistakes(tmp_path, world.BASE + twice) == [
        "c.yaml:18: error: routes[1].name: 'x' is given twice."
    ]
    assert world.mistakes(tmp_path, world.BASE + "exemplars: [{prompt: [], tier: fast}]\n") != []


def test_routes_that_nothing_compares_are_a_warning(tmp_path: Path) -> None:
    routes = "routes:\n- {description: a, tier: fast}\n"
    assert world.warnings(tmp_path, world.BASE + routes) == [
        (
            "c.yaml:16: warning: routes: have no effect: nothing compares meanings. "
            "Name an embedder in `routing.meaning.embed`."
        )
    ]
    meaning = "routing: {meaning: {embed: local}}\n"
    assert world.warnings(tmp_path, world.BASE + routes + meaning) == []
    assert world.warnings(tmp_path, world.BASE + meaning) == [
        "c.yaml:16: warning: routing.meaning: has no effect: there are neither exemplars nor routes."
    ]
    off = "routing: {classifier: off, meaning: {embed: local}}\n"
    assert any(
        "routes: have no effect: the classifier is off." in line
        for line in world.warnings(tmp_path, world.BASE + routes + off)
    )


def test_a_maker_that_gets_texts_for_the_comparison_alone_is_a_warning(tmp_path: Path) -> None:
    acme = "    smart: [{model: large}]\n"
    meaning = "routing: {meaning: {embed: vec}}\nexemplars: [{prompt: a, tier: fast}]\n"
    own = world.BASE.replace(acme, acme + "    embeddings: [{model: vec}]\n")
    assert world.warnings(tmp_path, own + meaning) == []
    provider = "  other:\n    base_url: https://other.example/v1\n    dialects: {openai-chat: /chat/completions}\n    auth: none\nlabs:\n"  # fmt: skip
    foreign = world.BASE.replace("labs:\n", provider).replace(
        acme, acme + "  other:\n    embeddings: [{model: vec}]\n"
    )
    (warning,) = world.warnings(tmp_path, foreign + meaning)
    assert "routing.meaning.embed: sends texts of users to other, which serves no tier." in warning


def test_a_guard_may_keep_texts_from_a_comparison_without_a_judge(tmp_path: Path) -> None:
    guard = "guards: [{name: g, when: {keywords: [a]}, judge: 'off'}]\n"
    meaning = "routing: {meaning: {embed: local}}\nexemplars: [{prompt: a, tier: fast}]\n"
    assert world.warnings(tmp_path, world.BASE + guard + meaning) == []
    assert len(world.warnings(tmp_path, world.BASE + guard)) == 1


def test_the_default_cosine_depends_on_the_embedder() -> None:
    parts = [MeaningPart(embed="local"), MeaningPart(embed="a"), MeaningPart(embed="a", near=0.7)]
    assert [part.least for part in parts] == [0.35, 0.5, 0.7]


def test_a_missing_embedder_keeps_the_gateway_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = world.BASE + "routing: {meaning: {embed: local}}\nexemplars: [{prompt: a, tier: fast}]\n"
    built = world.whole(tmp_path, text)
    keys = KeyTable(None, {})
    assert not any("semantic" in mistake.message for mistake in find_refusals(built, keys, "::1"))
    monkeypatch.setattr(build, "find_spec", lambda name: None)
    assert any("semantic" in mistake.message for mistake in find_refusals(built, keys, "::1"))


def test_exemplars_come_before_the_classifier(tmp_path: Path) -> None:
    text = "exemplars:\n- {prompt: Prove that two is prime, tier: fast}\nrouting: {near: 0.7}\n"
    router = world.whole(tmp_path, world.BASE + text).router
    assert router.classifier is not None
    assert router.classifier.name == "exemplars, learned"


@pytest.mark.parametrize("classifier", ["off", "prior"])
def test_a_rule_that_reads_the_score_needs_a_classifier(tmp_path: Path, classifier: str) -> None:
    rules = (
        f"routing: {{classifier: {classifier}}}\n"
        "guards:\n"
        "- {name: a, max_tier: fast, when: {need: {min: 0.7}}}\n"
        "- {name: b, max_tier: fast, when: {not: {confidence: {max: 0.3}}}}\n"
        "- {name: c, max_tier: fast, when: {cel: call . need > 0.7}}\n"
        "- {name: d, max_tier: fast, when: {cel: call.turns > 1}}\n"
    )
    why = "asks for the classifier's score, and the classifier is off. Turn it on: `routing: {classifier: learned}`."
    expected = [
        f"c.yaml:18: error: guards[0].when.need (rule 'a'): {why}",
        f"c.yaml:19: error: guards[1].when.not.confidence (rule 'b'): {why}",
        f"c.yaml:20: error: guards[2].when.cel (rule 'c'): {why}",
    ]
    mistakes = world.mistakes(tmp_path, world.BASE + rules)
    assert mistakes == (expected if classifier == "off" else [])
