"""Golden files: read one, and add a golden prompt to the text of one."""

from pathlib import Path
from typing import Any

import msgspec

from gateway.evaluation import golden
from gateway.evaluation.errors import DuplicatePromptError
from gateway.evaluation.golden import GoldenPrompt
from gateway.settings import yaml
from gateway.settings.errors import ConfigError, Mistake

_START = "prompts:\n"
_OPINION_FIELDS = ("tier", "why")
"""Fields that say what somebody expects of a prompt; the others say how it is asked."""


def read_golden_file(path: Path) -> list[GoldenPrompt]:
    """Read a file of golden prompts. Raises ConfigError."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        reason = (error.strerror or "").lower()
        raise ConfigError([Mistake(file=str(path), message=f"cannot be read: {reason}.")]) from None
    except UnicodeDecodeError:
        raise ConfigError([Mistake(file=str(path), message="is not UTF-8.")]) from None
    return golden.read_prompts(yaml.read(text, str(path)))


def add_prompt(text: str, file: str, added: GoldenPrompt) -> tuple[str, int]:
    """Return the text of a golden file with another prompt, and the number of its prompts.

    All else in the text stays as it is; an empty text becomes a file. Raises DuplicatePromptError
    if the file has the prompt, and ConfigError if it is no golden file or cannot take a line.
    """
    known, indent = list[GoldenPrompt](), ""
    if text.strip():
        document = yaml.read(text, file)
        known = golden.read_prompts(document)
        for place, prompt in enumerate(known):
            if _ask(prompt) == _ask(added):
                raise DuplicatePromptError(prompt.tier, document.lines["prompts", place])
        line = text.splitlines()[document.lines["prompts", len(known) - 1] - 1]
        indent = line[: len(line) - len(line.lstrip())]
    start = text if text.strip() else _START
    new_line = "" if start.endswith("\n") else "\n"
    new_text = f"{start}{new_line}{indent}- {yaml.dump_flow(_list_values(added))}\n"
    prompts = golden.read_prompts(yaml.read(new_text, file))
    if prompts != [*known, added]:
        message = "takes no line at its end: write its prompts as a list, one below the other."
        raise ConfigError([Mistake(file=file, message=message)])
    return new_text, len(prompts)


def _ask(prompt: GoldenPrompt) -> dict[str, Any]:
    """Return how a prompt is asked."""
    values = msgspec.structs.asdict(prompt)
    return {name: value for name, value in values.items() if name not in _OPINION_FIELDS}


def _list_values(prompt: GoldenPrompt) -> dict[str, Any]:
    """Return the fields that differ from their defaults."""
    values, defaults = msgspec.structs.asdict(prompt), msgspec.structs.asdict(GoldenPrompt())
    return {name: value for name, value in values.items() if value != defaults[name]}
