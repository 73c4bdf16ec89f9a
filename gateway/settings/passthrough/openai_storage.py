"""Endpoints of OpenAI's API for what it stores: files and what is made of them; hosts have some.

Source: the resources of the official SDK, openai-python 3.57.
"""

from gateway.core.passthrough import PassThroughEndpoint as Endpoint
from gateway.core.passthrough import PassThroughTable

_DIALECT, _PREFIX = "openai-chat", "/v1"
_BATCH_FILES = {"output_file_id": "file", "error_file_id": "file"}
_RESULT_FILES = {"result_files": "file"}

FILES = PassThroughTable(
    name="openai-files",
    prefix=_PREFIX,
    dialect=_DIALECT,
    endpoints=(
        Endpoint(
            name="files.create", method="POST", path="/files",
            body="multipart", is_upload=True, creates="file",
        ),
        Endpoint(name="files.list", method="GET", path="/files", lists="file"),
        Endpoint(name="files.retrieve", method="GET", path="/files/{file_id}"),
        Endpoint(name="files.delete", method="DELETE", path="/files/{file_id}", deletes=True),
        Endpoint(name="files.content", method="GET", path="/files/{file_id}/content"),
    ),
)  # fmt: skip

UPLOADS = PassThroughTable(
    name="openai-uploads",
    prefix=_PREFIX,
    dialect=_DIALECT,
    endpoints=(
        Endpoint(
            name="uploads.create", method="POST", path="/uploads",
            body="json", creates="upload",
        ),
        Endpoint(
            name="uploads.parts", method="POST", path="/uploads/{upload_id}/parts",
            body="multipart", is_upload=True, creates="upload_part",
        ),
        Endpoint(
            name="uploads.complete", method="POST", path="/uploads/{upload_id}/complete",
            body="json", creates="file",
        ),
        Endpoint(name="uploads.cancel", method="POST", path="/uploads/{upload_id}/cancel"),
    ),
)  # fmt: skip

BATCHES = PassThroughTable(
    name="openai-batches",
    prefix=_PREFIX,
    dialect=_DIALECT,
    endpoints=(
        Endpoint(
            name="batches.create", method="POST", path="/batches",
            body="json", billing="job", creates="batch",
        ),
        Endpoint(
            name="batches.list", method="GET", path="/batches",
            lists="batch", makes=_BATCH_FILES,
        ),
        Endpoint(
            name="batches.retrieve", method="GET", path="/batches/{batch_id}",
            makes=_BATCH_FILES,
        ),
        Endpoint(
            name="batches.cancel", method="POST", path="/batches/{batch_id}/cancel",
            makes=_BATCH_FILES,
        ),
    ),
)  # fmt: skip

FINE_TUNING = PassThroughTable(
    name="openai-fine-tuning",
    prefix=_PREFIX,
    dialect=_DIALECT,
    endpoints=(
        Endpoint(
            name="fine_tuning.create", method="POST", path="/fine_tuning/jobs",
            body="json", model="body", billing="job", creates="fine_tuning_job",
            makes=_RESULT_FILES,
        ),
        Endpoint(
            name="fine_tuning.list", method="GET", path="/fine_tuning/jobs",
            lists="fine_tuning_job", makes=_RESULT_FILES,
        ),
        Endpoint(
            name="fine_tuning.retrieve", method="GET",
            path="/fine_tuning/jobs/{fine_tuning_job_id}", makes=_RESULT_FILES,
        ),
        Endpoint(
            name="fine_tuning.events", method="GET",
            path="/fine_tuning/jobs/{fine_tuning_job_id}/events",
        ),
        Endpoint(
            name="fine_tuning.checkpoints", method="GET",
            path="/fine_tuning/jobs/{fine_tuning_job_id}/checkpoints",
        ),
        Endpoint(
            name="fine_tuning.cancel", method="POST",
            path="/fine_tuning/jobs/{fine_tuning_job_id}/cancel",
            makes=_RESULT_FILES,
        ),
        Endpoint(
            name="fine_tuning.pause", method="POST",
            path="/fine_tuning/jobs/{fine_tuning_job_id}/pause",
            makes=_RESULT_FILES,
        ),
        Endpoint(
            name="fine_tuning.resume", method="POST",
            path="/fine_tuning/jobs/{fine_tuning_job_id}/resume",
            makes=_RESULT_FILES,
        ),
    ),
)  # fmt: skip

VECTOR_STORES = PassThroughTable(
    name="openai-vector-stores",
    prefix=_PREFIX,
    dialect=_DIALECT,
    endpoints=(
        Endpoint(
            name="vector_stores.create", method="POST", path="/vector_stores",
            body="json", billing="unknown", creates="vector_store",
        ),
        Endpoint(
            name="vector_stores.list", method="GET", path="/vector_stores",
            lists="vector_store",
        ),
        Endpoint(
            name="vector_stores.retrieve", method="GET", path="/vector_stores/{vector_store_id}",
        ),
        Endpoint(
            name="vector_stores.update", method="POST", path="/vector_stores/{vector_store_id}",
            body="json",
        ),
        Endpoint(
            name="vector_stores.delete", method="DELETE", path="/vector_stores/{vector_store_id}",
            deletes=True,
        ),
        Endpoint(
            name="vector_stores.search", method="POST",
            path="/vector_stores/{vector_store_id}/search", body="json", billing="unknown",
        ),
        Endpoint(
            name="vector_stores.files.create", method="POST",
            path="/vector_stores/{vector_store_id}/files", body="json", billing="unknown",
        ),
        Endpoint(
            name="vector_stores.files.list", method="GET",
            path="/vector_stores/{vector_store_id}/files",
        ),
        Endpoint(
            name="vector_stores.files.retrieve", method="GET",
            path="/vector_stores/{vector_store_id}/files/{file_id}",
        ),
        Endpoint(
            name="vector_stores.files.update", method="POST",
            path="/vector_stores/{vector_store_id}/files/{file_id}", body="json",
        ),
        Endpoint(
            name="vector_stores.files.delete", method="DELETE",
            path="/vector_stores/{vector_store_id}/files/{file_id}",
        ),
        Endpoint(
            name="vector_stores.files.content", method="GET",
            path="/vector_stores/{vector_store_id}/files/{file_id}/content",
        ),
        Endpoint(
            name="vector_stores.batches.create", method="POST",
            path="/vector_stores/{vector_store_id}/file_batches", body="json", billing="unknown",
        ),
        Endpoint(
            name="vector_stores.batches.retrieve", method="GET",
            path="/vector_stores/{vector_store_id}/file_batches/{file_batch_id}",
        ),
        Endpoint(
            name="vector_stores.batches.files", method="GET",
            path="/vector_stores/{vector_store_id}/file_batches/{file_batch_id}/files",
        ),
        Endpoint(
            name="vector_stores.batches.cancel", method="POST",
            path="/vector_stores/{vector_store_id}/file_batches/{file_batch_id}/cancel",
        ),
    ),
)  # fmt: skip

CONTAINERS = PassThroughTable(
    name="openai-containers",
    prefix=_PREFIX,
    dialect=_DIALECT,
    endpoints=(
        Endpoint(
            name="containers.create", method="POST", path="/containers",
            body="json", billing="unknown", creates="container",
        ),
        Endpoint(name="containers.list", method="GET", path="/containers", lists="container"),
        Endpoint(name="containers.retrieve", method="GET", path="/containers/{container_id}"),
        Endpoint(
            name="containers.delete", method="DELETE", path="/containers/{container_id}",
            deletes=True,
        ),
        Endpoint(
            name="containers.files.create", method="POST", path="/containers/{container_id}/files",
            body="multipart", is_upload=True,
        ),
        Endpoint(
            name="containers.files.list", method="GET", path="/containers/{container_id}/files",
        ),
        Endpoint(
            name="containers.files.retrieve", method="GET",
            path="/containers/{container_id}/files/{container_file_id}",
        ),
        Endpoint(
            name="containers.files.delete", method="DELETE",
            path="/containers/{container_id}/files/{container_file_id}",
        ),
        Endpoint(
            name="containers.files.content", method="GET",
            path="/containers/{container_id}/files/{container_file_id}/content",
        ),
    ),
)  # fmt: skip

SKILLS = PassThroughTable(
    name="openai-skills",
    prefix=_PREFIX,
    dialect=_DIALECT,
    endpoints=(
        Endpoint(
            name="skills.create", method="POST", path="/skills",
            body="multipart", is_upload=True, creates="skill",
        ),
        Endpoint(name="skills.list", method="GET", path="/skills", lists="skill"),
        Endpoint(name="skills.retrieve", method="GET", path="/skills/{skill_id}"),
        Endpoint(name="skills.update", method="POST", path="/skills/{skill_id}", body="json"),
        Endpoint(name="skills.delete", method="DELETE", path="/skills/{skill_id}", deletes=True),
        Endpoint(name="skills.content", method="GET", path="/skills/{skill_id}/content"),
        Endpoint(
            name="skills.versions.create", method="POST", path="/skills/{skill_id}/versions",
            body="multipart", is_upload=True,
        ),
        Endpoint(name="skills.versions.list", method="GET", path="/skills/{skill_id}/versions"),
        Endpoint(
            name="skills.versions.retrieve", method="GET",
            path="/skills/{skill_id}/versions/{version}",
        ),
        Endpoint(
            name="skills.versions.delete", method="DELETE",
            path="/skills/{skill_id}/versions/{version}",
        ),
        Endpoint(
            name="skills.versions.content", method="GET",
            path="/skills/{skill_id}/versions/{version}/content",
        ),
    ),
)  # fmt: skip

TABLES = (FILES, UPLOADS, BATCHES, FINE_TUNING, VECTOR_STORES, CONTAINERS, SKILLS)
