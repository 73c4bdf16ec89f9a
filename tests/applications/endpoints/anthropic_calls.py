"""Each method of Anthropic's SDK that has an endpoint in the tables, with model names of its time."""

from typing import Any

from anthropic.types import DeletedFile, DeletedSkill, FileMetadata, Message, Skill
from anthropic.types.messages import DeletedMessageBatch, MessageBatch
from anthropic.types.skills import DeletedSkillVersion, SkillVersion

from tests.applications.endpoints.recorder import TEXT_CALL, Recorder

type Json = Any
type Client = Any
"""A client of the SDK. Its deprecated methods are called too, as applications do."""

SKILL = ("tables/SKILL.md", b"---\nname: tables\n---\n", "text/markdown")
REQUEST: Json = {
    "custom_id": "first",
    "params": {
        "model": "claude-3-5-haiku-20241022", "max_tokens": 8,
        "messages": [{"role": "user", "content": "Hello."}],
    },
}  # fmt: skip


def run(client: Client, step: Recorder) -> None:
    """Call every method once; what one makes, the next uses and deletes."""
    _old_models(client, step)
    _files(client, step)
    _batches(client, step)
    _skills(client, step)


def _old_models(client: Client, step: Recorder) -> None:
    """Call models that no lab lists any more."""
    messages: Json = [{"role": "user", "content": "Hello."}]
    for model in ("claude-3-opus-20240229", "claude-3-5-sonnet-latest", "claude-2.1"):
        step(TEXT_CALL, Message, lambda model=model: client.messages.create(model=model, max_tokens=9, messages=messages), tokens=(9, 2))  # type: ignore[misc] # fmt: skip


def _files(client: Client, step: Recorder) -> None:
    files = client.files
    file = step("files.create", FileMetadata, lambda: files.upload(file=("a.txt", b"Hello.", "text/plain")), free=True)  # fmt: skip
    assert step("files.list", list, lambda: [item.id for item in files.list()], free=True) == [file.id]  # fmt: skip
    step("files.retrieve", FileMetadata, lambda: files.retrieve_metadata(file.id), free=True)
    assert step("files.content", bytes, lambda: files.download(file.id).read(), free=True) == b"Hello."  # fmt: skip
    beta = client.beta.files  # the same endpoints, with a beta header
    assert step("files.list", list, lambda: [item.id for item in beta.list(betas=["files-api-2025-04-14"])], free=True) == [file.id]  # fmt: skip
    step("files.delete", DeletedFile, lambda: files.delete(file.id), free=True)


def _batches(client: Client, step: Recorder) -> None:
    batches = client.messages.batches
    batch = step("batches.create", MessageBatch, lambda: batches.create(requests=[REQUEST]), usd="0.0000076").id  # fmt: skip
    assert step("batches.list", list, lambda: [item.id for item in batches.list()], free=True) == [batch]  # fmt: skip
    ended = step("batches.retrieve", MessageBatch, lambda: batches.retrieve(batch), free=True)
    assert ended.results_url is not None
    assert str(client.base_url).rstrip("/") in ended.results_url
    results = step("batches.retrieve batches.results", list, lambda: [*batches.results(batch)], free=True)  # fmt: skip
    assert [result.custom_id for result in results] == ["first"]
    other = step("batches.create", MessageBatch, lambda: batches.create(requests=[REQUEST])).id
    assert step("batches.cancel", MessageBatch, lambda: batches.cancel(other), free=True).cancel_initiated_at  # fmt: skip
    step("batches.delete", DeletedMessageBatch, lambda: batches.delete(batch), free=True)


def _skills(client: Client, step: Recorder) -> None:
    skills = client.skills
    skill = step("skills.create", Skill, lambda: skills.create(files=[SKILL], display_name="Tables"), free=True).id  # fmt: skip
    assert step("skills.list", list, lambda: [item.id for item in skills.list()], free=True) == ["xlsx", skill]  # fmt: skip
    step("skills.retrieve", Skill, lambda: skills.retrieve(skill), free=True)
    step("skills.retrieve", Skill, lambda: skills.retrieve("xlsx"), free=True)
    second = step("skills.versions.create", SkillVersion, lambda: skills.versions.create(skill, files=[SKILL]), free=True).id  # fmt: skip
    assert len(step("skills.versions.list", list, lambda: [*skills.versions.list(skill)], free=True)) == 2  # fmt: skip
    where: Json = {"skill_id": skill}
    step("skills.versions.retrieve", SkillVersion, lambda: skills.versions.retrieve(second, **where), free=True)  # fmt: skip
    archive = step("skills.versions.content", bytes, lambda: client.beta.skills.versions.download(second, **where).read(), free=True)  # fmt: skip
    assert archive == b"PK archive"
    step("skills.versions.delete", DeletedSkillVersion, lambda: skills.versions.delete(second, **where), free=True)  # fmt: skip
    step("skills.delete", DeletedSkill, lambda: skills.delete(skill), free=True)
