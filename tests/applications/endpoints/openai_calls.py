"""Each method of OpenAI's SDK that has an endpoint in the tables, with model names of its time."""

from collections.abc import Iterator, Sequence
from typing import Any

from openai.pagination import SyncConversationCursorPage, SyncPage
from openai.types import (
    Batch,
    Completion,
    ContainerCreateResponse,
    ContainerRetrieveResponse,
    ContentProvenanceCheck,
    CreateEmbeddingResponse,
    Decision,
    DeletedSkill,
    FileDeleted,
    FileObject,
    ImagesResponse,
    ModerationCreateResponse,
    Skill,
    Upload,
    VectorStore,
    VectorStoreDeleted,
    Video,
    VideoCreateCharacterResponse,
    VideoDeleteResponse,
    VideoGetCharacterResponse,
)
from openai.types.audio import Transcription, Translation
from openai.types.chat import ChatCompletion
from openai.types.containers import FileCreateResponse, FileRetrieveResponse
from openai.types.conversations import (
    Conversation,
    ConversationDeletedResource,
    ConversationItemList,
    Message,
)
from openai.types.fine_tuning import FineTuningJob
from openai.types.responses import CompactedResponse, Response
from openai.types.skills import DeletedSkillVersion, SkillVersion
from openai.types.uploads import UploadPart
from openai.types.vector_stores import (
    VectorStoreFile,
    VectorStoreFileBatch,
    VectorStoreFileDeleted,
)

from tests.applications.endpoints.openai_api import (
    ARCHIVE,
    BATCH_RESULT,
    FILM,
    PICTURE,
    SOUND,
)
from tests.applications.endpoints.recorder import TEXT_CALL, Recorder

type Json = Any
type Client = Any
"""A client of the SDK. Its deprecated methods are called too, as applications do."""

QUESTION: Json = {
    "type": "choice", "name": "tier", "instructions": "How hard is it?",
    "choices": [{"value": "easy", "description": "Easy."}, {"value": "hard", "description": "Hard."}],
}  # fmt: skip
BATCH_LINE = (
    b'{"custom_id":"1","method":"POST","url":"/v1/chat/completions","body":'
    b'{"model":"gpt-4o-mini","max_tokens":5,"messages":[{"role":"user","content":"Hi"}]}}\n'
)
SKILL = ("SKILL.md", b"---\nname: tables\n---\n", "text/markdown")


def run(client: Client, step: Recorder) -> None:
    """Call every method once; what one makes, the next uses and deletes."""
    for part in (
        _old_models,
        _texts,
        _pictures,
        _sounds,
        _films,
        _files,
        _stores,
        _conversations,
        _containers,
    ):
        part(client, step)
    _skills(client, step)


def _old_models(client: Client, step: Recorder) -> None:
    """Call models that no lab lists: snapshots, a fine-tune, and those of years ago."""
    messages: Json = [{"role": "user", "content": "Hello."}]
    for model in ("gpt-4o-2024-08-06", "gpt-3.5-turbo", "o1-mini", "chatgpt-4o-latest", "ft:gpt-4o-mini-2024-07-18:acme::AbC1"):  # fmt: skip
        step(TEXT_CALL, ChatCompletion, lambda model=model: client.chat.completions.create(model=model, messages=messages), tokens=(9, 2))  # type: ignore[misc] # fmt: skip
    step(TEXT_CALL, CreateEmbeddingResponse, lambda: client.embeddings.create(model="text-embedding-ada-002", input=["Hello."], encoding_format="float"), tokens=(4, 0))  # fmt: skip


def _texts(client: Client, step: Recorder) -> None:
    text = {"model": "gpt-3.5-turbo-instruct", "prompt": "Hello"}
    step("completions.create", Completion, lambda: client.completions.create(**text, max_tokens=7), tokens=(5, 7), usd="0.0000215")  # fmt: skip
    step("completions.create", list, lambda: [*client.completions.create(**text, max_tokens=7, stream=True)], tokens=(5, 7))  # fmt: skip
    answer = step("decisions.create", Decision, lambda: client.decisions.create(model="gpt-6-luna", input="2 + 2?", questions=[QUESTION]), tokens=(11, 5))  # fmt: skip
    assert answer.answers[0].type == "choice"
    verdict = step("moderations.create", ModerationCreateResponse, lambda: client.moderations.create(model="omni-moderation-latest", input="Hello."), units={"request": 1})  # fmt: skip
    assert not verdict.results[0].flagged
    step("provenance.check", ContentProvenanceCheck, lambda: client.content_provenance_checks.create(file=("a.png", PICTURE)))  # fmt: skip
    step("responses.compact", CompactedResponse, lambda: client.responses.compact(model="gpt-4o", input="A long talk."), tokens=(11, 5), usd="0.0000775")  # fmt: skip


def _pictures(client: Client, step: Recorder) -> None:
    old = step("images.generate", ImagesResponse, lambda: client.images.generate(model="dall-e-3", prompt="A fox", n=1, size="1024x1024", quality="hd"), units={"image 1024x1024 hd": 1})  # fmt: skip
    assert old.data is not None
    assert old.data[0].url == "https://pictures.example/0.png"
    new: Json = {"model": "gpt-image-1-mini", "prompt": "A fox"}
    step("images.generate", ImagesResponse, lambda: client.images.generate(**new), tokens=(20, 100))
    step("images.generate", list, lambda: [*client.images.generate(**new, stream=True)], tokens=(20, 100))  # fmt: skip
    picture = ("fox.png", PICTURE, "image/png")
    step("images.edit", ImagesResponse, lambda: client.images.edit(image=picture, prompt="Red", model="gpt-image-1-mini"), tokens=(20, 100))  # fmt: skip
    made = step("images.variation", ImagesResponse, lambda: client.images.create_variation(image=picture, model="dall-e-2", n=2), units={"image": 2})  # fmt: skip
    assert made.data is not None
    assert len(made.data) == 2


def _sounds(client: Client, step: Recorder) -> None:
    sound = ("hello.mp3", SOUND, "audio/mpeg")
    spoken = step("audio.speech", bytes, lambda: client.audio.speech.create(model="tts-1", voice="alloy", input="Hello.").content, units={"character": 6})  # fmt: skip
    assert spoken == SOUND
    step("audio.transcriptions", Transcription, lambda: client.audio.transcriptions.create(model="whisper-1", file=sound), units={"second": 12})  # fmt: skip
    text = step("audio.transcriptions", str, lambda: client.audio.transcriptions.create(model="whisper-1", file=sound, response_format="text"))  # fmt: skip
    assert text == "Hello.\n"
    model = "gpt-4o-mini-transcribe"
    step("audio.transcriptions", Transcription, lambda: client.audio.transcriptions.create(model=model, file=sound), tokens=(30, 4))  # fmt: skip
    step("audio.transcriptions", list, lambda: [*client.audio.transcriptions.create(model=model, file=sound, stream=True)], tokens=(30, 4))  # fmt: skip
    step("audio.translations", Translation, lambda: client.audio.translations.create(model="whisper-1", file=sound), units={"second": 12.5})  # fmt: skip


def _films(client: Client, step: Recorder) -> None:
    videos, film = client.videos, ("a.mp4", FILM, "video/mp4")
    first = step("videos.create", Video, lambda: videos.create(model="sora-2", prompt="A fox", seconds="8"), units={"second": 8})  # fmt: skip
    step("videos.list", SyncConversationCursorPage, videos.list, free=True)
    step("videos.retrieve", Video, lambda: videos.retrieve(first.id), free=True)
    assert step("videos.content", bytes, lambda: videos.download_content(first.id).read(), free=True) == FILM  # fmt: skip
    second = step("videos.remix", Video, lambda: videos.remix(first.id, prompt="By night"))
    assert second.remixed_from_video_id == first.id
    step("videos.edit", Video, lambda: videos.edit(prompt="Red", video=film))
    step("videos.extend", Video, lambda: videos.extend(prompt="Go on", seconds="4", video=film))
    hero = step("videos.characters.create", VideoCreateCharacterResponse, lambda: videos.create_character(name="Hero", video=film))  # fmt: skip
    assert hero.id is not None
    step("videos.characters.retrieve", VideoGetCharacterResponse, lambda: videos.get_character(hero.id or ""), free=True)  # fmt: skip
    step("videos.delete", VideoDeleteResponse, lambda: videos.delete(first.id), free=True)
    assert [item.id for item in _list(step, "videos.list", videos.list)] == [second.id, "video_0003", "video_0004"]  # fmt: skip


def _files(client: Client, step: Recorder) -> None:
    files, batches, jobs = client.files, client.batches, client.fine_tuning.jobs
    file = step("files.create", FileObject, lambda: files.create(file=("in.jsonl", BATCH_LINE), purpose="batch"), free=True)  # fmt: skip
    assert [item.id for item in _list(step, "files.list", files.list)] == [file.id]
    step("files.retrieve", FileObject, lambda: files.retrieve(file.id), free=True)
    assert step("files.content", bytes, lambda: files.content(file.id).read(), free=True) == BATCH_LINE  # fmt: skip
    batch = step("batches.create", Batch, lambda: batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"), usd="0.00000225")  # fmt: skip
    ended = step("batches.retrieve", Batch, lambda: batches.retrieve(batch.id), free=True)
    output = ended.output_file_id or ""
    assert step("files.content", bytes, lambda: files.content(output).read(), free=True) == BATCH_RESULT  # fmt: skip
    other = step("batches.create", Batch, lambda: batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"))  # fmt: skip
    assert step("batches.cancel", Batch, lambda: batches.cancel(other.id), free=True).status == "cancelling"  # fmt: skip
    assert [item.id for item in _list(step, "batches.list", batches.list)] == [batch.id, other.id]
    job = step("fine_tuning.create", FineTuningJob, lambda: jobs.create(model="gpt-4o-mini-2024-07-18", training_file=file.id))  # fmt: skip
    assert [item.id for item in _list(step, "fine_tuning.list", jobs.list)] == [job.id]
    step("fine_tuning.retrieve", FineTuningJob, lambda: jobs.retrieve(job.id), free=True)
    result = job.result_files[0]
    assert step("files.content", bytes, lambda: files.content(result).read(), free=True).startswith(b"step")  # fmt: skip
    assert len(_list(step, "fine_tuning.events", lambda: jobs.list_events(job.id))) == 1
    assert len(_list(step, "fine_tuning.checkpoints", lambda: jobs.checkpoints.list(job.id))) == 1
    step("fine_tuning.pause", FineTuningJob, lambda: jobs.pause(job.id), free=True)
    step("fine_tuning.resume", FineTuningJob, lambda: jobs.resume(job.id), free=True)
    step("fine_tuning.cancel", FineTuningJob, lambda: jobs.cancel(job.id), free=True)
    step("files.delete", FileDeleted, lambda: files.delete(file.id), free=True)
    _uploads(client, step)


def _uploads(client: Client, step: Recorder) -> None:
    uploads = client.uploads
    about: Json = {"filename": "big.txt", "mime_type": "text/plain", "purpose": "assistants"}
    upload = step("uploads.create", Upload, lambda: uploads.create(bytes=6, **about), free=True)
    parts = [
        step("uploads.parts", UploadPart, lambda data=data: uploads.parts.create(upload.id, data=data), free=True)  # type: ignore[misc]
        for data in (b"abc", b"def")
    ]  # fmt: skip
    done = step("uploads.complete", Upload, lambda: uploads.complete(upload.id, part_ids=[part.id for part in parts]), free=True)  # fmt: skip
    assert done.file is not None
    id = done.file.id
    assert step("files.content", bytes, lambda: client.files.content(id).read(), free=True) == b"abcdef"  # fmt: skip
    other = step("uploads.create", Upload, lambda: uploads.create(bytes=6, **about), free=True)
    step("uploads.cancel", Upload, lambda: uploads.cancel(other.id), free=True)


def _stores(client: Client, step: Recorder) -> None:
    stores = client.vector_stores
    first, second = (
        step("files.create", FileObject, lambda name=name: client.files.create(file=(name, b"The fox."), purpose="assistants"), free=True).id  # type: ignore[misc]
        for name in ("one.txt", "two.txt")
    )  # fmt: skip
    store = step("vector_stores.create", VectorStore, lambda: stores.create(name="docs", file_ids=[first])).id  # fmt: skip
    assert [item.id for item in _list(step, "vector_stores.list", stores.list)] == [store]
    step("vector_stores.retrieve", VectorStore, lambda: stores.retrieve(store), free=True)
    assert step("vector_stores.update", VectorStore, lambda: stores.update(store, name="texts"), free=True).name == "texts"  # fmt: skip
    step("vector_stores.files.create", VectorStoreFile, lambda: stores.files.create(store, file_id=second))  # fmt: skip
    assert len(_list(step, "vector_stores.files.list", lambda: stores.files.list(store))) == 2
    step("vector_stores.files.retrieve", VectorStoreFile, lambda: stores.files.retrieve(second, vector_store_id=store), free=True)  # fmt: skip
    step("vector_stores.files.update", VectorStoreFile, lambda: stores.files.update(second, vector_store_id=store, attributes={"year": 2026}), free=True)  # fmt: skip
    assert len(_list(step, "vector_stores.files.content", lambda: stores.files.content(second, vector_store_id=store))) == 1  # fmt: skip
    found = step("vector_stores.search", SyncPage, lambda: stores.search(store, query="fox"))
    assert [row.file_id for row in found.data] == [first, second]
    batch = step("vector_stores.batches.create", VectorStoreFileBatch, lambda: stores.file_batches.create(store, file_ids=[first, second])).id  # fmt: skip
    where: Json = {"vector_store_id": store}
    step("vector_stores.batches.retrieve", VectorStoreFileBatch, lambda: stores.file_batches.retrieve(batch, **where), free=True)  # fmt: skip
    assert len(_list(step, "vector_stores.batches.files", lambda: stores.file_batches.list_files(batch, **where))) == 2  # fmt: skip
    step("vector_stores.batches.cancel", VectorStoreFileBatch, lambda: stores.file_batches.cancel(batch, **where), free=True)  # fmt: skip
    step("vector_stores.files.delete", VectorStoreFileDeleted, lambda: stores.files.delete(second, **where), free=True)  # fmt: skip
    step("files.retrieve", FileObject, lambda: client.files.retrieve(second), free=True)
    step("vector_stores.delete", VectorStoreDeleted, lambda: stores.delete(store), free=True)


def _conversations(client: Client, step: Recorder) -> None:
    talks = client.conversations
    message: Json = {"type": "message", "role": "user", "content": "Hello."}
    talk = step("conversations.create", Conversation, lambda: talks.create(metadata={"topic": "a"}), free=True).id  # fmt: skip
    step("conversations.retrieve", Conversation, lambda: talks.retrieve(talk), free=True)
    step("conversations.update", Conversation, lambda: talks.update(talk, metadata={"topic": "b"}), free=True)  # fmt: skip
    items = step("conversations.items.create", ConversationItemList, lambda: talks.items.create(talk, items=[message]), free=True)  # fmt: skip
    item = items.first_id
    assert len(_list(step, "conversations.items.list", lambda: talks.items.list(talk))) == 1
    step("conversations.items.retrieve", Message, lambda: talks.items.retrieve(item, conversation_id=talk), free=True)  # fmt: skip
    step("conversations.items.delete", Conversation, lambda: talks.items.delete(item, conversation_id=talk), free=True)  # fmt: skip
    step("conversations.delete", ConversationDeletedResource, lambda: talks.delete(talk), free=True)
    answer = step(TEXT_CALL, Response, lambda: client.responses.create(model="gpt-4o", input="Hello.", store=True), tokens=(11, 5))  # fmt: skip
    assert len(_list(step, "responses.input_items", lambda: client.responses.input_items.list(answer.id))) == 1  # fmt: skip
    step("responses.cancel", Response, lambda: client.responses.cancel(answer.id), free=True)


def _containers(client: Client, step: Recorder) -> None:
    containers = client.containers
    box = step("containers.create", ContainerCreateResponse, lambda: containers.create(name="box")).id  # fmt: skip
    assert [item.id for item in _list(step, "containers.list", containers.list)] == [box]
    step("containers.retrieve", ContainerRetrieveResponse, lambda: containers.retrieve(box), free=True)  # fmt: skip
    table = step("containers.files.create", FileCreateResponse, lambda: containers.files.create(box, file=("a.csv", b"1,2")), free=True).id  # fmt: skip
    file = step("files.create", FileObject, lambda: client.files.create(file=("b.csv", b"3"), purpose="user_data"), free=True).id  # fmt: skip
    step("containers.files.create", FileCreateResponse, lambda: containers.files.create(box, file_id=file), free=True)  # fmt: skip
    assert len(_list(step, "containers.files.list", lambda: containers.files.list(box))) == 2
    step("containers.files.retrieve", FileRetrieveResponse, lambda: containers.files.retrieve(table, container_id=box), free=True)  # fmt: skip
    assert step("containers.files.content", bytes, lambda: containers.files.content.retrieve(table, container_id=box).read(), free=True) == b"1,2"  # fmt: skip
    step("containers.files.delete", object, lambda: containers.files.delete(table, container_id=box), free=True)  # fmt: skip
    step("containers.delete", object, lambda: containers.delete(box), free=True)


def _skills(client: Client, step: Recorder) -> None:
    skills = client.skills
    skill = step("skills.create", Skill, lambda: skills.create(files=[SKILL]), free=True).id
    assert [item.id for item in _list(step, "skills.list", skills.list)] == [skill]
    step("skills.retrieve", Skill, lambda: skills.retrieve(skill), free=True)
    step("skills.versions.create", SkillVersion, lambda: skills.versions.create(skill, files=[SKILL]), free=True)  # fmt: skip
    assert len(_list(step, "skills.versions.list", lambda: skills.versions.list(skill))) == 2
    step("skills.update", Skill, lambda: skills.update(skill, default_version="2"), free=True)
    where: Json = {"skill_id": skill}
    step("skills.versions.retrieve", SkillVersion, lambda: skills.versions.retrieve("2", **where), free=True)  # fmt: skip
    assert step("skills.versions.content", bytes, lambda: skills.versions.content.retrieve("2", **where).read(), free=True) == ARCHIVE  # fmt: skip
    assert step("skills.content", bytes, lambda: skills.content.retrieve(skill).read(), free=True) == ARCHIVE  # fmt: skip
    step("skills.versions.delete", DeletedSkillVersion, lambda: skills.versions.delete("2", **where), free=True)  # fmt: skip
    step("skills.delete", DeletedSkill, lambda: skills.delete(skill), free=True)


def _list(step: Recorder, operation: str, call: Any) -> Sequence[Json]:
    """Call a method that lists, and return the objects of all its pages."""

    def read() -> list[Json]:
        pages: Iterator[Json] = iter(call())
        return [*pages]

    return step(operation, list, read, free=True)
