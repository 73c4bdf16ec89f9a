"""Kept text: no prompt or answer is on disk unless it is switched on; secrets never are."""

from collections.abc import Iterable

import pytest

from gateway.core import jsonio
from gateway.ledger.transcripts import find
from tests.e2e.upstream import Upstream, frames, stream, whole
from tests.e2e.world import Config, Make, World, chat

CANARY = "canary-4711-of-the-prompt"
SECRET = "sk-proj-0123456789abcdefCANARY"
MAIL = "ann@example.org"
TEXT = f"{CANARY} {SECRET} {MAIL}"
WORDS = ("The answer is cana", "ry-0815, for ann@exam", "ple.org.")


def keeping_content(value: Config) -> None:
    value["ledger"] = {"content": "on", "redact": [r"\b0815\b"]}


def find_words(world: World, words: Iterable[str]) -> dict[str, list[str]]:
    """Return the files of the data folder that contain each word."""
    world.close()
    files = [path for path in (world.folder / "data").rglob("*") if path.is_file()]
    assert files
    return {
        word: [path.name for path in files if word.encode() in path.read_bytes()] for word in words
    }


def test_by_default_no_prompt_or_answer_is_on_disk(world: World, upstream: Upstream) -> None:
    upstream.on("/acme", stream(*frames(WORDS), bill=(7, 3)), whole("".join(WORDS)))
    for streamed in (True, False):
        assert world.ask(chat(TEXT, stream=streamed)).status_code == 200
    words = (CANARY, SECRET, MAIL, "0815")
    assert find_words(world, words) == {word: [] for word in words}
    assert not (world.folder / "data" / "content").exists()


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_transcripts_hold_no_secrets(make: Make, upstream: Upstream, streamed: bool) -> None:
    world = make(keeping_content)
    upstream.on("/acme", stream(*frames(WORDS), bill=(7, 3)) if streamed else whole("".join(WORDS)))
    reply = world.ask(chat(TEXT, stream=streamed, user=MAIL))
    assert reply.status_code == 200
    id = world.entry().id
    files_by_word = find_words(world, (CANARY, SECRET, MAIL, "0815", "ann@exam"))
    (name,) = {name for names in files_by_word.values() for name in names}
    assert files_by_word == {CANARY: [name], SECRET: [], MAIL: [], "0815": [], "ann@exam": []}
    folder = world.folder / "data" / "content"
    assert [path.name for path in folder.iterdir()] == [name]
    text = find(folder, id)
    assert text is not None
    request = jsonio.loads(text.prompt.encode())
    assert request["messages"][0]["content"] == f"{CANARY} [key] [e-mail]"
    assert (request["model"], text.cut) == ("smart", False)
    answer = read_answer_text(text.answer, streamed=streamed)
    assert answer == "The answer is canary-[struck out], for [e-mail]."


def read_answer_text(text: str, *, streamed: bool) -> str:
    if not streamed:
        content: str = jsonio.loads(text.encode())["choices"][0]["message"]["content"]
        return content
    lines = [line[6:] for line in text.splitlines() if line.startswith("data: {")]
    choices_by_chunk = [jsonio.loads(line.encode())["choices"] for line in lines]
    return "".join(
        choices[0]["delta"].get("content", "") for choices in choices_by_chunk if choices
    )


def test_only_the_owner_can_read_the_transcripts(make: Make, upstream: Upstream) -> None:
    upstream.on("/acme", whole())
    world = make(keeping_content)
    world.ask(chat())
    world.close()
    folder = world.folder / "data" / "content"
    modes: set[int] = {path.stat().st_mode & 0o777 for path in folder.iterdir()}
    assert (folder.stat().st_mode & 0o777, modes) == (0o700, {0o600})
