"""OpenAI's API as a scripted provider: it keeps files, batches, vector stores and the like."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tests.applications.endpoints.scripted import (
    CREATED_AT,
    Form,
    ScriptedApi,
    Shelf,
    write_bytes,
    write_events,
)
from tests.e2e.upstream import Answer

type Json = Any

PICTURE, SOUND, FILM, ARCHIVE = b"\x89PNG picture", b"ID3 sound", b"ftypmp4 film", b"PK archive"
BATCH_RESULT = (
    b'{"id":"batch_req_1","custom_id":"1","error":null,"response":{"status_code":200,"request_id":"1",'
    b'"body":{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"gpt-4o-mini",'
    b'"choices":[],"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}}}}\n'
)
CATEGORIES = (
    "harassment", "harassment/threatening", "hate", "hate/threatening", "illicit",
    "illicit/violent", "self-harm", "self-harm/instructions", "self-harm/intent", "sexual",
    "sexual/minors", "violence", "violence/graphic",
)  # fmt: skip
RESPONSE_USAGE = {
    "input_tokens": 11, "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
    "output_tokens": 5, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 16,
}  # fmt: skip
IMAGE_USAGE = {
    "input_tokens": 20, "input_tokens_details": {"text_tokens": 12, "image_tokens": 8},
    "output_tokens": 100, "total_tokens": 120,
}  # fmt: skip


class OpenAiApi(ScriptedApi):
    """The provider. Its ids have OpenAI's own beginnings."""

    def __init__(self, prefix: str) -> None:
        super().__init__(prefix)
        self.files, self.contents = Shelf("file-"), dict[str, bytes]()
        self.uploads, self.parts = Shelf("upload_"), dict[str, bytes]()
        self.batches, self.jobs = Shelf("batch_"), Shelf("ftjob-")
        self.vector_stores, self.store_files = Shelf("vs_"), dict[str, Shelf]()
        self.file_batches = Shelf("vsfb_")
        self.containers, self.container_files = Shelf("cntr_"), Shelf("cfile_")
        self.skills, self.versions = Shelf("skill_"), dict[str, Shelf]()
        self.conversations, self.items = Shelf("conv_"), dict[str, Shelf]()
        self.videos, self.characters = Shelf("video_"), Shelf("char_")
        self.responses = Shelf("resp_")
        self._add_media()
        self._add_files()
        self._add_vector_stores()
        self._add_conversations()
        self._add_containers_and_skills()

    def _add_media(self) -> None:
        self.on("POST", "/chat/completions", chat)
        self.on("POST", "/embeddings", embed)
        self.on("POST", "/completions", complete)
        self.on("POST", "/decisions", decide)
        self.on("POST", "/images/generations", draw)
        self.on("POST", "/images/edits", edit_picture)
        self.on("POST", "/images/variations", vary)
        self.on("POST", "/audio/speech", lambda form: write_bytes(SOUND, "audio/mpeg"))
        self.on("POST", "/audio/transcriptions", transcribe)
        self.on("POST", "/audio/translations", translate)
        self.on("POST", "/moderations", moderate)
        self.on("POST", "/content_provenance_checks", check_provenance)
        self.on("POST", "/videos", lambda form: self._film(form.fields))
        self.on("POST", "/videos/edits", lambda form: self._film(form.fields))
        self.on("POST", "/videos/extensions", lambda form: self._film(form.fields))
        self.on("POST", "/videos/{}/remix", self._remix)
        self.on("POST", "/videos/characters", self._cast)
        self.on("GET", "/videos/characters/{}", lambda form, id: self.characters.get_one(id))
        self.on("GET", "/videos", lambda form: make_list(self.videos.values()))
        self.on("GET", "/videos/{}", lambda form, id: self.videos.get_one(id))
        self.on("DELETE", "/videos/{}", lambda form, id: forget(self.videos, id, "video.deleted"))
        self.on("GET", "/videos/{}/content", lambda form, id: write_bytes(FILM, "video/mp4"))

    def _add_files(self) -> None:
        self.on("POST", "/files", self._keep_file)
        self.on("GET", "/files", lambda form: make_list(self.files.values()))
        self.on("GET", "/files/{}", lambda form, id: self.files.get_one(id))
        self.on("DELETE", "/files/{}", lambda form, id: forget(self.files, id, "file"))
        self.on("GET", "/files/{}/content", self._read_file)
        self.on("POST", "/uploads", self._begin_upload)
        self.on("POST", "/uploads/{}/parts", self._add_part)
        self.on("POST", "/uploads/{}/complete", self._complete_upload)
        self.on("POST", "/uploads/{}/cancel", lambda form, id: change(self.uploads, id, status="cancelled"))  # fmt: skip
        self.on("POST", "/batches", self._begin_batch)
        self.on("GET", "/batches", lambda form: make_list(self.batches.values()))
        self.on("GET", "/batches/{}", self._finish_batch)
        self.on("POST", "/batches/{}/cancel", lambda form, id: change(self.batches, id, status="cancelling"))  # fmt: skip
        self.on("POST", "/fine_tuning/jobs", self._begin_job)
        self.on("GET", "/fine_tuning/jobs", lambda form: make_list(self.jobs.values()))
        self.on("GET", "/fine_tuning/jobs/{}", lambda form, id: self.jobs.get_one(id))
        self.on("GET", "/fine_tuning/jobs/{}/events", self._list_events)
        self.on("GET", "/fine_tuning/jobs/{}/checkpoints", self._list_checkpoints)
        for verb, status in (("cancel", "cancelled"), ("pause", "queued"), ("resume", "running")):
            self.on("POST", f"/fine_tuning/jobs/{{}}/{verb}", lambda form, id, status=status: change(self.jobs, id, status=status))  # fmt: skip

    def _add_vector_stores(self) -> None:
        store = "/vector_stores/{}"
        self.on("POST", "/vector_stores", self._make_store)
        self.on("GET", "/vector_stores", lambda form: make_list(self.vector_stores.values()))
        self.on("GET", store, lambda form, id: self.vector_stores.get_one(id))
        self.on("POST", store, lambda form, id: change(self.vector_stores, id, **form.json))
        self.on("DELETE", store, lambda form, id: forget(self.vector_stores, id, "vector_store.deleted"))  # fmt: skip
        self.on("POST", f"{store}/search", self._search)
        self.on("POST", f"{store}/files", lambda form, id: self._add_to_store(id, form.json["file_id"]))  # fmt: skip
        self.on("GET", f"{store}/files", lambda form, id: make_list(self.store_files[id].values()))
        self.on("GET", f"{store}/files/{{}}", lambda form, id, file: self.store_files[id].get_one(file))  # fmt: skip
        self.on("POST", f"{store}/files/{{}}", lambda form, id, file: change(self.store_files[id], file, **form.json))  # fmt: skip
        self.on("DELETE", f"{store}/files/{{}}", lambda form, id, file: forget(self.store_files[id], file, "vector_store.file.deleted"))  # fmt: skip
        self.on("GET", f"{store}/files/{{}}/content", self._read_store_file)
        self.on("POST", f"{store}/file_batches", self._begin_file_batch)
        batch = f"{store}/file_batches/{{}}"
        self.on("GET", batch, lambda form, id, batch: self.file_batches.get_one(batch))
        self.on("GET", f"{batch}/files", lambda form, id, batch: make_list(self.store_files[id].values()))  # fmt: skip
        self.on("POST", f"{batch}/cancel", lambda form, id, batch: change(self.file_batches, batch, status="cancelled"))  # fmt: skip

    def _add_conversations(self) -> None:
        conversation = "/conversations/{}"
        self.on("POST", "/conversations", self._begin_conversation)
        self.on("GET", conversation, lambda form, id: self.conversations.get_one(id))
        self.on("POST", conversation, lambda form, id: change(self.conversations, id, **form.json))
        self.on("DELETE", conversation, lambda form, id: forget(self.conversations, id, "conversation.deleted"))  # fmt: skip
        self.on("POST", f"{conversation}/items", self._add_items)
        self.on("GET", f"{conversation}/items", lambda form, id: make_list(self.items[id].values()))
        self.on("GET", f"{conversation}/items/{{}}", lambda form, id, item: self.items[id].get_one(item))  # fmt: skip
        self.on("DELETE", f"{conversation}/items/{{}}", self._remove_item)
        self.on("POST", "/responses", self._respond)
        self.on("POST", "/responses/compact", compact)
        self.on("POST", "/responses/{}/cancel", lambda form, id: change(self.responses, id, status="cancelled"))  # fmt: skip
        self.on("GET", "/responses/{}/input_items", lambda form, id: make_list([make_message("msg_1", "user", "Hello.")]))  # fmt: skip

    def _add_containers_and_skills(self) -> None:
        container = "/containers/{}"
        self.on("POST", "/containers", self._make_container)
        self.on("GET", "/containers", lambda form: make_list(self.containers.values()))
        self.on("GET", container, lambda form, id: self.containers.get_one(id))
        self.on("DELETE", container, self._remove_container)
        self.on("POST", f"{container}/files", self._add_to_container)
        self.on("GET", f"{container}/files", lambda form, id: make_list(self.container_files.values()))  # fmt: skip
        self.on("GET", f"{container}/files/{{}}", lambda form, id, file: self.container_files.get_one(file))  # fmt: skip
        self.on("DELETE", f"{container}/files/{{}}", self._remove_container_file)
        self.on("GET", f"{container}/files/{{}}/content", lambda form, id, file: write_bytes(b"1,2"))  # fmt: skip
        skill = "/skills/{}"
        self.on("POST", "/skills", self._make_skill)
        self.on("GET", "/skills", lambda form: make_list(self.skills.values()))
        self.on("GET", skill, lambda form, id: self.skills.get_one(id))
        self.on("POST", skill, lambda form, id: change(self.skills, id, **form.json))
        self.on("DELETE", skill, lambda form, id: forget(self.skills, id, "skill.deleted"))
        self.on("GET", f"{skill}/content", lambda form, id: write_bytes(ARCHIVE, "application/zip"))
        self.on("POST", f"{skill}/versions", lambda form, id: self._add_version(id))
        self.on("GET", f"{skill}/versions", lambda form, id: make_list(self.versions[id].values()))
        version = f"{skill}/versions/{{}}"
        self.on("GET", version, lambda form, id, number: self.versions[id].get_one(number))
        self.on("DELETE", version, lambda form, id, number: {**forget(self.versions[id], number, "skill.version.deleted"), "version": number})  # fmt: skip
        self.on("GET", f"{version}/content", lambda form, id, number: write_bytes(ARCHIVE, "application/zip"))  # fmt: skip

    def add_file(self, name: str, content: bytes, purpose: str) -> Json:
        """Keep a file and return it."""
        id = self.files.new_id()
        self.contents[id] = content
        self.files[id] = {
            "id": id, "object": "file", "bytes": len(content), "created_at": CREATED_AT,
            "filename": name, "purpose": purpose, "status": "processed",
        }  # fmt: skip
        return self.files[id]

    def _keep_file(self, form: Form) -> Json:
        return self.add_file(*form.files["file"], form.fields["purpose"])

    def _read_file(self, form: Form, id: str) -> Answer:
        self.files.get_one(id)
        return write_bytes(self.contents[id])

    def _begin_upload(self, form: Form) -> Json:
        id, body = self.uploads.new_id(), form.json
        self.uploads[id] = {
            "id": id, "object": "upload", "bytes": body["bytes"], "created_at": CREATED_AT,
            "expires_at": CREATED_AT * 2, "filename": body["filename"],
            "purpose": body["purpose"], "status": "pending",
        }  # fmt: skip
        return self.uploads[id]

    def _add_part(self, form: Form, id: str) -> Json:
        self.uploads.get_one(id)
        part_id = f"part_{len(self.parts) + 1:04d}"
        self.parts[part_id] = form.files["data"][1]
        return {
            "id": part_id, "object": "upload.part", "created_at": CREATED_AT, "upload_id": id,
        }  # fmt: skip

    def _complete_upload(self, form: Form, id: str) -> Json:
        upload = self.uploads.get_one(id)
        content = b"".join(self.parts[part] for part in form.json["part_ids"])
        file = self.add_file(upload["filename"], content, upload["purpose"])
        return change(self.uploads, id, status="completed", file=file)

    def _begin_batch(self, form: Form) -> Json:
        id, body = self.batches.new_id(), form.json
        self.files.get_one(body["input_file_id"])
        self.batches[id] = {
            "id": id, "object": "batch", "endpoint": body["endpoint"], "created_at": CREATED_AT,
            "input_file_id": body["input_file_id"], "status": "validating",
            "completion_window": body["completion_window"], "metadata": body.get("metadata"),
            "request_counts": {"total": 1, "completed": 0, "failed": 0},
        }  # fmt: skip
        return self.batches[id]

    def _finish_batch(self, form: Form, id: str) -> Json:
        """Answer as if the batch had ended meanwhile."""
        batch = self.batches.get_one(id)
        if batch["status"] == "validating":
            output = self.add_file("output.jsonl", BATCH_RESULT, "batch_output")
            counts = {"total": 1, "completed": 1, "failed": 0}
            change(self.batches, id, status="completed", output_file_id=output["id"], request_counts=counts)  # fmt: skip
        return self.batches[id]

    def _begin_job(self, form: Form) -> Json:
        id, body = self.jobs.new_id(), form.json
        self.files.get_one(body["training_file"])
        result = self.add_file("step_metrics.csv", b"step,loss\n1,0.5\n", "fine-tune-results")
        self.jobs[id] = {
            "id": id, "object": "fine_tuning.job", "created_at": CREATED_AT, "error": None,
            "hyperparameters": {"n_epochs": "auto"}, "model": body["model"],
            "organization_id": "org-1", "result_files": [result["id"]], "seed": 1,
            "status": "queued", "training_file": body["training_file"], "trained_tokens": None,
        }  # fmt: skip
        return self.jobs[id]

    def _list_events(self, form: Form, id: str) -> Json:
        self.jobs.get_one(id)
        event = {
            "id": "ftevent-1", "object": "fine_tuning.job.event", "created_at": CREATED_AT,
            "level": "info", "message": "Created.",
        }  # fmt: skip
        return make_list([event])

    def _list_checkpoints(self, form: Form, id: str) -> Json:
        self.jobs.get_one(id)
        checkpoint = {
            "id": "ftckpt_1", "object": "fine_tuning.job.checkpoint", "created_at": CREATED_AT,
            "fine_tuned_model_checkpoint": "ft:gpt-4o-mini:step-1", "fine_tuning_job_id": id,
            "metrics": {"step": 1}, "step_number": 1,
        }  # fmt: skip
        return make_list([checkpoint])

    def _make_store(self, form: Form) -> Json:
        id = self.vector_stores.new_id()
        self.store_files[id] = Shelf("")
        self.vector_stores[id] = {
            "id": id, "object": "vector_store", "created_at": CREATED_AT, "metadata": {},
            "name": form.json.get("name", ""), "file_counts": count_files(0),
            "status": "completed", "usage_bytes": 0, "last_active_at": CREATED_AT,
        }  # fmt: skip
        for file in form.json.get("file_ids", []):
            self._add_to_store(id, file)
        return self.vector_stores[id]

    def _add_to_store(self, id: str, file: str) -> Json:
        self.vector_stores.get_one(id)
        self.files.get_one(file)
        self.store_files[id][file] = {
            "id": file, "object": "vector_store.file", "created_at": CREATED_AT,
            "status": "completed", "usage_bytes": 10, "vector_store_id": id, "last_error": None,
        }  # fmt: skip
        return self.store_files[id][file]

    def _read_store_file(self, form: Form, id: str, file: str) -> Json:
        self.store_files[id].get_one(file)
        content = [{"type": "text", "text": self.contents[file].decode()}]
        return {"object": "vector_store.file_content.page", "data": content, "has_more": False}

    def _search(self, form: Form, id: str) -> Json:
        self.vector_stores.get_one(id)
        rows = [
            {
                "file_id": file, "filename": self.files[file]["filename"], "score": 0.9,
                "attributes": {}, "content": [{"type": "text", "text": "found"}],
            }
            for file in self.store_files[id]
        ]  # fmt: skip
        page = {"object": "vector_store.search_results.page", "search_query": [form.json["query"]]}
        return {**page, "data": rows, "has_more": False, "next_page": None}

    def _begin_file_batch(self, form: Form, id: str) -> Json:
        for file in form.json["file_ids"]:
            self._add_to_store(id, file)
        batch_id = self.file_batches.new_id()
        self.file_batches[batch_id] = {
            "id": batch_id, "object": "vector_store.files_batch", "created_at": CREATED_AT,
            "vector_store_id": id, "status": "in_progress",
            "file_counts": count_files(len(form.json["file_ids"])),
        }  # fmt: skip
        return self.file_batches[batch_id]

    def _begin_conversation(self, form: Form) -> Json:
        id = self.conversations.new_id()
        self.items[id] = Shelf(f"msg_{id[-1]}")
        self.conversations[id] = {
            "id": id, "object": "conversation", "created_at": CREATED_AT,
            "metadata": form.json.get("metadata", {}),
        }  # fmt: skip
        return self.conversations[id]

    def _add_items(self, form: Form, id: str) -> Json:
        self.conversations.get_one(id)
        shelf = self.items[id]
        for item in form.json["items"]:
            item_id = shelf.new_id()
            shelf[item_id] = make_message(item_id, item["role"], item["content"])
        return make_list(shelf.values())

    def _remove_item(self, form: Form, id: str, item: str) -> Json:
        self.items[id].remove(item)
        return self.conversations.get_one(id)

    def _respond(self, form: Form) -> Json:
        id = self.responses.new_id()
        self.responses[id] = {
            "id": id, "object": "response", "created_at": CREATED_AT, "status": "completed",
            "model": form.json["model"], "output": [make_message("msg_9", "assistant", "Hi.")],
            "usage": RESPONSE_USAGE, "parallel_tool_calls": True, "tool_choice": "auto",
            "tools": [], "background": form.json.get("background", False),
        }  # fmt: skip
        return self.responses[id]

    def _make_container(self, form: Form) -> Json:
        id = self.containers.new_id()
        self.containers[id] = {
            "id": id, "object": "container", "created_at": CREATED_AT, "status": "running",
            "name": form.json["name"],
        }  # fmt: skip
        return self.containers[id]

    def _remove_container(self, form: Form, id: str) -> Json:
        return forget(self.containers, id, "container.deleted")

    def _add_to_container(self, form: Form, id: str) -> Json:
        self.containers.get_one(id)
        file_id = self.container_files.new_id()
        name = form.files["file"][0] if form.files else form.json["file_id"]
        self.container_files[file_id] = {
            "id": file_id, "object": "container.file", "created_at": CREATED_AT, "bytes": 3,
            "container_id": id, "path": f"/mnt/data/{name}", "source": "user",
        }  # fmt: skip
        return self.container_files[file_id]

    def _remove_container_file(self, form: Form, id: str, file: str) -> Json:
        return forget(self.container_files, file, "container.file.deleted")

    def _make_skill(self, form: Form) -> Json:
        id = self.skills.new_id()
        self.versions[id] = Shelf("")
        self._add_version(id)
        self.skills[id] = {
            "id": id, "object": "skill", "created_at": CREATED_AT, "name": "tables",
            "description": "Makes tables.", "default_version": "1", "latest_version": "1",
        }  # fmt: skip
        return self.skills[id]

    def _add_version(self, id: str) -> Json:
        number = str(len(self.versions[id]) + 1)
        self.versions[id][number] = {
            "id": f"skillver_{number}", "object": "skill.version", "created_at": CREATED_AT,
            "skill_id": id, "version": number, "name": "tables", "description": "Makes tables.",
        }  # fmt: skip
        return self.versions[id][number]

    def _film(self, fields: Mapping[str, str], **more: str) -> Json:
        id = self.videos.new_id()
        self.videos[id] = {
            "id": id, "object": "video", "created_at": CREATED_AT, "progress": 0,
            "model": fields.get("model", "sora-2"), "seconds": fields.get("seconds", "4"),
            "size": fields.get("size", "720x1280"), "status": "queued", **more,
        }  # fmt: skip
        return self.videos[id]

    def _remix(self, form: Form, id: str) -> Json:
        self.videos.get_one(id)
        return self._film({}, remixed_from_video_id=id)

    def _cast(self, form: Form) -> Json:
        id = self.characters.new_id()
        name = form.fields["name"]
        self.characters[id] = {"id": id, "created_at": CREATED_AT, "name": name}
        return self.characters[id]


def make_list(items: Iterable[Json]) -> Json:
    """Return a whole list as one page."""
    data: Sequence[Json] = [*items]
    ids = [item["id"] for item in data]
    ends = {"first_id": ids[0], "last_id": ids[-1]} if ids else {"first_id": None, "last_id": None}
    return {"object": "list", "data": data, **ends, "has_more": False}


def make_message(id: str, role: str, text: str) -> Json:
    """Return a message as an item of a conversation."""
    kind = "input_text" if role == "user" else "output_text"
    part: Json = {"type": kind, "text": text} | ({} if role == "user" else {"annotations": []})
    return {"id": id, "type": "message", "role": role, "status": "completed", "content": [part]}


def change(shelf: Shelf, id: str, **members: Json) -> Json:
    """Change members of an object and return it."""
    shelf[id] = {**shelf.get_one(id), **members}
    return shelf[id]


def forget(shelf: Shelf, id: str, kind: str) -> Json:
    """Delete an object and return what OpenAI says then."""
    shelf.remove(id)
    return {"id": id, "object": kind, "deleted": True}


def count_files(total: int) -> Json:
    """Return the counts of a vector store's files."""
    return {"in_progress": 0, "completed": total, "failed": 0, "cancelled": 0, "total": total}


def chat(form: Form) -> Json:
    """Answer a chat."""
    message = {"role": "assistant", "content": "Hello.", "refusal": None}
    return {
        "id": "chatcmpl-1", "object": "chat.completion", "created": CREATED_AT,
        "model": form.json["model"],
        "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11},
    }  # fmt: skip


def embed(form: Form) -> Json:
    """Return a vector for each text."""
    data = [{"object": "embedding", "index": n, "embedding": [0.5, 0.25]} for n, _ in enumerate(form.json["input"])]  # fmt: skip
    usage = {"prompt_tokens": 4, "total_tokens": 4}
    return {"object": "list", "data": data, "model": form.json["model"], "usage": usage}


def complete(form: Form) -> Json | Answer:
    """Answer a legacy completion, whole or as a stream."""
    head = {
        "id": "cmpl-1", "object": "text_completion", "created": CREATED_AT,
        "model": form.json["model"],
    }  # fmt: skip
    usage = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}
    choice = {"index": 0, "text": " world", "finish_reason": "stop", "logprobs": None}
    if not form.json.get("stream"):
        return {**head, "choices": [choice], "usage": usage}
    return write_events(
        [("", {**head, "choices": [choice]}), ("", {**head, "choices": [], "usage": usage})],
        done=True,
    )


def decide(form: Form) -> Json:
    """Answer each question with its first choice."""
    answers = [
        {
            "type": "choice", "name": question["name"], "confidence": 0.9,
            "choice": question["choices"][0]["value"],
            "probabilities": [{"value": question["choices"][0]["value"], "probability": 0.9}],
        }
        for question in form.json["questions"]
    ]  # fmt: skip
    return {"answers": answers, "model": form.json["model"], "usage": RESPONSE_USAGE}


def draw(form: Form) -> Json | Answer:
    """Draw pictures: those of the newer models are billed by tokens, and may come as a stream."""
    body = form.json
    if not body["model"].startswith("gpt-image"):
        images = [{"url": f"https://pictures.example/{n}.png"} for n in range(body.get("n", 1))]
        return {"created": CREATED_AT, "data": images}
    if not body.get("stream"):
        return {
            "created": CREATED_AT, "data": [{"b64_json": "iVBOR"}], "usage": IMAGE_USAGE,
            "size": "1024x1024", "quality": "low", "output_format": "png",
        }  # fmt: skip
    end = {
        "type": "image_generation.completed", "b64_json": "iVBOR", "created_at": CREATED_AT,
        "size": "1024x1024", "quality": "low", "background": "opaque", "output_format": "png",
        "usage": IMAGE_USAGE,
    }  # fmt: skip
    return write_events([("image_generation.completed", end)])


def edit_picture(form: Form) -> Json:
    """Edit a picture."""
    assert form.files["image"][1] == PICTURE
    return {"created": CREATED_AT, "data": [{"b64_json": "iVBOR"}], "usage": IMAGE_USAGE}


def vary(form: Form) -> Json:
    """Make variations of a picture."""
    images = [{"url": f"https://pictures.example/{n}.png"} for n in range(int(form.fields["n"]))]
    return {"created": CREATED_AT, "data": images}


def transcribe(form: Form) -> Json | Answer:
    """Write down a sound: Whisper is billed by seconds, the newer models by tokens."""
    assert form.files["file"][1] == SOUND
    if form.fields["model"] == "whisper-1":
        if form.fields.get("response_format") == "text":
            return write_bytes(b"Hello.\n", "text/plain")
        return {"text": "Hello.", "usage": {"type": "duration", "seconds": 12}}
    usage = {
        "type": "tokens", "input_tokens": 30, "output_tokens": 4, "total_tokens": 34,
        "input_token_details": {"audio_tokens": 28, "text_tokens": 2},
    }  # fmt: skip
    if form.fields.get("stream") == "true":
        return write_events(
            [
                ("transcript.text.delta", {"type": "transcript.text.delta", "delta": "Hello."}),
                ("transcript.text.done", {"type": "transcript.text.done", "text": "Hello.", "usage": usage}),
            ]
        )  # fmt: skip
    return {"text": "Hello.", "usage": usage}


def translate(form: Form) -> Json:
    """Translate a sound; the verbose form tells its length alone."""
    return {"text": "Hello.", "duration": 12.5, "language": "english", "task": "translate"}


def moderate(form: Form) -> Json:
    """Find nothing wrong."""
    result = {
        "flagged": False,
        "categories": dict.fromkeys(CATEGORIES, False),
        "category_scores": dict.fromkeys(CATEGORIES, 0.01),
        "category_applied_input_types": {name: ["text"] for name in CATEGORIES},
    }
    return {"id": "modr-1", "model": form.json["model"], "results": [result]}


def check_provenance(form: Form) -> Json:
    """Find a signal in a picture."""
    result = {"type": "synthid", "outcome": "not_detected"}
    return {
        "object": "content_provenance_check", "created_at": CREATED_AT, "results": [result],
    }  # fmt: skip


def compact(form: Form) -> Json:
    """Compact a conversation."""
    item = {"id": "cmp_1", "type": "compaction", "encrypted_content": "abc"}
    return {
        "id": "resp_c1", "object": "response.compaction", "created_at": CREATED_AT,
        "output": [item], "usage": RESPONSE_USAGE,
    }  # fmt: skip
