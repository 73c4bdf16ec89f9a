"""Completion: click's scripts in real shells."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.run import program, run


def test_an_unknown_shell_gets_the_list_of_shells() -> None:
    assert run("completion", "fish").exit_code == 0
    assert "'bash', 'zsh', 'fish'" in run("completion", "csh").stderr


def require_shell(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"no {name}: apt-get install {name}")
    return path


def environ(folder: Path) -> dict[str, str]:
    """Return an environment with `tiergate` on the path, as an installation has it."""
    return {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "TERM": "dumb",
    }


def run_script(words: list[str], folder: Path, script: str) -> str:
    process = subprocess.run(
        [*words, script],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=folder,
        env=environ(folder),
        check=False,
    )
    assert process.stderr == ""
    return process.stdout


BASH = """
eval "$(tiergate completion bash)"
COMP_WORDS=({words})
COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
COMPREPLY=()
_tiergate_completion tiergate
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("tiergate che", ["check"]),
        ("tiergate check --st", ["--strict"]),
        ("tiergate keys r", ["revoke", "rotate"]),
        ("tiergate evaluate --baseline sm", ["smart"]),
        ("tiergate explain --lab ''", [""]),
        ("tiergate nonsense --x ch", ["check"]),
    ],
)
def test_bash_completes_commands_and_options(
    tmp_path: Path, words: str, expected: list[str]
) -> None:
    """The test asks bash for words as a press of the Tab key does."""
    bash = require_shell("bash")
    assert (
        run_script([bash, "--norc", "-c"], tmp_path, BASH.format(words=words)).splitlines()
        == expected
    )


def test_fish_completes_commands_and_options(tmp_path: Path) -> None:
    fish = require_shell("fish")
    script = "tiergate completion fish | source\n" + "\n".join(
        f'complete -C "{line}"'
        for line in (
            "tiergate che",
            "tiergate keys rev",
            "tiergate check --stri",
        )
    )
    output = run_script([fish, "--no-config", "-c"], tmp_path, script)
    assert [line.partition("\t")[0] for line in output.splitlines()] == [
        "check",
        "revoke",
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
    ("line", "expected"),
    [
        ("tiergate che", "check "),
        ("tiergate check --stri", "--strict "),
        ("tiergate keys rev", "revoke "),
    ],
)
def test_zsh_completes_commands_and_options(tmp_path: Path, line: str, expected: str) -> None:
    """The test presses the Tab key in a terminal of its own."""
    zsh = require_shell("zsh")
    assert run_script([zsh, "-f", "-c"], tmp_path, ZSH.format(line=line, told=expected)) == "done\n"


def test_the_program_answers_completion_requests_of_shells(tmp_path: Path) -> None:
    process = program(
        environ={
            "_TIERGATE_COMPLETE": "bash_complete",
            "COMP_WORDS": "tiergate che",
            "COMP_CWORD": "1",
        },
        folder=tmp_path,
    )
    assert (process.returncode, process.stdout, process.stderr) == (0, "plain,check\n", "")
