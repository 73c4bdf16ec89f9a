"""Endpoints of hosts that no official SDK of the four dialects has."""

from gateway.core.passthrough import PassThroughEndpoint as Endpoint
from gateway.core.passthrough import PassThroughTable

_DIALECT, _PREFIX = "openai-chat", "/v1"
_BATCH_FILES = {"output_file": "file", "error_file": "file"}

RERANK = PassThroughTable(
    name="rerank",
    prefix=_PREFIX,
    dialect=_DIALECT,
    endpoints=(
        Endpoint(
            name="rerank.create", method="POST", path="/rerank",
            body="json", model="body", billing="usage", unit="search",
        ),
    ),
)  # fmt: skip
"""The form of Jina, Voyage and most hosts."""

COHERE_RERANK = PassThroughTable(
    name="cohere-rerank",
    prefix="/v2",
    dialect=_DIALECT,
    endpoints=(
        Endpoint(
            name="rerank.create", method="POST", path="/rerank",
            body="json", model="body", billing="usage", unit="search",
        ),
    ),
)  # fmt: skip

SYSTEM_ONE = PassThroughTable(
    name="systemone",
    prefix=_PREFIX,
    dialect=_DIALECT,
    endpoints=(
        Endpoint(
            name="systemone.create", method="POST", path="/systemone",
            body="json", model="body", billing="usage",
        ),
    ),
)  # fmt: skip
"""Decisions in the form of TypeSafe, which OpenRouter, Perplexity and own engines have too."""

MISTRAL_OCR = PassThroughTable(
    name="mistral-ocr",
    prefix=_PREFIX,
    dialect=_DIALECT,
    endpoints=(
        Endpoint(
            name="ocr.create", method="POST", path="/ocr",
            body="json", model="body", billing="usage", unit="page",
        ),
    ),
)  # fmt: skip

MISTRAL_FIM = PassThroughTable(
    name="mistral-fim",
    prefix=_PREFIX,
    dialect=_DIALECT,
    endpoints=(
        Endpoint(
            name="fim.create", method="POST", path="/fim/completions",
            body="json", model="body", streams=True, billing="usage",
        ),
    ),
)  # fmt: skip
"""Code between a prefix and a suffix."""

MISTRAL_BATCHES = PassThroughTable(
    name="mistral-batches",
    prefix=_PREFIX,
    dialect=_DIALECT,
    endpoints=(
        Endpoint(
            name="batches.create", method="POST", path="/batch/jobs",
            body="json", model="body", billing="job", creates="batch",
        ),
        Endpoint(
            name="batches.list", method="GET", path="/batch/jobs",
            lists="batch", makes=_BATCH_FILES,
        ),
        Endpoint(
            name="batches.retrieve", method="GET", path="/batch/jobs/{batch_id}",
            makes=_BATCH_FILES,
        ),
        Endpoint(
            name="batches.cancel", method="POST", path="/batch/jobs/{batch_id}/cancel",
            makes=_BATCH_FILES,
        ),
    ),
)  # fmt: skip

TABLES = (RERANK, COHERE_RERANK, SYSTEM_ONE, MISTRAL_OCR, MISTRAL_FIM, MISTRAL_BATCHES)
