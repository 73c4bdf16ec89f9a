"""A golden prompt that is made of a call's kept text."""

import os
from pathlib import Path
from typing import NamedTuple

import msgspec

from gateway.core.errors import Problem, ProblemError, conflict
from gateway.core.ledger_rows import FinalRow
from gateway.core.target import Tier
from gateway.ledger import transcripts
from gateway.ledger.file_lock import lock_file
from gateway.ledger.store import LedgerStore
from gateway.ledger.transcripts import Transcript
from gateway.settings.errors import ConfigError
from gateway.state.private_file import open_private

MAX_FILE_BYTES = 4_000_000
"""The size of the golden file from which it takes no more prompts: reading it takes seconds."""


class KeptTexts(msgspec.Struct, frozen=True):
    """The place of the texts of calls."""

    folder: Path
    is_on: bool
    """True if the gateway keeps texts now."""


class GoldenCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call whose prompt becomes golden, and where it goes."""

    file: Path
    call: FinalRow
    tier: Tier
    why: str
    has_key: bool
    """False if keys are open: then the call's key is none."""
    texts: KeptTexts


class AddedPrompt(NamedTuple):
    """The outcome of an addition."""

    prompts: int
    """The number of prompts of the file."""
    turns: int
    """The number of user turns of the call; the prompt is the last of them."""


def find_transcript(texts: KeptTexts, id: str) -> Transcript:
    """Return the text of a call. Raises ProblemError: not_found, with the reason. Blocks."""
    transcript = transcripts.find(texts.folder, id)
    if transcript is None:
        reason = (
            "it was deleted, or another machine keeps it"
            if texts.is_on
            else "ledger.content is off"
        )
        message = f"The gateway does not have the text of this call: {reason}."
        raise ProblemError(Problem(kind="not_found", message=message))
    return transcript


def add_golden(_: LedgerStore, golden_call: GoldenCall) -> AddedPrompt:
    """Add a call's prompt to a golden file.

    Raises ProblemError: not_found if there is no text, invalid_request (409) if it makes no prompt.
    """
    # Only a query process imports what evaluates, and only for an addition.
    from gateway.evaluation import golden_file  # noqa: PLC0415
    from gateway.evaluation.errors import DuplicatePromptError  # noqa: PLC0415
    from gateway.evaluation.golden import GoldenPrompt  # noqa: PLC0415

    call, file = golden_call.call, golden_call.file
    transcript = find_transcript(golden_call.texts, call.id)
    record = call.basis
    if record is None or record.operation != "generate":
        raise conflict("No tier was chosen for this call, so it makes no golden prompt.")
    if transcript.cut:
        raise conflict("The gateway kept a part of this text, so it makes no golden prompt.")
    prompt = transcripts.read_prompt(transcript, call.dialect)
    if prompt is None or not prompt.user.strip():
        raise conflict("The kept text has no words of a user to make a golden prompt of.")
    turn = f", turn {prompt.user_turns} of its conversation" if prompt.user_turns > 1 else ""
    added = GoldenPrompt(
        prompt=prompt.user,
        tier=golden_call.tier,
        model=call.asked or "auto",
        key=call.key if golden_call.has_key else None,
        tags=() if record.said is None else record.said.tags,
        dialect=call.dialect,  # type: ignore[arg-type]  # one of them
        why=f"{golden_call.why} (call {call.id}{turn})".strip(),
    )
    try:
        with lock_file(file.with_suffix(".lock")):
            text = file.read_text("utf-8") if file.exists() else ""
            if len(text) > MAX_FILE_BYTES:
                raise conflict(f"{file} is full: move it to your other golden prompts.")
            new_text, count = golden_file.add_prompt(text, str(file), added)
            _replace(file, new_text)
    except DuplicatePromptError as error:
        raise conflict(f"{file}, {error}.") from None
    except ConfigError as error:
        reason = "; ".join(str(mistake) for mistake in error.mistakes[:3])
        raise conflict(f"The golden file takes no prompt: {reason}") from None
    except (OSError, UnicodeDecodeError) as error:
        problem = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise conflict(f"{file} cannot be read or written: {problem}.") from None
    return AddedPrompt(count, prompt.user_turns)


def _replace(file: Path, text: str) -> None:
    """Put a text in place of a file, which stays whole if the disk is full. Raises OSError."""
    new_file = file.with_suffix(".new")
    with os.fdopen(open_private(new_file, os.O_WRONLY | os.O_TRUNC), "w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    new_file.replace(file)
