"""The Gemini API as a scripted provider: it keeps files, caches, batches and operations."""

import re
from typing import Any

from tests.applications.endpoints.scripted import (
    CREATED,
    Form,
    ScriptedApi,
    Shelf,
    write_bytes,
    write_events,
    write_json,
)
from tests.e2e.upstream import Answer, Request

type Json = Any

FILM = b"ftypmp4 film"
BATCH_RESULT = (
    b'{"key":"1","response":{"candidates":[],"modelVersion":"gemini-2.0-flash-001",'
    b'"usageMetadata":{"promptTokenCount":8,"candidatesTokenCount":2,"totalTokenCount":10}}}\n'
)
INTERACTION_USAGE = {"total_input_tokens": 6, "total_output_tokens": 4, "total_tokens": 10}


class GeminiApi(ScriptedApi):
    """The provider. Objects are known by names such as `files/abc`."""

    def __init__(self, prefix: str, url: str) -> None:
        """`url` is the origin of the provider."""
        super().__init__(prefix)
        self._url = url + prefix
        self.files, self.contents = Shelf("files/f"), dict[str, bytes]()
        self.uploads, self._upload_count = dict[str, Json](), 0
        self.caches, self.batches = Shelf("cachedContents/c"), Shelf("batches/b")
        self.stores, self.documents = Shelf("fileSearchStores/s"), dict[str, Shelf]()
        self.operations, self.interactions = Shelf("operations/o"), Shelf("v1_")
        self._add_objects("cachedContents", "cachedContents", self.caches)
        self._add_objects("batches", "operations", self.batches)
        self._add_objects("fileSearchStores", "fileSearchStores", self.stores)
        self._add_objects("files", "files", self.files)
        self._add_models()
        self._add_stores()
        self._add_interactions()

    def answer(self, request: Request) -> Answer:
        """Answer one request: `/v1` has what `/v1beta` has."""
        path = re.sub(r"^((?:/upload)?)/v1/", r"\1/v1beta/", request.path.removeprefix(self.prefix))
        request.path = self.prefix + path
        return super().answer(request)

    def describe_absence(self, subject: str) -> Json:
        """Return the body of a 404 in Google's form."""
        message = f"Not found: {subject}"
        return {"error": {"code": 404, "message": message, "status": "NOT_FOUND"}}

    def _add_objects(self, collection: str, member: str, shelf: Shelf) -> None:
        """Serve the list, the look-up and the deletion of a kind of objects."""
        path = f"/v1beta/{collection}"
        self.on("GET", path, lambda form: {member: [*shelf.values()]} if shelf else {})
        self.on("GET", f"{path}/{{}}", lambda form, id: shelf.get_one(f"{collection}/{id}"))
        self.on("DELETE", f"{path}/{{}}", lambda form, id: shelf.remove(f"{collection}/{id}") and {})  # fmt: skip

    def _add_models(self) -> None:
        self.on("POST", "/v1beta/models/{}:generateContent", respond)
        self.on("POST", "/v1beta/models/{}:predict", draw)
        self.on("POST", "/v1beta/models/{}:predictLongRunning", self._film)
        self.on("GET", "/v1beta/models/{}/operations/{}", self._finish_film)
        self.on("POST", "/v1beta/models/{}:batchGenerateContent", self._begin_batch)
        self.on("POST", "/v1beta/models/{}:asyncBatchEmbedContent", self._begin_batch)
        self.on("POST", "/v1beta/batches/{}:cancel", self._cancel_batch)
        self.on("POST", "/v1beta/cachedContents", self._make_cache)
        self.on("PATCH", "/v1beta/cachedContents/{}", self._change_cache)
        self.on("POST", "/v1beta/decisions", decide)
        self.on("POST", "/upload/v1beta/files", self._upload)
        self.on("GET", "/v1beta/files/{}:download", self._download)

    def _add_stores(self) -> None:
        store = "/v1beta/fileSearchStores/{}"
        self.on("POST", "/v1beta/fileSearchStores", self._make_store)
        self.on("POST", f"/upload{store}:uploadToFileSearchStore", self._upload_to_store)
        self.on("POST", f"{store}:importFile", self._import_file)
        self.on("GET", f"{store}/operations/{{}}", self._find_operation)
        self.on("GET", f"{store}/upload/operations/{{}}", self._find_operation)
        self.on("GET", f"{store}/media/{{}}", lambda form, id, blob: write_bytes(b"media"))
        self.on("GET", f"{store}/documents", lambda form, id: {"documents": [*self.documents[id].values()]})  # fmt: skip
        document = f"{store}/documents/{{}}"
        self.on("GET", document, lambda form, id, name: self.documents[id].get_one(f"fileSearchStores/{id}/documents/{name}"))  # fmt: skip
        self.on("DELETE", document, lambda form, id, name: self.documents[id].remove(f"fileSearchStores/{id}/documents/{name}") and {})  # fmt: skip

    def _add_interactions(self) -> None:
        interaction = "/v1beta/interactions/{}"
        self.on("POST", "/v1beta/interactions", self._interact)
        self.on("GET", interaction, lambda form, id: self.interactions.get_one(id))
        self.on("POST", f"{interaction}/cancel", self._cancel_interaction)
        self.on("DELETE", interaction, lambda form, id: self.interactions.remove(id) and {})

    def add_file(self, content: bytes, mime_type: str, display_name: str = "") -> Json:
        """Keep a file and return it."""
        name = self.files.new_id()
        self.contents[name] = content
        self.files[name] = {
            "name": name, "displayName": display_name, "mimeType": mime_type,
            "sizeBytes": str(len(content)), "createTime": CREATED, "state": "ACTIVE",
            "uri": f"https://generativelanguage.googleapis.com/v1beta/{name}",
        }  # fmt: skip
        return self.files[name]

    def _start_upload(self, form: Form, path: str) -> Answer:
        """Answer the first request of an upload with the URL for its data."""
        self._upload_count += 1
        id = f"upload-{self._upload_count}"
        self.uploads[id] = {
            "type": form.request.header("x-goog-upload-header-content-type"),
            "about": form.json, "content": b"",
        }  # fmt: skip
        url = f"{self._url}{path}?upload_id={id}&upload_protocol=resumable"
        headers = (
            ("content-type", "application/json"), ("x-goog-upload-status", "active"),
            ("x-goog-upload-url", url), ("x-goog-upload-chunk-granularity", "262144"),
        )  # fmt: skip
        return Answer(pieces=(b"{}",), headers=headers, length=2)

    def _take_piece(self, form: Form) -> Json | None:
        """Take a piece of an upload; return the upload once it is whole."""
        upload = self.uploads[form.query["upload_id"][0]]
        assert form.request.header("x-goog-upload-offset") == str(len(upload["content"]))
        upload["content"] += form.request.body
        is_last = "finalize" in (form.request.header("x-goog-upload-command") or "")
        return upload if is_last else None

    def _upload(self, form: Form) -> Answer:
        if "upload_id" not in form.query:
            return self._start_upload(form, "/upload/v1beta/files")
        upload = self._take_piece(form)
        if upload is None:
            return write_active()
        about = upload["about"].get("file", {})
        file = self.add_file(upload["content"], upload["type"], about.get("displayName", ""))
        return write_final({"file": file})

    def _download(self, form: Form, id: str) -> Answer:
        self.files.get_one(f"files/{id}")
        return write_bytes(self.contents[f"files/{id}"])

    def _make_cache(self, form: Form) -> Json:
        name = self.caches.new_id()
        self.caches[name] = {
            "name": name, "model": form.json["model"], "createTime": CREATED,
            "updateTime": CREATED, "expireTime": "2026-11-30T13:00:00Z",
            "usageMetadata": {"totalTokenCount": 5000},
        }  # fmt: skip
        return self.caches[name]

    def _change_cache(self, form: Form, id: str) -> Json:
        cache = self.caches.get_one(f"cachedContents/{id}")
        cache["expireTime"] = "2026-11-30T14:00:00Z"
        return cache

    def _begin_batch(self, form: Form, model: str) -> Json:
        """Begin a batch. One of a file has ended when it is looked up; its result is a file, too."""
        name, batch = self.batches.new_id(), form.json["batch"]
        metadata = {
            "name": name, "model": f"models/{model}", "state": "BATCH_STATE_PENDING",
            "displayName": batch.get("displayName", ""), "createTime": CREATED,
        }  # fmt: skip
        begun = {"name": name, "done": False, "metadata": metadata}
        self.batches[name] = begun
        if "fileName" in batch.get("inputConfig", {}):
            result = {"responsesFile": self.add_file(BATCH_RESULT, "application/jsonl")["name"]}
            metadata = {**metadata, "state": "BATCH_STATE_SUCCEEDED", "output": result}
            self.batches[name] = {"name": name, "done": True, "metadata": metadata, "response": result}  # fmt: skip
        return begun

    def _cancel_batch(self, form: Form, id: str) -> Json:
        batch = self.batches.get_one(f"batches/{id}")
        batch["metadata"]["state"] = "BATCH_STATE_CANCELLED"
        return {}

    def _film(self, form: Form, model: str) -> Json:
        name = f"models/{model}/{self.operations.new_id()}"
        file = self.add_file(FILM, "video/mp4")
        video = {"video": {"uri": f"{file['uri']}:download?alt=media"}}
        response = {"generateVideoResponse": {"generatedSamples": [video]}}
        self.operations[name] = {"name": name, "done": True, "response": response}
        return {"name": name}

    def _finish_film(self, form: Form, model: str, id: str) -> Json:
        return self.operations.get_one(f"models/{model}/operations/{id}")

    def _make_store(self, form: Form) -> Json:
        name = self.stores.new_id()
        self.documents[name.rpartition("/")[2]] = Shelf(f"{name}/documents/d")
        self.stores[name] = {
            "name": name, "displayName": form.json.get("displayName", ""), "createTime": CREATED,
        }  # fmt: skip
        return self.stores[name]

    def _add_document(self, store: str, operations: str) -> Json:
        shelf = self.documents[store]
        document = shelf.new_id()
        shelf[document] = {"name": document, "state": "STATE_ACTIVE", "createTime": CREATED}
        name = f"fileSearchStores/{store}/{operations}/{self.operations.new_id().partition('/')[2]}"
        response = {"parent": f"fileSearchStores/{store}", "documentName": document}
        self.operations[name] = {"name": name, "done": True, "response": response}
        return {"name": name}

    def _upload_to_store(self, form: Form, store: str) -> Answer:
        if "upload_id" not in form.query:
            path = f"/upload/v1beta/fileSearchStores/{store}:uploadToFileSearchStore"
            return self._start_upload(form, path)
        if self._take_piece(form) is None:
            return write_active()
        return write_final(self._add_document(store, "upload/operations"))

    def _import_file(self, form: Form, store: str) -> Json:
        self.files.get_one(form.json["fileName"])
        return self._add_document(store, "operations")

    def _find_operation(self, form: Form, store: str, id: str) -> Json:
        path = form.request.path.partition("?")[0]
        return self.operations.get_one(path.partition("/v1beta/")[2])

    def _interact(self, form: Form) -> Json | Answer:
        id = self.interactions.new_id()
        step = {"type": "model_output", "content": [{"type": "text", "text": "Hello."}]}
        interaction = {
            "id": id, "object": "interaction", "status": "completed",
            "model": form.json["model"], "created": CREATED, "updated": CREATED,
            "steps": [step], "usage": INTERACTION_USAGE,
        }  # fmt: skip
        self.interactions[id] = interaction
        if not form.json.get("stream"):
            return interaction
        begun = {"id": id, "object": "interaction", "status": "in_progress"}
        events = (("interaction.created", begun), ("interaction.completed", interaction))
        return write_events(
            (name, {"event_type": name, "event_id": name, "interaction": value})
            for name, value in events
        )

    def _cancel_interaction(self, form: Form, id: str) -> Json:
        interaction = self.interactions.get_one(id)
        interaction["status"] = "cancelled"
        return interaction


def write_active() -> Answer:
    """Answer a piece of an upload that is not whole yet."""
    return Answer(pieces=(b"",), headers=(("x-goog-upload-status", "active"),), length=0)


def write_final(value: Json) -> Answer:
    """Answer the last piece of an upload."""
    answer = write_json(value)
    headers = (*answer.headers, ("x-goog-upload-status", "final"))
    return Answer(pieces=answer.pieces, headers=headers, length=answer.length)


def respond(form: Form, model: str) -> Json:
    """Answer a request for content."""
    content = {"role": "model", "parts": [{"text": "Hello."}]}
    usage = {"promptTokenCount": 9, "candidatesTokenCount": 2, "totalTokenCount": 11}
    candidate = {"content": content, "finishReason": "STOP", "index": 0}
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": model}


def draw(form: Form, model: str) -> Json:
    """Draw as many pictures as the request says."""
    count = form.json["parameters"]["sampleCount"]
    return {"predictions": [{"mimeType": "image/png", "bytesBase64Encoded": "iVBO"}] * count}


def decide(form: Form) -> Json:
    """Answer each question with its first choice."""
    choices = {name: [*question["criteria"]] for name, question in form.json["questions"].items()}
    answers = {
        name: {
            "type": "choice", "choice": names[0], "confidence": 0.9,
            "probabilities": dict.fromkeys(names, 0.5),
        }
        for name, names in choices.items()
    }  # fmt: skip
    return {"answers": answers, "usage": INTERACTION_USAGE}
