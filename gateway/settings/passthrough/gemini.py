"""Endpoints of the Gemini API beside content and embeddings.

Source: the official SDK, python-genai 3.6, for clients that are not on Vertex AI.
"""

from gateway.core.passthrough import PassThroughEndpoint as Endpoint
from gateway.core.passthrough import PassThroughTable

_DIALECT, _PREFIX, _UPLOAD_PREFIX = "gemini", "/v1beta", "/upload/v1beta"
_BATCH_FILES = {"metadata.output.responsesFile": "file", "response.responsesFile": "file"}
"""A batch is an operation: its metadata has the result, and so has its response at the end."""

MODELS = PassThroughTable(
    name="gemini-models",
    prefix=_PREFIX,
    dialect=_DIALECT,
    has_resource_names=True,
    endpoints=(
        Endpoint(
            name="models.predict", method="POST", path="/models/{model}:predict",
            body="json", model="path", billing="units", unit="image",
        ),
        Endpoint(
            name="models.predict_long_running", method="POST",
            path="/models/{model}:predictLongRunning", body="json", model="path", billing="units",
            unit="second", creates="operation",
        ),
        Endpoint(
            name="operations.retrieve", method="GET",
            path="/models/{model}/operations/{operation_id}",
            makes={"response.generateVideoResponse.generatedSamples.video.uri": "file"},
        ),
    ),
)  # fmt: skip
"""Imagen and Veo, as SDKs before python-genai 3 call them."""

BATCHES = PassThroughTable(
    name="gemini-batches",
    prefix=_PREFIX,
    dialect=_DIALECT,
    has_resource_names=True,
    endpoints=(
        Endpoint(
            name="batches.create", method="POST", path="/models/{model}:batchGenerateContent",
            body="json", model="path", billing="job", creates="batch",
        ),
        Endpoint(
            name="batches.create_embeddings", method="POST",
            path="/models/{model}:asyncBatchEmbedContent", body="json", model="path",
            billing="job", creates="batch",
        ),
        Endpoint(
            name="batches.list", method="GET", path="/batches",
            lists="batch", list_member="operations", makes=_BATCH_FILES,
        ),
        Endpoint(
            name="batches.retrieve", method="GET", path="/batches/{batch_id}",
            makes=_BATCH_FILES,
        ),
        Endpoint(
            name="batches.cancel", method="POST", path="/batches/{batch_id}:cancel",
            body="json",
        ),
        Endpoint(name="batches.delete", method="DELETE", path="/batches/{batch_id}", deletes=True),
    ),
)  # fmt: skip

CACHES = PassThroughTable(
    name="gemini-caches",
    prefix=_PREFIX,
    dialect=_DIALECT,
    has_resource_names=True,
    endpoints=(
        Endpoint(
            name="caches.create", method="POST", path="/cachedContents",
            body="json", model="body", billing="unknown", creates="cached_content",
        ),
        Endpoint(
            name="caches.list", method="GET", path="/cachedContents",
            lists="cached_content", list_member="cachedContents",
        ),
        Endpoint(name="caches.retrieve", method="GET", path="/cachedContents/{cache_id}"),
        Endpoint(
            name="caches.update", method="PATCH", path="/cachedContents/{cache_id}",
            body="json", billing="unknown",
        ),
        Endpoint(
            name="caches.delete", method="DELETE", path="/cachedContents/{cache_id}",
            deletes=True,
        ),
    ),
)  # fmt: skip

FILES = PassThroughTable(
    name="gemini-files",
    prefix=_PREFIX,
    dialect=_DIALECT,
    has_resource_names=True,
    endpoints=(
        Endpoint(name="files.list", method="GET", path="/files", lists="file", list_member="files"),
        Endpoint(name="files.retrieve", method="GET", path="/files/{file_id}"),
        Endpoint(name="files.delete", method="DELETE", path="/files/{file_id}", deletes=True),
        Endpoint(name="files.content", method="GET", path="/files/{file_id}:download"),
    ),
)  # fmt: skip

FILE_SEARCH = PassThroughTable(
    name="gemini-file-search",
    prefix=_PREFIX,
    dialect=_DIALECT,
    has_resource_names=True,
    endpoints=(
        Endpoint(
            name="file_search_stores.create", method="POST", path="/fileSearchStores",
            body="json", creates="file_search_store",
        ),
        Endpoint(
            name="file_search_stores.list", method="GET", path="/fileSearchStores",
            lists="file_search_store", list_member="fileSearchStores",
        ),
        Endpoint(
            name="file_search_stores.retrieve", method="GET",
            path="/fileSearchStores/{file_search_store_id}",
        ),
        Endpoint(
            name="file_search_stores.delete", method="DELETE",
            path="/fileSearchStores/{file_search_store_id}", deletes=True,
        ),
        Endpoint(
            name="file_search_stores.import", method="POST",
            path="/fileSearchStores/{file_search_store_id}:importFile", body="json",
            billing="unknown", creates="operation",
        ),
        Endpoint(
            name="file_search_stores.import_operation", method="GET",
            path="/fileSearchStores/{file_search_store_id}/operations/{operation_id}",
        ),
        Endpoint(
            name="file_search_stores.upload_operation", method="GET",
            path="/fileSearchStores/{file_search_store_id}/upload/operations/{operation_id}",
        ),
        Endpoint(
            name="file_search_stores.media", method="GET",
            path="/fileSearchStores/{file_search_store_id}/media/{media_id}",
        ),
        Endpoint(
            name="documents.list", method="GET",
            path="/fileSearchStores/{file_search_store_id}/documents",
        ),
        Endpoint(
            name="documents.retrieve", method="GET",
            path="/fileSearchStores/{file_search_store_id}/documents/{document_id}",
        ),
        Endpoint(
            name="documents.delete", method="DELETE",
            path="/fileSearchStores/{file_search_store_id}/documents/{document_id}",
        ),
    ),
)  # fmt: skip

UPLOADS = PassThroughTable(
    name="gemini-uploads",
    prefix=_UPLOAD_PREFIX,
    dialect=_DIALECT,
    has_resource_names=True,
    endpoints=(
        Endpoint(
            name="files.create", method="POST", path="/files",
            body="bytes", is_upload=True, creates="file", upload_header="x-goog-upload-url",
        ),
        Endpoint(
            name="file_search_stores.upload", method="POST",
            path="/fileSearchStores/{file_search_store_id}:uploadToFileSearchStore", body="bytes",
            is_upload=True, billing="unknown", creates="operation",
            upload_header="x-goog-upload-url",
        ),
    ),
)  # fmt: skip
"""Resumable uploads. A first request announces the file; its answer names the URL for the data.

The data comes to the same path with `upload_id`, in pieces and without a key."""

INTERACTIONS = PassThroughTable(
    name="gemini-interactions",
    prefix=_PREFIX,
    dialect=_DIALECT,
    endpoints=(
        Endpoint(
            name="interactions.create", method="POST", path="/interactions",
            body="json", model="body", streams=True, billing="usage", creates="interaction",
        ),
        Endpoint(
            name="interactions.retrieve", method="GET", path="/interactions/{interaction_id}",
            streams=True,
        ),
        Endpoint(
            name="interactions.cancel", method="POST", path="/interactions/{interaction_id}/cancel",
        ),
        Endpoint(
            name="interactions.delete", method="DELETE", path="/interactions/{interaction_id}",
            deletes=True,
        ),
    ),
)  # fmt: skip

DECISIONS = PassThroughTable(
    name="gemini-decisions",
    prefix=_PREFIX,
    dialect=_DIALECT,
    endpoints=(
        Endpoint(
            name="decisions.create", method="POST", path="/decisions",
            body="json", model="body", billing="usage",
        ),
    ),
)  # fmt: skip

TABLES = (
    MODELS,
    BATCHES,
    CACHES,
    FILES,
    FILE_SEARCH,
    UPLOADS,
    INTERACTIONS,
    DECISIONS,
)
