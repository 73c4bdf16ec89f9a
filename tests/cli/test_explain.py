"""`tiergate explain`: a text, a file or standard input in, the decision and its reasons out."""

import hashlib
import json
import re
from pathlib import Path

import pytest

from tests.cli.run import GOOD, config, program, run

TOOLS = [{"type": "function", "function": {"name": "f"}}]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return config(tmp_path)


def body(text: str, **more: object) -> str:
    return json.dumps({"model": "auto", "messages": [{"role": "user", "content": text}], **more})


def test_a_text_is_explained_for_people(file: Path) -> None:
    result = run("--config", file, "explain", "Prove it.")
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


def test_a_classified_text_says_how_sure_it_is(file: Path) -> None:
    result = run("--config", file, "explain", "hi")
    assert result.stdout.startswith("acme/fast by classifier, confidence high\n")


def test_what_is_skipped_and_moved_is_said(file: Path, tmp_path: Path) -> None:
    request = tmp_path / "request.json"
    request.write_text(body("Prove it.", tools=TOOLS))
    result = run("--config", file, "explain", request)
    lines = result.stdout.splitlines()
    assert lines[0] == "acme/smart by rule 'proofs'"
    assert any(
        line.split("   ")[-1] == "no target of reasoning can serve this call" for line in lines
    )
    assert lines[-2:] == ["1. acme/large", "-  acme/huge is skipped: takes no tools"]


def test_a_request_is_read_from_standard_input(file: Path) -> None:
    result = run("--config", file, "explain", "-", "--json", stdin=body("Prove it."))
    told = json.loads(result.stdout)
    assert (told["tier"], told["source"], told["rule"]) == ("reasoning", "rule", "proofs")
    assert [item["target"] for item in told["plan"]] == ["acme/huge"]
    assert told["plan"][0]["price"] == {"input": "5", "output": "6", "version": "config"}


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
def test_options_are_the_request_s_headers_and_model(
    file: Path, words: tuple[str, ...], tier: str
) -> None:
    result = run("--config", file, "explain", "Prove it.", "--json", *words)
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
def test_options_are_whose_call_it_is_and_when_it_comes(
    tmp_path: Path, words: tuple[str, ...], tier: str
) -> None:
    result = run(
        "--config", config(tmp_path, GOOD + RULES.lstrip()), "explain", "hi", "--json", *words
    )
    assert json.loads(result.stdout)["tier"] == tier


def test_a_file_is_read_in_its_dialect(file: Path, tmp_path: Path) -> None:
    request = tmp_path / "request.json"
    request.write_text('{"contents": [{"role": "user", "parts": [{"text": "Prove it."}]}]}')
    result = run("--config", file, "explain", request, "--dialect", "gemini")
    assert result.stdout.splitlines()[-1] == "1. acme/huge through openai-chat"
    assert run("--config", file, "explain", request).exit_code == 1


def test_a_time_or_a_key_that_is_none_is_misused(tmp_path: Path) -> None:
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


def test_what_was_seen_and_what_nearly_matched_is_told(tmp_path: Path) -> None:
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
    told = json.loads(run("--config", file, "explain", "hello", "--json").stdout)
    assert told["signals"] == {"chars": 5, "words": 1, "simple_words": 1, "greeting": True}
    assert told["near_misses"] == [
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
    (("hi", "--tier", "huge"), "There is no tier 'huge': it is fast, smart or reasoning."),
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
def test_a_refusal_is_told_with_its_reason_and_status_1(
    file: Path, words: tuple[str, ...], message: str
) -> None:
    result = run("--config", file, "explain", *words, stdin='{"model": "auto"}')
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"refused: {message}\n"
    result = run("--config", file, "explain", *words, "--json", stdin='{"model": "auto"}')
    assert result.exit_code == 1
    assert json.loads(result.stdout)["error"]["message"] == message


def test_a_body_that_is_no_json_is_refused_and_a_file_that_is_not_there_named(
    file: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad.json").write_bytes(b"{\xff")
    result = run("--config", file, "explain", tmp_path / "bad.json")
    assert result.exit_code == 1
    assert result.stderr.startswith("refused: The request body is not valid JSON: ")
    result = run("--config", file, "explain", tmp_path / "none.json")
    assert result.exit_code == 1
    assert (
        result.stderr == f"Error: {tmp_path}/none.json cannot be read: no such file or directory.\n"
    )


def test_a_text_that_ends_like_a_file_is_a_text(file: Path) -> None:
    result = run("--config", file, "explain", "Prove what is in package.json")
    assert result.stdout.startswith("acme/reasoning")


def test_without_a_prompt_it_is_misused(file: Path) -> None:
    result = run("--config", file, "explain")
    assert result.exit_code == 2
    assert "Missing argument 'PROMPT'" in result.stderr


def test_a_program_s_argument_that_is_no_utf_8_is_a_text_too(tmp_path: Path) -> None:
    config(tmp_path)
    word = b"prove \xff".decode("utf-8", "surrogateescape")
    result = program("--config", "c.yaml", "explain", word, folder=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("acme/reasoning")


def test_nothing_is_written_anywhere(file: Path, tmp_path: Path) -> None:
    program("--config", file, "explain", "hi", folder=tmp_path)
    assert [item.name for item in tmp_path.iterdir()] == ["c.yaml"]
