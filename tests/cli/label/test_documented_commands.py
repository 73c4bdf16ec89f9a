"""The commands of docs/labelling.md run as they are written there, but for the name of the judge."""

import re
import shlex
from pathlib import Path

from tests.cli.label.scene import mixed, open_scene

PAGE = Path(__file__).parents[3] / "docs" / "labelling.md"


def list_commands() -> list[list[str]]:
    """Return the commands `label` of the page, as words."""
    lines = re.findall(r"^tiergate (label [^\n]+)$", PAGE.read_text("utf-8"), re.MULTILINE)
    return [shlex.split(line) for line in lines]


def test_the_commands_of_the_page_run(tmp_path: Path) -> None:
    commands = list_commands()
    assert len(commands) == 4
    with open_scene(tmp_path) as scene:
        scene.serve(mixed(4))
        for words in commands:
            named = [
                {"openai/reasoning": "other/smart", "labels.jsonl": str(scene.out)}.get(word, word)
                for word in words
            ]
            result = scene.run(*named)
            assert result.exit_code == 0, result.output
        assert len(scene.labels) == 4
