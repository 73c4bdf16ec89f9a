"""YAML, whole configurations, and routing rules with the calls that they decide."""

import atexit
import re
import tempfile
import warnings
from functools import cache
from pathlib import Path
from typing import Any, TypeGuard

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, ReusedAnchorWarning, YAMLError

from gateway.core.call import OPEN_KEY, Key, RequestOptions
from gateway.core.decision_context import DecisionContext
from gateway.core.errors import ProblemError
from gateway.dialects import DIALECTS, OPENAI_CHAT
from gateway.ledger import journal
from gateway.routing.classifier.heuristic import HeuristicClassifier
from gateway.routing.decision_cache import DecisionCache
from gateway.routing.decision_record import DecisionRecorder
from gateway.routing.errors import MissingFeatureError, RuleError
from gateway.routing.features import Features
from gateway.routing.lint import unreachable_rules
from gateway.routing.replay_decision import decide_again
from gateway.routing.router import Router, decide
from gateway.settings import yaml
from gateway.settings.errors import ConfigError
from gateway.settings.loader import ConfigSource
from gateway.settings.schema.root import Config
from tests.fuzz.target import FuzzTarget
from tests.ledger.rows import entry
from tests.routing import world
from tests.settings import world as settings_world

_PLAIN_NAME = re.compile(r"(?!(?:true|false|null)$)[a-z][a-z0-9_-]*")
_NOW = 1_793_000_000.5


def _list_events(parser: YAML, text: str) -> list[object]:
    """Return the events of a document, or where it is broken."""
    events: list[object] = []
    try:
        for event in parser.parse(text):
            start, end = event.start_mark, event.end_mark
            places = [(mark.index, mark.line, mark.column) for mark in (start, end)]
            events.append((type(event), getattr(event, "value", None), places))
    except MarkedYAMLError as error:
        mark = error.problem_mark
        events.append((error.problem, mark and (mark.index, mark.line, mark.column)))
    except YAMLError as error:
        events.append(type(error))
    return events


_OLD_LINE_BREAKS = frozenset("\x85\u2028\u2029")
"""Line breaks of YAML 1.1 that are none in YAML 1.2."""


def check_yaml(data: bytes) -> None:
    """A text is refused with its line, or read; written again it has the same value."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ReusedAnchorWarning)
        _check_text(text)


def _check_text(text: str) -> None:
    try:
        value = yaml.read(text, "f.yaml").value
    except ConfigError as error:
        str(error)
        return
    if "\t" not in text:  # the plain library refuses tabs that YAML allows
        plain = YAML(typ="safe", pure=True)
        assert _list_events(yaml.make_parser(), text) == _list_events(plain, text)
    if isinstance(value, dict):
        assert yaml.read(yaml.dump(value), "f.yaml").value == value
    if (value is None or isinstance(value, dict)) and not _has_odd_name(value):
        try:
            amended = yaml.amend(text, "f.yaml", lambda document: document.update(added=["x"]))
        except ConfigError:
            assert any(sign in text for sign in "\t!%")
            return
        try:
            read_again = yaml.read(amended, "f.yaml").value
        except ConfigError:
            assert value is not None
            return  # `limits/key_file.py` writes no file that it cannot read
        if _OLD_LINE_BREAKS & {*text}:
            return  # ruamel ends a comment there; `limits/key_file.py` refuses such a change
        assert read_again == {**(value or {}), "added": ["x"]}


def _has_odd_name(value: object) -> bool:
    """True if a name is no plain word: a change of the file may write `~` as `null`, for example.

    `limits/key_file.py` refuses such a change.
    """
    if isinstance(value, dict):
        return not all(map(_PLAIN_NAME.fullmatch, value)) or any(map(_has_odd_name, value.values()))
    return isinstance(value, list) and any(map(_has_odd_name, value))


@cache
def _make_folder() -> Path:
    """Return a folder of this process."""
    folder = tempfile.TemporaryDirectory(prefix="tiergate-fuzz-")
    atexit.register(folder.cleanup)
    return Path(folder.name)


def check_config(data: bytes) -> None:
    """A configuration is refused with its mistakes, or can be built."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return
    try:
        built = settings_world.whole(_make_folder(), text)
    except ConfigError as error:
        str(error)
        return
    assert built.source.version == settings_world.loaded(_make_folder(), text).version
    assert all(str(mistake) for mistake in built.warnings)


_CALLS: tuple[dict[str, Any], ...] = (
    {"text": "hi"},
    {"text": "Prove that 2 is prime. def f(): return 1", "user_turns": 3, "tools": ("read", "write")},
    {"text": "证明根号二是无理数", "images": 1, "stream": True, "key": Key(name="alice", tags=("a",), lab="google")},
    {"text": "a " * 300, "model": "sol", "steer": RequestOptions(tags=("b",)), "tool_loop": True, "json_schema": True},
    {"text": "", "model": "fast", "dialect": "anthropic-messages", "files": 1, "effort": "high"},
)  # fmt: skip


def _are_rules(part: object) -> TypeGuard[list[dict[str, Any]]]:
    return isinstance(part, list) and all(type(rule) is dict for rule in part)


def _compile_router(data: bytes) -> Router | None:
    """Return a router with the rules of a document; None if it has none that can be compiled."""
    try:
        value = yaml.read(data.decode(), "f.yaml").value
        if not isinstance(value, dict):
            return None
        guards, choices = (value.get(name) or [] for name in ("guards", "choices"))
        if not (_are_rules(guards) and _are_rules(choices)):
            return None
        router = world.router(guards, choices, HeuristicClassifier())
    except (UnicodeDecodeError, ConfigError, ValidationError, RuleError):
        return None
    # The check of a configuration refuses labs that it does not have.
    labs = {choice.lab for choice in router.rules.choices if choice.lab is not None}
    return router if labs <= router.catalogue.labs.keys() else None


def _decide(decider: Router | DecisionCache, call: Features, context: DecisionContext) -> object:
    try:
        if isinstance(decider, DecisionCache):
            decision, plan = decider.decide(call, OPENAI_CHAT, context)
        else:
            decision, plan = decide(decider, call, OPENAI_CHAT, context)
    except ProblemError as error:
        return error.problem
    return world.timeless(decision), plan


def check_rules(data: bytes) -> None:
    """Rules decide a call alike each time: anew, from the cache, and again from its row."""
    router = _compile_router(data)
    if router is None:
        return
    cache_of_decisions = DecisionCache(router)
    context = DecisionContext(at=_NOW)
    for arguments in _CALLS:
        decided = _decide(router, world.call(**arguments), context)
        for _ in range(2):
            assert _decide(cache_of_decisions, world.call(**arguments), context) == decided
        recorder = DecisionRecorder(router, world.call(**arguments), OPENAI_CHAT, context)
        try:
            decision, plan = recorder.decide()
            recorded: object = world.timeless(decision), plan
        except ProblemError as error:
            recorded = error.problem
        assert recorded == decided
        _check_replay(router, arguments, recorder, decided)
    _check_analysis(data)


def _check_replay(
    router: Router, arguments: dict[str, Any], recorder: DecisionRecorder, decided: object
) -> None:
    """Decide again from the row of a call."""
    row = entry(
        key=arguments.get("key", OPEN_KEY).name, at=_NOW, asked=arguments.get("model", "auto"),
        stream=arguments.get("stream", False), dialect=arguments.get("dialect", "openai-chat"), basis=recorder(),
    )  # fmt: skip
    decoded = journal.decode_row(journal.encode_row(row))
    assert decoded is not None
    try:
        decision, plan = decide_again(router, decoded)  # type: ignore[arg-type]
        again: object = world.timeless(decision), plan
    except ProblemError as error:
        again = error.problem
    except MissingFeatureError:
        return
    assert again == decided


def _check_analysis(data: bytes) -> None:
    """The analysis of rules takes all that can be compiled."""
    value = yaml.read(data.decode(), "f.yaml").value
    assert isinstance(value, dict)
    rules: dict[str, Any] = {}
    for part in ("guards", "choices"):
        found: Any = value.get(part) or []
        rules[part] = [{"name": f"{part} {at}", **rule} for at, rule in enumerate(found)]
    source = ConfigSource(
        Path("f.yaml"), {}, {}, Config.model_validate({"version": 1, **rules}), "v"
    )
    unreachable_rules.list_errors(source, DIALECTS)
    unreachable_rules.list_warnings(source, DIALECTS)


_RULES = (
    b"guards:\n- {name: a, when: {keywords: [prove], key: [alice]}, min_tier: smart, tag: [long]}\nchoices:\n- {when: {code: {min: 0.1}}, tier: reasoning}\n",
    b"choices:\n- {when: {any: [{matches: '^h'}, {not: {tools: true}}]}, lab: google}\n- {when: {turns: {min: 2}, time: {hours: '00:00-12:00', days: thu}}, model: sol}\n",
    b"guards:\n- {when: {traffic: 0.5, images: true}, deny: [openai], no_cache: true}\n- {when: {cel: 'tools > 1'}, refuse: 'no'}\nchoices:\n- {when: {need: {min: 0.5}, language: [zh]}, tier: smart}\n",
)
_DOCUMENTS = (
    b"a: 1\nb: [x, 'y', \"z\"]\nc:\n  d: {e: null, f: 1e3}\n  g:\n  - h\n  - i: true\n",
    b"# c\na: &x {b: 0x1F}\nc: *x\nd: |\n  two\n  lines\ne: >-\n  one\n  line\n",
    "%YAML 1.2\n---\na: \u00e9\u2028\n...\n".encode(),
    b"a:\tb\t# c\n? d\n: !!str 12\n",
)
_WORDS = (
    b": ", b"\n- ", b"\n  ", b"{", b"}", b"[", b"]", b"&x ", b"*x", b"!!int ", b"|\n", b">\n", b"'", b'"', b"# ", b"---\n", b"...\n", b"? ",
    b"\t", b"%YAML 1.2\n", b"<<: ", b"\xef\xbb\xbf", b"\xc2\x85", b".inf", b".nan", b"0o7", b"1_0", b"~", b"\\x00", b"null", b"true", b"2026-11-24",
)  # fmt: skip
_RULE_WORDS = (
    b"when: {", b"not: {", b"any: [{", b"all: [{", b"keywords: [a]", b"matches: 'a+'", b"{min: 1}", b"{max: 2}", b"tier: smart", b"lab: google",
    b"model: sol", b"traffic: 0.5", b"tag: [a]", b"min_tier: fast", b"max_tier: fast", b"deny: [openai]", b"quality: 4", b"complete: hold",
    b"escalate: checked", b"time: {days: mon}", b"evidence: [loop]", b"cel: ''", b"kind: [side]", b"user_tokens: {min: 1}", b"confidence: ",
    b"conversation: ", b"client: ", b"end_user: ", b"members: ", b"asked: ['*']",
)  # fmt: skip
_CONFIG = settings_world.BASE.encode()

TARGETS = (
    FuzzTarget("yaml", check_yaml, _DOCUMENTS, _WORDS, max_bytes=600),
    FuzzTarget(
        "config", check_config,
        (
            _CONFIG,
            _CONFIG + b"guards:\n- {name: g, when: {keywords: [a]}, min_tier: smart}\nbudgets:\n- {usd: 5, per: day}\nserver: {port: 8080}\n",
            _CONFIG + b"aliases: {gpt: smart}\nrouting: {evidence: 'on', quality: 5}\ncache: {ttl: 60}\nlimits: []\n",
            _CONFIG + b"ledger: {on_disk_full: serve}\nsemantic: {}\nmedia: {fetch: [image]}\n",
        ),
        (*_WORDS, *_RULE_WORDS, b"${ACME_API_KEY}", b"${X:-1}", b"include: [x.yaml]", b"price: {input: 1}", b"usd: ", b"per: ", b"providers:\n"),
        max_bytes=1_500,
    ),
    FuzzTarget("rules", check_rules, _RULES, (*_WORDS, *_RULE_WORDS), max_bytes=800),
)  # fmt: skip
