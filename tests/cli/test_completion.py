"""Completion: which words may stand at a place, and that real shells offer them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.cli.words import FILE, candidates
from tests.cli.run import GOOD, config, program, run
from tests.cli.words import made

KEYS = "ann: {sha256: " + "a" * 64 + "}\nbob: {sha256: " + "b" * 64 + "}\n"


def offered(*words: str) -> list[str]:
    *args, incomplete = words
    return [one.text for one in candidates(list(args), incomplete) if one.kind == "plain"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a configuration of two files, and keys."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "gateway.yaml").write_text(
        "version: 1\ninclude: [part.yaml]\nkeys: keys.yaml\naliases: {gpt-4o: auto}\n"
        "guards: [{name: support is cheap, when: {tag: support}, max_tier: smart}]\n",
        "utf-8",
    )
    (tmp_path / "config" / "part.yaml").write_text(GOOD.replace("version: 1\n", ""), "utf-8")
    (tmp_path / "config" / "keys.yaml").write_text(KEYS, "utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TIERGATE_CONFIG", raising=False)
    monkeypatch.delenv("TIERGATE_KEYS", raising=False)
    return tmp_path


def test_what_it_knows_is_what_there_is() -> None:
    assert FILE.read_bytes() == made(), "run: python -m tests.cli.words"


def test_commands_and_their_commands() -> None:
    assert offered("che") == ["check"]
    assert set(offered("")) == set(json.loads(FILE.read_bytes())["commands"])
    assert offered("keys", "r") == ["revoke", "rotate"]
    assert offered("--config", "x.yaml", "che") == ["check"]
    assert offered("nothing", "") == offered("keys", "nothing", "") == []


def test_options_that_were_given_are_not_offered_again_but_those_that_may_be() -> None:
    assert offered("check", "--s") == ["--strict"]
    assert offered("check", "--strict", "--s") == []
    assert offered("keys", "add", "ann", "--tags", "a", "--ta") == ["--tags"]
    own = ["--host", "--port", "--workers", "--first-key"]
    assert offered("serve", "-") == [*own, "--config", "--help"]


def test_values_of_a_few_words() -> None:
    assert offered("completion", "") == ["bash", "zsh", "fish"]
    assert offered("evaluate", "l.csv", "--baseline", "s") == ["smart"]
    assert offered("serve", "--port", "8") == []
    assert offered("keys", "add", "ann", "--tiers", "fast,s") == ["fast,smart"]
    assert offered("evaluate", "--baseline=re") == ["--baseline=reasoning"]


def test_names_are_those_of_the_configuration(here: Path) -> None:
    assert offered("explain", "--lab", "") == ["acme"]
    assert offered("keys", "revoke", "a") == ["ann"]
    assert offered("keys", "rotate", "ann", "--keep", "1h", "") == []
    assert offered("replay", "--key", "") == ["ann", "bob"]
    assert offered("costs", "--only", "ru") == ["rule="]
    assert offered("costs", "--only", "rule=") == [
        "rule=support is cheap",
        "rule=drafts are cheap",
        "rule=proofs",
    ]
    assert offered("costs", "--only", "nothing=") == []
    assert {"auto", "acme/fast", "gpt-4o", "small"} <= set(offered("explain", "--model", ""))
    (here / "other.yaml").write_text("version: 1\nlabs: {globex: {}}\n", "utf-8")
    assert offered("--config", "other.yaml", "explain", "--lab", "") == ["globex"]
    assert offered("explain", "--config=other.yaml", "--lab", "") == ["globex"]


def test_keys_of_the_environment_too(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIERGATE_KEYS", "zoe=aa, yan=bb")
    assert offered("replay", "--key", "") == ["ann", "bob", "zoe", "yan"]


def test_configurations_are_offered_and_other_files_left_to_the_shell(here: Path) -> None:
    found = candidates(["--config"], "")
    assert [(one.text, one.kind) for one in found] == [
        ("config/gateway.yaml", "plain"),
        ("", "file"),
    ]
    assert offered("--config", "config/p") == ["config/part.yaml"]
    assert [one.kind for one in candidates(["train"], "lab")] == ["file"]
    assert [one.kind for one in candidates(["train", "a.csv"], "")] == ["file"]
    assert [one.kind for one in candidates(["test", "a.yaml"], "")] == []


@pytest.mark.parametrize("text", ["labs: [", "labs: 3\n", "- a\n", "include: [c.yaml]\n", "\0"])
def test_a_broken_configuration_offers_nothing(tmp_path: Path, text: str) -> None:
    file = str(config(tmp_path, text))
    assert offered("--config", file, "explain", "--lab", "") == []
    assert offered("--config", str(tmp_path / "none.yaml"), "explain", "--lab", "") == []


def test_a_press_of_the_key_imports_no_command() -> None:
    code = (
        "import sys; from gateway.cli.words import candidates; candidates(['serve'], '--');"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert {"pydantic", "httpx", "uvicorn", "gateway.cli.serve"}.isdisjoint(done.stdout.split())


def test_an_unknown_shell_is_told_which_there_are() -> None:
    assert run("completion", "fish").exit_code == 0
    assert "'bash', 'zsh', 'fish'" in run("completion", "csh").stderr


def shell(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"no {name}: apt-get install {name}")
    return found


def environ(folder: Path) -> dict[str, str]:
    """With `tiergate` on the path, as it is installed."""
    return {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "TERM": "dumb",
    }


def asked(words: list[str], folder: Path, script: str) -> str:
    done = subprocess.run(
        [*words, script],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=folder,
        env=environ(folder),
        check=False,
    )
    assert done.stderr == ""
    return done.stdout


BASH = """
eval "$(tiergate completion bash)"
COMP_WORDS=({words})
COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
COMPREPLY=()
_tiergate_completion tiergate
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("tiergate che", ["check"]),
        ("tiergate check --st", ["--strict"]),
        ("tiergate explain --lab ''", ["acme"]),
        ("tiergate keys revoke ''", ["ann", "bob"]),
        ("tiergate costs --only rule = su", ["support\\ is\\ cheap"]),
        (
            "tiergate costs --only rule =",
            ["support\\ is\\ cheap", "drafts\\ are\\ cheap", "proofs"],
        ),
        ("tiergate evaluate --baseline = sm", ["smart"]),
        ("tiergate nonsense --x ''", [""]),
    ],
)
def test_bash_offers_them(here: Path, words: str, told: list[str]) -> None:
    """As it is asked at a press of the key: words are parted at `=` already."""
    bash = shell("bash")
    assert asked([bash, "--norc", "-c"], here, BASH.format(words=words)).splitlines() == told


def test_fish_offers_them(here: Path) -> None:
    fish = shell("fish")
    script = "tiergate completion fish | source\n" + "\n".join(
        f'complete -C "{line}"'
        for line in (
            "tiergate che",
            "tiergate keys revoke b",
            "tiergate explain --lab ",
            "tiergate check --stri",
        )
    )
    found = asked([fish, "--no-config", "-c"], here, script)
    assert [line.partition("\t")[0] for line in found.splitlines()] == [
        "check",
        "bob",
        "acme",
        "--strict",
    ]


ZSH = """
zmodload zsh/zpty
zpty z zsh -f -i
zpty -w z "PS1=; unsetopt zle_bracketed_paste; autoload -U compinit; compinit -u -D"
zpty -w z 'eval "$(tiergate completion zsh)"; print re''ady'
zpty -r -m z found '*ready*'
zpty -w -n z $'{line}\\t'
zpty -r -m z found $'*{told}*'
print -r -- done
zpty -d z
"""


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("tiergate che", "check "),
        ("tiergate check --stri", "--strict "),
        ("tiergate keys revoke b", "bob "),
        ("tiergate explain --lab ac", "acme "),
    ],
)
def test_zsh_writes_them(here: Path, line: str, told: str) -> None:
    """In a terminal of its own, at a press of the key."""
    zsh = shell("zsh")
    assert asked([zsh, "-f", "-c"], here, ZSH.format(line=line, told=told)) == "done\n"


def test_the_program_answers_shells_itself(here: Path) -> None:
    done = program(
        environ={
            "_TIERGATE_COMPLETE": "bash_complete",
            "COMP_WORDS": "tiergate che",
            "COMP_CWORD": "1",
        },
        folder=here,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "plain,check\n", "")
