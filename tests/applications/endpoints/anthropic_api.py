"""Anthropic's API as a scripted provider: it keeps batches, files and skills."""

from collections.abc import Iterable
from typing import Any

from tests.applications.endpoints.scripted import (
    CREATED,
    Form,
    ScriptedApi,
    Shelf,
    write_bytes,
)
from tests.e2e.upstream import Answer

type Json = Any

_ENDS = "2026-12-29T12:00:00Z"


class AnthropicApi(ScriptedApi):
    """The provider. A batch tells the URL of its results, as Anthropic's does."""

    def __init__(self, prefix: str, url: str) -> None:
        """`url` is the origin of the provider."""
        super().__init__(prefix)
        self._url = url + prefix
        self.files, self.contents = Shelf("file_"), dict[str, bytes]()
        self.batches, self.requests = Shelf("msgbatch_"), dict[str, Json]()
        self.skills, self.versions = Shelf("skill_"), dict[str, Shelf]()
        self.skills["xlsx"] = make_skill("xlsx", "Excel", "1", "anthropic")  # every client has it
        self.on("POST", "/v1/messages", respond)
        self.on("POST", "/v1/files", self._keep_file)
        self.on("GET", "/v1/files", lambda form: make_page(self.files.values()))
        self.on("GET", "/v1/files/{}", lambda form, id: self.files.get_one(id))
        self.on("DELETE", "/v1/files/{}", lambda form, id: forget(self.files, id, "file_deleted"))
        self.on("GET", "/v1/files/{}/content", self._read_file)
        batch = "/v1/messages/batches/{}"
        self.on("POST", "/v1/messages/batches", self._begin_batch)
        self.on("GET", "/v1/messages/batches", lambda form: make_list(self.batches.values()))
        self.on("GET", batch, self._finish_batch)
        self.on("POST", f"{batch}/cancel", self._cancel_batch)
        self.on("GET", f"{batch}/results", self._read_results)
        self.on("DELETE", batch, lambda form, id: forget(self.batches, id, "message_batch_deleted"))
        skill = "/v1/skills/{}"
        self.on("POST", "/v1/skills", self._make_skill)
        self.on("GET", "/v1/skills", lambda form: make_page(self.skills.values()))
        self.on("GET", skill, lambda form, id: self.skills.get_one(id))
        self.on("DELETE", skill, lambda form, id: forget(self.skills, id, "skill_deleted"))
        self.on("POST", f"{skill}/versions", lambda form, id: self._add_version(id))
        self.on("GET", f"{skill}/versions", lambda form, id: make_page(self.versions[id].values()))
        version = f"{skill}/versions/{{}}"
        self.on("GET", version, lambda form, id, number: self.versions[id].get_one(number))
        self.on("DELETE", version, lambda form, id, number: forget(self.versions[id], number, "skill_version_deleted"))  # fmt: skip
        self.on("GET", f"{version}/content", lambda form, id, number: write_bytes(b"PK archive", "application/zip"))  # fmt: skip

    def describe_absence(self, subject: str) -> Json:
        """Return the body of a 404 in Anthropic's form."""
        error = {"type": "not_found_error", "message": f"Not found: {subject}"}
        return {"type": "error", "error": error, "request_id": "req_1"}

    def _keep_file(self, form: Form) -> Json:
        id = self.files.new_id()
        name, self.contents[id] = form.files["file"]
        self.files[id] = {
            "id": id, "type": "file", "filename": name, "mime_type": "text/plain",
            "size_bytes": len(self.contents[id]), "created_at": CREATED, "downloadable": True,
        }  # fmt: skip
        return self.files[id]

    def _read_file(self, form: Form, id: str) -> Answer:
        self.files.get_one(id)
        return write_bytes(self.contents[id], "text/plain")

    def _begin_batch(self, form: Form) -> Json:
        id, requests = self.batches.new_id(), form.json["requests"]
        self.requests[id] = requests
        counts = {"canceled": 0, "errored": 0, "expired": 0, "processing": len(requests), "succeeded": 0}  # fmt: skip
        self.batches[id] = {
            "id": id, "type": "message_batch", "processing_status": "in_progress",
            "request_counts": counts, "created_at": CREATED, "expires_at": _ENDS,
            "ended_at": None, "archived_at": None, "cancel_initiated_at": None, "results_url": None,
        }  # fmt: skip
        return self.batches[id]

    def _finish_batch(self, form: Form, id: str) -> Json:
        """Answer as if the batch had ended meanwhile."""
        batch = self.batches.get_one(id)
        if batch["processing_status"] == "in_progress":
            url = f"{self._url}/v1/messages/batches/{id}/results"
            counts = {**batch["request_counts"], "processing": 0, "succeeded": len(self.requests[id])}  # fmt: skip
            batch.update(
                processing_status="ended", ended_at=CREATED, results_url=url, request_counts=counts
            )
        return batch

    def _cancel_batch(self, form: Form, id: str) -> Json:
        batch = self.batches.get_one(id)
        batch.update(processing_status="canceling", cancel_initiated_at=CREATED)
        return batch

    def _read_results(self, form: Form, id: str) -> Answer:
        self.batches.get_one(id)
        lines = [
            b'{"custom_id":"%b","result":{"type":"succeeded","message":{"id":"msg_1","type":"message",'
            b'"role":"assistant","model":"claude-3-5-haiku-20241022","content":[],"stop_reason":"end_turn",'
            b'"stop_sequence":null,"usage":{"input_tokens":9,"output_tokens":2}}}}\n'
            % request["custom_id"].encode()
            for request in self.requests[id]
        ]
        return write_bytes(b"".join(lines), "application/x-jsonl")

    def _make_skill(self, form: Form) -> Json:
        id = self.skills.new_id()
        self.versions[id] = Shelf(f"skillver_{id[-1]}")
        version = self._add_version(id)
        self.skills[id] = make_skill(id, form.fields["display_name"], version["id"], "custom")
        return self.skills[id]

    def _add_version(self, id: str) -> Json:
        version_id = self.versions[id].new_id()
        self.versions[id][version_id] = {
            "id": version_id, "type": "skill_version", "created_at": CREATED, "skill_id": id,
            "name": "tables", "description": "Makes tables.", "directory": "tables",
            "version": version_id,
        }  # fmt: skip
        return self.versions[id][version_id]


def respond(form: Form) -> Json:
    """Answer a message."""
    return {
        "id": "msg_1", "type": "message", "role": "assistant", "model": form.json["model"],
        "content": [{"type": "text", "text": "Hello.", "citations": None}],
        "stop_reason": "end_turn", "stop_sequence": None,
        "usage": {"input_tokens": 9, "output_tokens": 2},
    }  # fmt: skip


def make_skill(id: str, name: str, version: str, source: str) -> Json:
    """Return a skill of the client, or of Anthropic itself."""
    return {
        "id": id, "type": "skill", "created_at": CREATED, "updated_at": CREATED,
        "display_name": name, "latest_version_id": version, "source": {"type": source},
    }  # fmt: skip


def make_list(items: Iterable[Json]) -> Json:
    """Return a whole list as one page with its ends."""
    data = [*items]
    ids = [item["id"] for item in data] or [None]
    return {"data": data, "has_more": False, "first_id": ids[0], "last_id": ids[-1]}


def make_page(items: Iterable[Json]) -> Json:
    """Return a whole list as one page in the newer form."""
    return {"data": [*items], "next_page": None}


def forget(shelf: Shelf, id: str, kind: str) -> Json:
    """Delete an object and return what Anthropic says then."""
    shelf.remove(id)
    return {"id": id, "type": kind}
