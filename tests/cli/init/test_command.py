"""`tiergate init`: the gateway finds the files, accepts them and serves with them."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import Result

from gateway.cli.init import detect
from gateway.limits import keys
from gateway.runtime.build import build_config
from gateway.settings import changed_defaults
from gateway.settings.environment import find_shipped_config
from gateway.settings.loader import load
from tests.cli.run import run
from tests.cli.terminal import Terminal
from tests.e2e.child import Child, until
from tests.e2e.upstream import Answer, Upstream, answering
from tests.e2e.world import Loop

SECRET = "sk-never-shown-1234567890"
LABS = sorted(detect.load_shipped_labs(find_shipped_config().parent / "labs"))


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder on a machine that runs nothing else."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(detect, "find_model_servers", lambda _: [])
    monkeypatch.setattr(detect, "find_redis", lambda: None)
    return tmp_path


def init(*words: str, **environ: str) -> Result:
    return run("init", *words, environ=environ)


def build_written_config(folder: Path, **environ: str) -> Any:
    """Return the configuration as the gateway builds it."""
    return build_config(load(folder / "config/gateway.yaml", environ), datetime.now(UTC))


def test_init_takes_the_labs_whose_credentials_are_set(empty_folder: Path) -> None:
    (empty_folder / ".env").write_text(f"ANTHROPIC_API_KEY={SECRET}\nMISTRAL_API_KEY=\n", "utf-8")
    result = init("--yes", OPENAI_API_KEY=SECRET)
    assert result.exit_code == 0
    text = (empty_folder / "config/gateway.yaml").read_text("utf-8")
    assert "default: {lab: openai, tier: smart}" in text
    assert "needs OPENAI_API_KEY, found in the environment" in text
    assert "needs ANTHROPIC_API_KEY, found in .env" in text
    assert "mistral" not in text
    assert not (empty_folder / ".env.example").exists()
    built = build_written_config(empty_folder, OPENAI_API_KEY=SECRET, ANTHROPIC_API_KEY=SECRET)
    assert {n for n, lab in built.built_catalogue.catalogue.labs.items() if lab.enabled} == {
        "openai",
        "anthropic",
    }
    everything = result.output + "".join(
        f.read_text("utf-8") for f in empty_folder.glob("config/**/*.yaml")
    )
    assert SECRET not in everything


def test_the_new_configuration_completes_broken_answers(empty_folder: Path) -> None:
    """The file itself says what that costs."""
    assert init("--yes", OPENAI_API_KEY=SECRET).exit_code == 0
    assert (
        build_written_config(empty_folder, OPENAI_API_KEY=SECRET).source.config.routing.complete
        == "hold"
    )
    text = (empty_folder / "config/gateway.yaml").read_text("utf-8")
    assert "streams wait for the whole answer" in text


@pytest.mark.parametrize("words", [("--yes",), ("--yes", "--keys", "file")])
def test_a_new_configuration_gets_no_note_on_changed_defaults(
    empty_folder: Path, words: tuple[str, ...]
) -> None:
    """`tiergate check` has no note on changed defaults for a new configuration."""
    assert init(*words, OPENAI_API_KEY=SECRET).exit_code == 0
    source = load(empty_folder / "config/gateway.yaml", {"OPENAI_API_KEY": SECRET})
    assert [*changed_defaults.find_notes(source)] == []


def test_the_new_configuration_is_short_and_mostly_comments(empty_folder: Path) -> None:
    """Most of its lines are comments, and no line is long."""
    assert init("--yes", OPENAI_API_KEY=SECRET).exit_code == 0
    lines = (empty_folder / "config/gateway.yaml").read_text("utf-8").splitlines()
    assert len(lines) < 60
    assert max(map(len, lines)) <= 96
    assert sum(line.startswith("#") for line in lines) > 15


@pytest.mark.parametrize("lab", LABS)
def test_the_operator_can_choose_every_lab(empty_folder: Path, lab: str) -> None:
    """The lab's hosts and facts come with it; without a credential the small model answers."""
    assert init("--lab", lab, "--yes").exit_code == 0
    result = run("check", environ={})
    assert (result.exit_code, result.stderr) == (0, "")
    assert f" {lab}: " in result.stdout
    assert build_written_config(empty_folder).router.catalogue.default_lab == "local"


def test_the_first_lab_is_the_default_and_each_missing_credential_has_a_line(
    empty_folder: Path,
) -> None:
    result = init("--lab", "google", "--lab", "openai", "--redis", "redis://r.invalid:1/2", "--yes")
    assert result.stdout.endswith(
        "Next:\n  cp .env.example .env   then write your credentials into .env\n  tiergate serve\n"
    )
    example_lines = (empty_folder / ".env.example").read_text("utf-8").splitlines()
    assert [line for line in example_lines if not line.startswith("#")] == [
        "GEMINI_API_KEY=", "OPENAI_API_KEY=", "REDIS_URL=redis://r.invalid:1/2",
    ]  # fmt: skip
    assert "redis" not in (empty_folder / "config/gateway.yaml").read_text("utf-8")
    assert "default: {lab: google," in (empty_folder / "config/gateway.yaml").read_text("utf-8")


def test_a_new_key_file_has_a_first_key_whose_secret_is_shown_once(empty_folder: Path) -> None:
    result = init("--lab", "openai", "--keys", "file", "--key", "ann", "--yes", OPENAI_API_KEY="k")
    (secret,) = re.findall(r"tg-[0-9a-f]{64}", result.stdout)
    key_set = keys.load("keys.yaml", empty_folder / "config", "")
    assert key_set.find(secret).name == "ann"
    assert secret not in "".join(
        f.read_text("utf-8") for f in empty_folder.glob("config/**/*.yaml")
    )
    again = init(
        "--lab", "openai", "--keys", "file", "--key", "bob", "--force", "--yes", OPENAI_API_KEY="k"
    )
    assert again.exit_code == 0
    assert {
        key.name for key in keys.load("keys.yaml", empty_folder / "config", "").list_keys()
    } == {
        "ann",
        "bob",
    }
    assert init("--keys", "file", "--key", "bob", "--force", "--yes").exit_code == 1


def test_keys_of_the_environment_are_a_line_of_the_example_file(empty_folder: Path) -> None:
    result = init("--lab", "openai", "--keys", "env", "--json", OPENAI_API_KEY="k")
    reply = json.loads(result.stdout)
    assert reply["key"]["name"] == "me"
    (line,) = (
        line
        for line in (empty_folder / ".env.example").read_text("utf-8").splitlines()
        if "TIERGATE_KEYS" in line
    )
    key_set = keys.load("open", empty_folder / "config", line.partition("=")[2])
    assert key_set.find(reply["key"]["secret"]).name == "me"
    assert reply["credentials"] == ["OPENAI_API_KEY"]
    assert reply["next"] == ["cp .env.example .env", "tiergate serve"]
    assert all(Path(file).exists() for file in reply["files"])


def test_init_overwrites_nothing_without_force(empty_folder: Path) -> None:
    assert init("--lab", "openai", "--yes").exit_code == 0
    edited = empty_folder / "config/gateway.yaml"
    edited.write_text("# mine\n", "utf-8")
    result = init("--lab", "openai", "--yes")
    assert result.exit_code == 1
    assert result.stderr == (
        "Error: config/gateway.yaml and 9 more are there already: --force overwrites, --output writes elsewhere.\n"
    )
    assert edited.read_text("utf-8") == "# mine\n"
    assert init("--lab", "openai", "--yes", "--output", "other").exit_code == 1  # .env.example
    (empty_folder / ".env.example").unlink()
    other = init("--lab", "openai", "--yes", "--output", "other")
    assert "  tiergate --config other/gateway.yaml serve\n" in other.stdout
    assert init("--lab", "openai", "--yes", "--force").exit_code == 0
    assert edited.read_text("utf-8") != "# mine\n"


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--lab", "opnai"], "there is no lab 'opnai'. Did you mean 'openai'?"),
        (["--lab", "here"], "there is no lab 'here'."),
        (
            ["--host", "0.0.0.0"],
            "Clients on other machines need keys: add --keys file or --keys env.",
        ),
        (["--keys", "open", "--key", "ann"], "--key needs --keys file or --keys env."),
    ],
)
def test_init_refuses_options_that_cannot_work(
    empty_folder: Path, words: list[str], problem: str
) -> None:
    result = init(*words, "--yes")
    assert (result.exit_code, result.stdout) == (2, "")
    assert problem in result.stderr
    assert not (empty_folder / "config").exists()


def test_a_folder_that_init_cannot_create_is_one_line_of_error(empty_folder: Path) -> None:
    (empty_folder / "config").write_text("a file", "utf-8")
    result = init("--yes")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)


def test_init_finds_local_model_servers_and_their_chat_models() -> None:
    """A server of another kind, or one without a chat model, is not listed."""
    answers = {
        "http://box:1/v1/models": (
            200,
            b'{"data": [{"id": "a"}, {"id": "embed-b"}, {"id": "c"}, 3, {"id": 4}]}',
        ),
        "http://127.0.0.1:8080/v1/models": (404, b"{}"),
        "http://127.0.0.1:8000/v1/models": (200, b"<html>"),
        "http://127.0.0.1:1234/v1/models": (200, b'{"data": 3}'),
    }
    servers = detect.find_model_servers("http://box:1/v1/", answers.get)
    assert servers == [detect.LocalModelServer("Ollama", "http://box:1/v1", ("a", "c"))]
    assert detect.find_model_servers(get_url=lambda _: None) == []


def test_init_finds_a_redis_that_answers(redis_url: str) -> None:
    port = int(redis_url.rpartition(":")[2].partition("/")[0])
    assert detect.find_redis(port) == f"redis://127.0.0.1:{port}"
    assert detect.find_redis(1) is None


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    loop, upstream = Loop(), Upstream()
    loop.run(upstream.start())
    body = b'{"data": [{"id": "tiny"}, {"id": "large"}]}'
    upstream.on("/v1/models", Answer(pieces=(body,), length=len(body)))
    upstream.on("/v1/chat", answering)
    yield upstream
    loop.run(upstream.stop())
    loop.close()


def test_init_asks_in_a_terminal_and_the_gateway_serves_what_it_writes(
    tmp_path: Path, upstream: Upstream
) -> None:
    """A newcomer's first minute: answers, check, serve, a request with the key from the screen."""
    environ = {"OLLAMA_BASE_URL": f"{upstream.url}/v1"}
    with Terminal(["init"], folder=tmp_path, environ=environ) as terminal:
        assert "Found Ollama" in terminal.until("Which, the default first [here]:")
        terminal.press("hre\r")
        assert "There is no lab 'hre'. Did you mean 'here'?" in terminal.until(
            "Which, the default first [here]:"
        )
        terminal.press("here, openai\r")
        terminal.until("Port [8484]:")
        terminal.press("0\r")
        terminal.until("Only clients with a key may call? [y/N]:")
        terminal.press("y\r")
        terminal.until("Name of the first key [me]:")
        terminal.press("\r")
        if "Use the Redis" in terminal.text:  # pragma: no cover - a Redis of the machine's own
            terminal.press("n\r")
        assert terminal.end() == 0
    (secret,) = re.findall(r"tg-[0-9a-f]{64}", terminal.text)
    data = {"TIERGATE_DATA": str(tmp_path / "data"), "PYTHONPATH": str(Path(__file__).parents[3])}
    checked = subprocess.run(
        [sys.executable, "-m", "gateway", "check"],
        cwd=tmp_path,
        env=data,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (checked.returncode, checked.stderr) == (0, "")
    assert "on  here: fast 1, smart 1, reasoning 1" in checked.stdout
    command = [
        sys.executable,
        "-m",
        "gateway",
        "--config",
        str(tmp_path / "config/gateway.yaml"),
        "serve",
    ]
    child = Child(command, tmp_path / "gateway", PYTHONUNBUFFERED="1", **data)
    try:
        match = until(lambda: re.search(r"on (http://127\.0\.0\.1:\d+)", child.out), f"{child.err}")
        assert match is not None
        body = {"model": "here/fast", "messages": [{"role": "user", "content": "one two three"}]}
        headers = {"authorization": f"Bearer {secret}"}
        answer = httpx.post(f"{match[1]}/v1/chat/completions", json=body, headers=headers)
        assert answer.json()["choices"][0]["message"]["content"] == "word0 word1 word2 "
        assert httpx.post(f"{match[1]}/v1/chat/completions", json=body).status_code == 401
    finally:
        child.stop()
    assert upstream.requests[-1].json["model"] == "tiny"


def test_ctrl_c_at_a_question_writes_nothing(tmp_path: Path) -> None:
    with Terminal(["init"], folder=tmp_path, environ={}) as terminal:
        terminal.until("Which, the default first")
        terminal.press("\x03")
        assert terminal.end(again="\x03") == 130
        assert "Interrupted." in terminal.text
    assert list(tmp_path.iterdir()) == []
