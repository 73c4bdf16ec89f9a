"""`tiergate explain`: a text, a file or standard input in, the decision and its reasons out."""

import hashlib
import json
import re
from pathlib import Path

import pytest

from tests.cli.run import GOOD, config, program, run

TOOLS = [{"type": "function", "function": {"name": "f"}}]


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    return config(tmp_path)


def body(text: str, **more: object) -> str:
    return json.dumps({"model": "auto", "messages": [{"role": "user", "content": text}], **more})


def test_explain_shows_the_decision_and_its_steps_for_people(config_file: Path) -> None:
    result = run("--config", config_file, "explain", "Prove it.")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        "acme/reasoning by rule 'proofs'",
        "",
        "step   effect      why",
        "─" * 46,
        "pin    lab acme    'auto' leaves the tier open",
        "rule   reasoning   proofs",
        "",
        "1. acme/huge",
    ]


def test_a_classified_text_shows_its_confidence(config_file: Path) -> None:
    result = run("--config", config_file, "explain", "hi")
    assert result.stdout.startswith("acme/fast by classifier, confidence high\n")


MEANING = """
routing: {meaning: {embed: %s}}
exemplars: [{name: tickets, prompt: Draft a short reply to this ticket, tier: fast}]
"""


def test_explain_compares_a_text_with_exemplars_by_meaning(tmp_path: Path) -> None:
    """It shows how near the nearest exemplar is, so that an operator can choose the least."""
    file = config(tmp_path, GOOD + MEANING % "local")
    near = run("--config", file, "explain", "Beantworte diese Kundenanfrage mit ein paar Worten")
    assert re.search(r"near exemplar tickets \(0\.\d\d\) by meaning", near.stdout), near.stdout
    far = run("--config", file, "explain", "Why is the sky blue?")
    assert re.search(r"nearest is exemplar tickets \(-?0\.\d\d\), below 0\.35", far.stdout)
    assert run("--config", file, "explain", "Prove it.").stdout.startswith("acme/reasoning by rule")


def test_explain_asks_no_embedding_model(tmp_path: Path) -> None:
    labs = GOOD.replace("  acme:\n    fast:", "  acme:\n    embeddings: [{model: vec}]\n    fast:")
    file = config(tmp_path, labs + MEANING % "vec")
    result = run("--config", file, "explain", "Why is the sky blue?")
    assert "a call would be compared by meaning first" in result.stdout


def test_explain_shows_skipped_targets_and_the_tier_that_replaces_them(
    config_file: Path, tmp_path: Path
) -> None:
    request = tmp_path / "request.json"
    request.write_text(body("Prove it.", tools=TOOLS))
    result = run("--config", config_file, "explain", request)
    lines = result.stdout.splitlines()
    assert lines[0] == "acme/smart by rule 'proofs'"
    assert any(
        line.split("   ")[-1] == "no target of reasoning can serve this call" for line in lines
    )
    assert lines[-2:] == ["1. acme/large", "-  acme/huge is skipped: does not accept tools"]


def test_explain_reads_a_request_from_standard_input(config_file: Path) -> None:
    result = run("--config", config_file, "explain", "-", "--json", stdin=body("Prove it."))
    report = json.loads(result.stdout)
    assert (report["tier"], report["source"], report["rule"]) == ("reasoning", "rule", "proofs")
    assert [item["target"] for item in report["plan"]] == ["acme/huge"]
    assert report["plan"][0]["price"] == {"input": "5", "output": "6", "version": "config"}


@pytest.mark.parametrize(
    ("words", "tier"),
    [
        ((), "reasoning"),
        (("--model", "smart"), "smart"),
        (("--model", "acme/fast"), "fast"),
        (("--model", "huge"), "reasoning"),
        (("--tier", "fast"), "fast"),
        (("--lab", "acme"), "reasoning"),
        (("--tag", "draft"), "fast"),
        (("--tag", "other", "--tag", "draft", "--model", "reasoning"), "fast"),
    ],
)
def test_options_stand_for_the_headers_and_the_model_of_a_request(
    config_file: Path, words: tuple[str, ...], tier: str
) -> None:
    result = run("--config", config_file, "explain", "Prove it.", "--json", *words)
    assert json.loads(result.stdout)["tier"] == tier


RULES = """
- {name: bob is slow, when: {key: bob, time: {hours: "00:00-06:00"}}, tier: smart}
- {name: codex, when: {client: codex, dialect: [gemini, openai-chat]}, tier: reasoning}
routing: {classifier: prior}
"""


@pytest.mark.parametrize(
    ("words", "tier"),
    [
        ((), "fast"),
        (("--key", "bob", "--at", "2026-11-28 03:00"), "smart"),
        (("--key", "ann", "--at", "2026-11-28 03:00"), "fast"),
        (("--key", "bob", "--at", "2026-11-28 09:00"), "fast"),
        (("--client", "codex"), "reasoning"),
        (("--client", "codex_cli_rs/0.169"), "reasoning"),
        (("--client", "codex", "--dialect", "gemini"), "reasoning"),
        (("--client", "codex", "--dialect", "anthropic-messages"), "fast"),
    ],
)
def test_options_set_the_key_the_client_and_the_time_of_a_call(
    tmp_path: Path, words: tuple[str, ...], tier: str
) -> None:
    result = run(
        "--config", config(tmp_path, GOOD + RULES.lstrip()), "explain", "hi", "--json", *words
    )
    assert json.loads(result.stdout)["tier"] == tier


def test_a_file_is_read_in_its_dialect(config_file: Path, tmp_path: Path) -> None:
    request = tmp_path / "request.json"
    request.write_text('{"contents": [{"role": "user", "parts": [{"text": "Prove it."}]}]}')
    result = run("--config", config_file, "explain", request, "--dialect", "gemini")
    assert result.stdout.splitlines()[-1] == "1. acme/huge through openai-chat"
    assert run("--config", config_file, "explain", request).exit_code == 1


def test_an_unknown_key_or_a_wrong_time_is_misuse(tmp_path: Path) -> None:
    file = config(tmp_path, GOOD + "keys: keys.yaml\n")
    (tmp_path / "keys.yaml").write_text(
        f"alice: {{sha256: {hashlib.sha256(b'k').hexdigest()}, tiers: [fast]}}\n"
    )
    result = run("--config", file, "explain", "Prove it.", "--key", "alise")
    assert result.exit_code == 2
    assert "no key is called 'alise'. Did you mean 'alice'?" in result.stderr
    result = run("--config", file, "explain", "Prove it.", "--key", "alice", "--json")
    assert json.loads(result.stdout)["tier"] == "fast"
    result = run("--config", file, "explain", "Prove it.", "--at", "noon")
    assert result.exit_code == 2
    assert "must be a time, as 2026-12-24 18:00" in result.stderr


LONG = "|".join(f"word{number}" for number in range(20))
NEAR = f"""
- {{name: hard, when: {{maths: {{min: 0.5}}, user_tokens: {{min: 4}}}}, tier: reasoning}}
- {{name: long, when: {{matches: {LONG}, stream: false}}, tier: reasoning}}
routing: {{classifier: prior}}
"""


def test_explain_shows_text_signals_and_the_rules_that_nearly_matched(tmp_path: Path) -> None:
    file = config(tmp_path, GOOD + NEAR.lstrip())
    result = run("--config", file, "explain", "Hello, what is 2 = x?")
    lines = [re.sub("  +", " | ", line) for line in result.stdout.splitlines()]
    first, last = lines.index("what was seen in the text | value"), lines.index("1. acme/small")
    assert lines[first + 2 : last] == [
        "characters | 21",
        "words | 6",
        "question marks | 1",
        "numbers | 1",
        "share of digits | 0.05",
        "looks like mathematics | 0.17",
        "asks for a simple task, or is polite | 1",
        "",
        "nearly matched | but for | here",
        lines[last - 4],
        "choice hard | maths: {min: 0.5} | 0.17",
        f'choice long | matches: "{LONG[:50]}... | no such text',
        "",
    ]
    report = json.loads(run("--config", file, "explain", "hello", "--json").stdout)
    assert report["signals"] == {"chars": 5, "words": 1, "simple_words": 1, "greeting": True}
    assert report["near_misses"] == [
        {
            "kind": "choice",
            "rule": "long",
            "condition": f'matches: "{LONG}"',
            "value": "no such text",
        }
    ]
    assert "yes" in run("--config", file, "explain", "hello").stdout


REFUSALS = [
    (("hi", "--lab", "nowhere"), "There is no lab 'nowhere'. Labs that are on: acme."),
    (("hi", "--tier", "huge"), "There is no tier 'huge'. The tiers are fast, smart and reasoning."),
    (
        ("hi", "--model", "smal"),
        (
            "The gateway does not serve the model 'smal'. Did you mean 'small'? Ask for auto, fast, smart, "
            "reasoning, lab/tier or a model that GET /v1/models lists."
        ),
    ),
    (("-",), '"messages" is required and must be a list.'),
]


@pytest.mark.parametrize(("words", "message"), REFUSALS)
def test_explain_prints_the_reason_of_a_refusal_and_exits_with_1(
    config_file: Path, words: tuple[str, ...], message: str
) -> None:
    result = run("--config", config_file, "explain", *words, stdin='{"model": "auto"}')
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"refused: {message}\n"
    result = run("--config", config_file, "explain", *words, "--json", stdin='{"model": "auto"}')
    assert result.exit_code == 1
    assert json.loads(result.stdout)["error"]["message"] == message


def test_explain_refuses_invalid_json_and_names_a_missing_file(
    config_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad.json").write_bytes(b"{\xff")
    result = run("--config", config_file, "explain", tmp_path / "bad.json")
    assert result.exit_code == 1
    assert result.stderr.startswith("refused: The request body is not valid JSON: ")
    result = run("--config", config_file, "explain", tmp_path / "none.json")
    assert result.exit_code == 1
    assert (
        result.stderr == f"Error: {tmp_path}/none.json cannot be read: no such file or directory.\n"
    )


def test_a_text_that_ends_like_a_file_name_is_a_text(config_file: Path) -> None:
    result = run("--config", config_file, "explain", "Prove what is in package.json")
    assert result.stdout.startswith("acme/reasoning")


def test_without_a_prompt_explain_is_misused(config_file: Path) -> None:
    result = run("--config", config_file, "explain")
    assert result.exit_code == 2
    assert "Missing argument 'PROMPT'" in result.stderr


def test_an_argument_that_is_not_utf_8_is_a_text_too(tmp_path: Path) -> None:
    config(tmp_path)
    word = b"prove \xff".decode("utf-8", "surrogateescape")
    result = program("--config", "c.yaml", "explain", word, folder=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("acme/reasoning")


def test_explain_writes_no_file(config_file: Path, tmp_path: Path) -> None:
    program("--config", config_file, "explain", "hi", folder=tmp_path)
    assert [item.name for item in tmp_path.iterdir()] == ["c.yaml"]
