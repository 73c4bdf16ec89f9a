"""Settings that an operator may write, and the values that they give."""

from pathlib import Path

import pytest

from gateway.settings.schema.root import CachePart, RoutingPart
from gateway.settings.schema.rules import GuardPart, WhenPart
from gateway.settings.schema.schedule import TimePart
from gateway.settings.schema.server import ServerPart, TimersPart
from tests.settings import world


@pytest.mark.parametrize(
    ("written", "size"),
    [
        (0, 0),
        (1000, 1000),
        ("2000", 2000),
        ("10B", 10),
        ("500KB", 500_000),
        ("32MB", 32_000_000),
        (" 1.5 GB ", 1_500_000_000),
        ("0.1MB", 100_000),
    ],
)
def test_sizes_are_bytes(written: object, size: int) -> None:
    assert ServerPart.model_validate({"max_body": written}).max_body == size


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (0, 0.0),
        (2.5, 2.5),
        ("90", 90.0),
        ("0s", 0.0),
        ("500ms", 0.5),
        ("90s", 90.0),
        ("15m", 900.0),
        ("1.5h", 5400.0),
        (" 7 d ", 604_800.0),
    ],
)
def test_durations_are_seconds(written: object, seconds: float) -> None:
    assert CachePart.model_validate({"ttl": written}).ttl == seconds
    assert TimersPart.model_validate({"idle": written}).idle == seconds


@pytest.mark.parametrize(
    ("written", "words"), [("a", ["a"]), (["a", " b "], ["a", "b"]), ("two words", ["two words"])]
)
def test_a_single_word_needs_no_list(written: object, words: list[str]) -> None:
    assert WhenPart.model_validate({"keywords": written, "tag": written}).tag == words


@pytest.mark.parametrize(
    ("written", "expected"),
    [("hold", "hold"), ("off", "off"), ("on", "hold"), (True, "hold"), (False, "off"), ("true", "hold"), ("false", "off")],
)  # fmt: skip
def test_the_complete_setting_is_hold_or_off(written: object, expected: str) -> None:
    """`on` means `hold`, in a file and in the environment."""
    assert RoutingPart.model_validate({"complete": written}).complete == expected
    assert GuardPart.model_validate({"name": "g", "complete": written}).complete == expected
    with pytest.raises(ValueError, match="complete"):
        RoutingPart.model_validate({"complete": 1})


@pytest.mark.parametrize(
    ("written", "low", "high"),
    [
        (True, 1, None), (False, None, 0), ("yes", 1, None), ("no", None, 0), ("true", 1, None),
        (1, 1, None), ({"min": 3}, 3, None), ({"max": 2}, None, 2), ({}, None, None),
    ],
)  # fmt: skip
def test_a_count_is_a_range_or_a_flag(
    written: object, low: float | None, high: float | None
) -> None:
    for name in ("tools", "images", "files", "audio"):
        parsed = getattr(WhenPart.model_validate({name: written}), name)
        assert (parsed.min, parsed.max) == (low, high)


DAYS = [
    ("mon", ["mon"]),
    ("mon-wed", ["mon", "tue", "wed"]),
    (["sat-mon", "wed"], ["sat", "sun", "mon", "wed"]),
    ("tue-tue", ["tue"]),
    ("mon-sun", ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]),
]


@pytest.mark.parametrize(("written", "days"), DAYS)
def test_days_can_be_written_as_a_range(written: object, days: list[str]) -> None:
    assert TimePart.model_validate({"days": written}).days == days


SOUND = [
    "choices: [{name: c, when: {time: {hours: '08:00-18:00', days: [mon-fri], zone: Europe/Berlin}}, lab: acme}]",
    "choices: [{name: c, when: {language: [de, unknown], kind: main, client: codex*}, tier: fast}]",
    "choices: [{name: c, when: {images: {min: 2}, files: yes, audio: no, tools: 1}, tier: fast}]",
    "choices: [{name: c, when: {cel: 'call.user_tokens > 3'}, tier: fast}]",
    "guards: [{name: g, complete: off}, {name: h, complete: true}]",
    "routing: {complete: hold}",
    "choices: [{name: c, tier: fast, complete: true}]",
    "aliases: {gpt-4o: auto, a: fast, b: acme/reasoning, c: small, d: acme/large}",
    "guards: [{name: g, when: {dialect: openai-chat}, no_cache: true}, {name: h, refuse: No.}]",
    "choices: [{name: c, when: {turns: {min: 2, max: 2}}, model: acme/small}]",
    "choices: [{name: c, when: {code: {min: 0.5}}, tier: fast}, {name: d, lab: acme}]",
    "choices: [{name: c, when: {not: {any: [{tools: true}, {all: [{stream: no}]}]}}, tier: fast}]",
    "server: {open: on, port: '9000'}",
    "keys: '${KEYS_FILE:-open}'",
    "guards:\nchoices:\naliases:\n",
    "ledger: {time_zone: Europe/Berlin}",
]


@pytest.mark.parametrize("text", SOUND)
def test_sound_settings_are_accepted(tmp_path: Path, text: str) -> None:
    assert world.mistakes(tmp_path, f"{world.BASE}{text}\n") == []
    assert world.warnings(tmp_path, f"{world.BASE}{text}\n") == []


def test_a_tier_can_use_only_the_efforts_of_chat(tmp_path: Path) -> None:
    text = world.BASE.replace(
        "accepts: [none, low, high]}", "accepts: [none]}\n    chat: {efforts: [low]}"
    )
    assert world.mistakes(tmp_path, text) == [
        "c.yaml:9: error: labs.acme.fast[0].effort: small does not accept 'none'. It accepts low."
    ]
    anything = text.replace("accepts: [none]", "accepts: []").replace(
        "efforts: [low]", "tools_at: []"
    )
    assert world.mistakes(tmp_path, anything) == []


@pytest.mark.parametrize(
    "host", ["cdn.example.com", "*.Example.com", "example.com:8443", "localhost"]
)
def test_valid_media_hosts_are_accepted(tmp_path: Path, host: str) -> None:
    text = f"{world.BASE}media: {{fetch: on, max_bytes: 1MB, types: image/png, allow: '{host}'}}\n"
    assert world.mistakes(tmp_path, text) == []


@pytest.mark.parametrize(
    "host", ["*", "a.*", "https://a.example", "a.example/x", "u@a", "[::1]", "a:b", "", ".a"]
)
def test_invalid_media_hosts_are_refused(tmp_path: Path, host: str) -> None:
    (mistake,) = world.mistakes(tmp_path, f"{world.BASE}media: {{allow: ['{host}']}}\n")
    assert "must be a host, as cdn.example.com, *.example.com or example.com:8443" in mistake
