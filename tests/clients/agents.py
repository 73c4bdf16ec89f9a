"""Unmodified agents, as people run them: one prompt, then another in the same session."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from gateway.core import jsonio
from tests.clients.lab import TAKEN_OVER
from tests.clients.model_turns import Turn
from tests.clients.program import NODE, needs, run
from tests.e2e.claude_code import ClaudeProgram
from tests.e2e.four_labs import CHAT, MESSAGES, RESPONSES

type Call = tuple[str, dict[str, Any]]
type Ask = Callable[[Path, str, str, str, bool], str]
"""Takes a folder, an address, a lab, a prompt, and true to continue; returns the agent's words."""

NOTE = "forty-two é\n"
KEY = "unused"


def turns(write: Callable[[str, str], Call], shell: Callable[[str], Call]) -> tuple[Turn, ...]:
    """Return three turns: one file, then two more at once, then text."""
    return (
        Turn(thought="First one.", text="I write it.", calls=(write("note.txt", NOTE),)),
        Turn(
            thought="Then two at once.",
            calls=(shell("wc -c <note.txt >size.txt"), shell('printf "%s" "a\\"b" >quoted.txt')),
        ),
        Turn(text="All is done."),
    )


def claude(folder: Path, url: str, lab: str, prompt: str, again: bool) -> str:
    agent = ClaudeProgram(folder, url, KEY, ANTHROPIC_MODEL=f"{lab}/smart")
    more = ("--continue",) if again else ()
    flags = ("--output-format", "json", "--allowedTools", "Write,Bash", *more)
    answer = agent.ask(prompt, *flags)
    assert answer.code == 0, answer.out + answer.err
    assert answer.result["is_error"] is False
    return str(answer.result["result"])


CLAUDE = turns(
    lambda name, text: ("Write", {"file_path": f"{{work}}/{name}", "content": text}),
    lambda command: ("Bash", {"command": command, "description": "Runs it"}),
)

_CODEX = """
model = "{model}"
model_provider = "tiergate"
approval_policy = "never"
sandbox_mode = "danger-full-access"
check_for_update_on_startup = false
{search}
[analytics]
enabled = false
[feedback]
enabled = false
[model_providers.tiergate]
name = "tiergate"
base_url = "{url}/v1"
env_key = "TIERGATE_KEY"
wire_api = "responses"
http_headers = {{ "x-tiergate-lab" = "{lab}" }}
"""


def codex(model: str, search: str = 'web_search = "disabled"') -> Ask:
    """Return Codex with a model of this name. Web search is a tool of OpenAI's own."""

    def ask(folder: Path, url: str, lab: str, prompt: str, again: bool) -> str:
        home = folder / "home/.codex"
        home.mkdir(parents=True, exist_ok=True)
        name = model.format(lab=lab)
        (home / "config.toml").write_text(
            _CODEX.format(model=name, url=url, lab=lab, search=search)
        )
        words = ["exec", "--json", "--skip-git-repo-check"]
        words += ["resume", "--last", prompt] if again else [prompt]
        ran = run([_installed("codex"), *words], folder, TIERGATE_KEY=KEY)
        assert ran.code == 0, ran.out + ran.err
        items = [it["item"] for it in ran.lines if it["type"] == "item.completed"]
        return str([it["text"] for it in items if it["type"] == "agent_message"][-1])

    return ask


CODEX = turns(
    lambda name, text: ("exec_command", {"cmd": f"printf '%s' '{text}' >{name}"}),
    lambda command: ("exec_command", {"cmd": command}),
)
_RUN = "const ran = await tools.exec_command({given}); text(ran.output);"


def _script(command: str) -> Call:
    given = jsonio.dumps({"cmd": command}).decode()
    return "functions__exec", {"input": _RUN.replace("{given}", given)}


SCRIPTED = turns(lambda name, text: _script(f"printf '%s' '{text}' >{name}"), _script)
"""For a model that Codex knows by name: it runs JavaScript, in a custom tool of a namespace."""


def opencode(npm: str, path: str) -> Ask:
    """Return opencode with one of the AI SDK's providers."""

    def ask(folder: Path, url: str, lab: str, prompt: str, again: bool) -> str:
        config = {
            "autoupdate": False, "share": "disabled", "permission": "allow",
            "provider": {
                "tiergate": {
                    "npm": npm, "options": {"baseURL": url + path, "apiKey": KEY},
                    "models": {f"{lab}/smart": {}},
                },
            },
        }  # fmt: skip
        switches = ("AUTOUPDATE", "MODELS_FETCH", "LSP_DOWNLOAD", "DEFAULT_PLUGINS", "SHARE")
        off = {f"OPENCODE_DISABLE_{name}": "1" for name in switches}
        words = ["--continue"] if again else []
        ran = run(
            [_installed("opencode"), "run", "--format", "json", "-m", f"tiergate/{lab}/smart", *words, prompt],
            folder, OPENCODE_CONFIG_CONTENT=jsonio.dumps(config).decode(), **off,
        )  # fmt: skip
        assert ran.code == 0, ran.out + ran.err
        texts = [it["part"]["text"] for it in ran.lines if it["type"] == "text"]
        assert texts, ran.out + ran.err
        return str(texts[-1])

    return ask


OPENCODE = turns(
    lambda name, text: ("write", {"filePath": f"{{work}}/{name}", "content": text}),
    lambda command: ("bash", {"command": command, "description": "Runs it"}),
)


def _installed(name: str) -> str:
    path = NODE / ".bin" / name
    needs(path)
    return str(path)


AGENTS: list[tuple[str, str, Ask, tuple[Turn, ...]]] = [
    ("Claude Code", MESSAGES, claude, CLAUDE),
    ("Codex", RESPONSES, codex("{lab}/smart"), CODEX),
    ("Codex taken over", RESPONSES, codex(TAKEN_OVER), SCRIPTED),
    ("opencode chat", CHAT, opencode("@ai-sdk/openai-compatible", "/v1"), OPENCODE),
    ("opencode responses", RESPONSES, opencode("@ai-sdk/openai", "/v1"), OPENCODE),
    ("opencode messages", MESSAGES, opencode("@ai-sdk/anthropic", "/v1"), OPENCODE),
]
"""Each agent with its dialect, the way to call it, and the turns of its lab."""
