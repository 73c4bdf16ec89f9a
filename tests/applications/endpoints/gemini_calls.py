"""Each method of Google's SDK that has an endpoint in the tables, with model names of its time."""

import io
from typing import Any

from google.genai import types

from tests.applications.endpoints.gemini_api import BATCH_RESULT, FILM
from tests.applications.endpoints.recorder import TEXT_CALL, Recorder

type Json = Any
type Client = Any
"""A client of the SDK. Its deprecated methods are called too, as applications do."""

FLASH = "gemini-2.0-flash-001"
QUESTION: Json = {
    "type": "choice", "instructions": "How hard is it?", "criteria": {"easy": "Easy.", "hard": "Hard."},
}  # fmt: skip


def run(client: Client, step: Recorder) -> None:
    """Call every method once; what one makes, the next uses and deletes."""
    for part in (_old_models, _models, _files, _caches, _stores, _interactions):
        part(client, step)


def _old_models(client: Client, step: Recorder) -> None:
    """Call models that no lab lists any more."""
    for model in ("gemini-1.5-pro-002", "gemini-2.0-flash-001", "gemini-1.5-flash-latest"):
        step(TEXT_CALL, types.GenerateContentResponse, lambda model=model: client.models.generate_content(model=model, contents="Hello."), tokens=(9, 2))  # type: ignore[misc] # fmt: skip


def _models(client: Client, step: Recorder) -> None:
    """Call Imagen and Veo by HTTP, as earlier versions do; today's calls them on Vertex AI alone."""
    url = f"{step.url}/v1beta/models"
    imagen: Json = {"instances": [{"prompt": "A fox"}], "parameters": {"sampleCount": 2}}
    pictures = step("models.predict", dict, lambda: step.post(f"{url}/imagen-3.0-generate-002:predict", imagen), units={"image": 2})  # fmt: skip
    assert len(pictures["predictions"]) == 2
    veo: Json = {"instances": [{"prompt": "A fox"}], "parameters": {"durationSeconds": 8}}
    name = step("models.predict_long_running", dict, lambda: step.post(f"{url}/veo-2.0-generate-001:predictLongRunning", veo), units={"second": 8})["name"]  # fmt: skip
    begun = types.GenerateVideosOperation.model_validate({"name": name})
    done = step("operations.retrieve", types.GenerateVideosOperation, lambda: client.operations.get(begun), free=True)  # fmt: skip
    assert done.response is not None
    assert done.response.generated_videos is not None
    film = done.response.generated_videos[0]
    assert step("files.content", bytes, lambda: client.files.download(file=film), free=True) == FILM
    answer = step("decisions.create", object, lambda: client.decisions.create(model=FLASH, input="2 + 2?", questions={"tier": QUESTION}), tokens=(6, 4))  # fmt: skip
    assert answer


def _files(client: Client, step: Recorder) -> None:
    files, batches = client.files, client.batches
    lines = io.BytesIO(b'{"key":"1","request":{"contents":[{"parts":[{"text":"Hi"}]}]}}\n')
    config: Json = {"mime_type": "application/jsonl", "display_name": "lines"}
    file = step("files.create files.create", types.File, lambda: files.upload(file=lines, config=config), free=True)  # fmt: skip
    name = file.name or ""
    step("files.retrieve", types.File, lambda: files.get(name=name), free=True)
    listed = step("files.list", list, lambda: [item.name for item in files.list()], free=True)
    assert name in listed
    batch = step("batches.create", types.BatchJob, lambda: batches.create(model=FLASH, src=name), usd="0.0000008").name or ""  # fmt: skip
    ended = step("batches.retrieve", types.BatchJob, lambda: batches.get(name=batch), free=True)
    assert ended.dest is not None
    result = ended.dest.file_name or ""
    assert step("files.content", bytes, lambda: files.download(file=result), free=True) == BATCH_RESULT  # fmt: skip
    inline: Json = [{"contents": [{"parts": [{"text": "Hi"}], "role": "user"}]}]
    other = step("batches.create", types.BatchJob, lambda: batches.create(model=FLASH, src=inline)).name or ""  # fmt: skip
    step("batches.cancel", type(None), lambda: batches.cancel(name=other), free=True)
    texts: Json = {"inlined_requests": {"contents": ["Hello."]}}
    vectors = step("batches.create_embeddings", types.BatchJob, lambda: batches.create_embeddings(model="gemini-embedding-001", src=texts)).name  # fmt: skip
    assert step("batches.list", list, lambda: [item.name for item in batches.list()], free=True) == [batch, other, vectors]  # fmt: skip
    step("batches.delete", object, lambda: batches.delete(name=batch), free=True)
    step("files.delete", types.DeleteFileResponse, lambda: files.delete(name=name), free=True)


def _caches(client: Client, step: Recorder) -> None:
    caches = client.caches
    config: Json = {"contents": [{"role": "user", "parts": [{"text": "A long text."}]}], "ttl": "3600s"}  # fmt: skip
    cache = step("caches.create", types.CachedContent, lambda: caches.create(model=FLASH, config=config)).name or ""  # fmt: skip
    step("caches.retrieve", types.CachedContent, lambda: caches.get(name=cache), free=True)
    assert step("caches.list", list, lambda: [item.name for item in caches.list()], free=True) == [cache]  # fmt: skip
    step("caches.update", types.CachedContent, lambda: caches.update(name=cache, config={"ttl": "7200s"}))  # fmt: skip
    step("caches.delete", types.DeleteCachedContentResponse, lambda: caches.delete(name=cache), free=True)  # fmt: skip


def _stores(client: Client, step: Recorder) -> None:
    stores = client.file_search_stores
    store = step("file_search_stores.create", types.FileSearchStore, lambda: stores.create(config={"display_name": "docs"}), free=True).name or ""  # fmt: skip
    step("file_search_stores.retrieve", types.FileSearchStore, lambda: stores.get(name=store), free=True)  # fmt: skip
    assert step("file_search_stores.list", list, lambda: [item.name for item in stores.list()], free=True) == [store]  # fmt: skip
    text: Json = {"mime_type": "text/plain"}
    uploaded = step("file_search_stores.upload file_search_stores.upload", types.UploadToFileSearchStoreOperation, lambda: stores.upload_to_file_search_store(file_search_store_name=store, file=io.BytesIO(b"The fox."), config=text))  # fmt: skip
    step("file_search_stores.upload_operation", types.UploadToFileSearchStoreOperation, lambda: client.operations.get(uploaded), free=True)  # fmt: skip
    file = step("files.create files.create", types.File, lambda: client.files.upload(file=io.BytesIO(b"The cow."), config=text), free=True).name or ""  # fmt: skip
    imported = step("file_search_stores.import", types.ImportFileOperation, lambda: stores.import_file(file_search_store_name=store, file_name=file))  # fmt: skip
    step("file_search_stores.import_operation", types.ImportFileOperation, lambda: client.operations.get(imported), free=True)  # fmt: skip
    documents = stores.documents
    names = step("documents.list", list, lambda: [item.name for item in documents.list(parent=store)], free=True)  # fmt: skip
    assert len(names) == 2
    step("documents.retrieve", types.Document, lambda: documents.get(name=names[0]), free=True)
    assert step("file_search_stores.media", bytes, lambda: stores.download_media(media_id=f"{store}/media/blob1"), free=True) == b"media"  # fmt: skip
    step("documents.delete", object, lambda: documents.delete(name=names[0]), free=True)
    step("file_search_stores.delete", object, lambda: stores.delete(name=store), free=True)


def _interactions(client: Client, step: Recorder) -> None:
    interactions = client.interactions
    first = step("interactions.create", object, lambda: interactions.create(model=FLASH, input="Hello."), tokens=(6, 4))  # fmt: skip
    id = first.id  # type: ignore[attr-defined]
    step("interactions.create", list, lambda: [*interactions.create(model=FLASH, input="Hello.", stream=True)], tokens=(6, 4))  # fmt: skip
    step("interactions.retrieve", object, lambda: interactions.get(id), free=True)
    step("interactions.cancel", object, lambda: interactions.cancel(id), free=True)
    step("interactions.delete", object, lambda: interactions.delete(id), free=True)
