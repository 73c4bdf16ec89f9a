"""Answers of generateContent, whole and streamed, that together have every member of the list."""

from tests.dialects.members.answer_samples import AnswerSamples
from tests.dialects.request_strategies import PNG, Object

_HEAD: Object = {
    "responseId": "r1", "modelVersion": "gemini-9", "createTime": "2026-11-30T12:00:00Z",
}  # fmt: skip
_COUNTS: Object = {"promptTokenCount": 900, "candidatesTokenCount": 90, "totalTokenCount": 990}
_AUDIO: Object = {"modality": "AUDIO", "tokenCount": 7}
_RATINGS: list[Object] = [{"category": "HARM_CATEGORY_HARASSMENT", "probability": "LOW"}]
_HELLO: Object = {"text": "hello"}
_TOKEN: Object = {"token": "a", "logProbability": -1.5, "tokenId": 7}
_CITATION: Object = {
    "uri": "https://a.test", "title": "A", "startIndex": 1, "endIndex": 3, "license": "MIT",
    "publicationDate": {"year": 2026},
}  # fmt: skip
_GROUNDING: Object = {
    "webSearchQueries": ["a"],
    "imageSearchQueries": ["b"],
    "retrievalQueries": ["c"],
    "searchEntryPoint": {"renderedContent": "<p>"},
    "retrievalMetadata": {"googleSearchDynamicRetrievalScore": 0.5},
    "googleMapsWidgetContextToken": "a",
    "sourceFlaggingUris": [{"sourceId": "a", "flagContentUri": "https://a.test"}],
    "groundingChunks": [
        {"web": {"uri": "https://a.test", "title": "A", "domain": "a.test"}},
        {
            "image": {
                "sourceUri": "https://b.test",
                "imageUri": "https://b.test/b.png",
                "title": "B",
                "domain": "b.test",
            }
        },
        {
            "maps": {
                "uri": "https://c.test",
                "title": "C",
                "placeId": "places/c",
                "placeAnswerSources": {"flagContentUri": "https://c.test"},
                "route": {"distanceMeters": 7},
                "text": "c",
            }
        },
        {
            "retrievedContext": {
                "uri": "https://d.test",
                "title": "D",
                "documentName": "d",
                "ragChunk": {"text": "d"},
                "text": "d",
                "customMetadata": [{"key": "a", "stringValue": "b"}],
                "fileSearchStore": "fileSearchStores/d",
                "pageNumber": 7,
                "mediaId": "d",
            }
        },
    ],
    "groundingSupports": [
        {
            "segment": {"startIndex": 1, "endIndex": 3, "partIndex": 1, "text": "el"},
            "groundingChunkIndices": [0],
            "confidenceScores": [0.5],
            "renderedParts": [0],
        }
    ],
}
_BESIDE_CONTENT: Object = {
    "mediaResolution": {"level": "MEDIA_RESOLUTION_LOW"},
    "mediaProcessing": "MEDIA_PROCESSING_STATIC",
    "videoMetadata": {"fps": 2},
    "audioMetadata": {"startOffset": "1s"},
    "documentMetadata": {"startPage": 2},
    "spreadsheetMetadata": {"sheetIndex": 2},
    "partMetadata": {"a": "b"},
    "speechMetadata": {"speaker": "Ann"},
}
_OPAQUE_PARTS: tuple[Object, ...] = (
    {"executableCode": {"language": "PYTHON", "code": "print(2)"}},
    {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "2"}},
    {"toolCall": {"id": "1", "toolType": "FILE_SEARCH"}},
    {"toolResponse": {"id": "1", "toolType": "FILE_SEARCH"}},
    {"fileData": {"mimeType": "video/mp4", "fileUri": "https://a.test/a"}},
    {"functionResponse": {"name": "find", "response": {"a": "b"}}},
    {"audioTranscription": {"text": "hi"}},
)
_PIECES: tuple[Object, ...] = (
    {"id": "1", "name": "find", "willContinue": True},
    {"partialArgs": [{"jsonPath": "$.a", "stringValue": "b"}], "willContinue": True},
    {
        "partialArgs": [
            {"jsonPath": "$.b", "numberValue": 2, "willContinue": True},
            {"jsonPath": "$.c", "boolValue": True},
            {"jsonPath": "$.d", "stringValue": "e"},
        ],
        "willContinue": True,
    },
    {
        "partialArgs": [
            {"jsonPath": "$.d", "nullValue": "NULL_VALUE"},
            {"jsonPath": "$.e", "nullValue": "NULL_VALUE"},
        ]
    },
)


def candidate(*parts: Object, finish: str | None = "STOP", **members: object) -> Object:
    """Return a candidate of these parts."""
    content = {"role": "model", "parts": [*parts]}
    end = {} if finish is None else {"finishReason": finish}
    return {"index": 0, "content": content, **end, **members}


def answer(*candidates: Object, **members: object) -> Object:
    """Return a whole answer, or a chunk."""
    return {**_HEAD, "candidates": [*candidates], **members}


def count(**members: object) -> Object:
    """Return a whole answer with more counts of tokens."""
    return answer(candidate(_HELLO), usageMetadata={**_COUNTS, **members})


_RICH: Object = answer(
    candidate(
        {"text": "hm", "thought": True, "thoughtSignature": "c2ln"},
        {**_HELLO, **_BESIDE_CONTENT},
        {"functionCall": {"id": "1", "name": "find", "args": {"a": "b"}}},
        {"inlineData": {"mimeType": "image/png", "data": PNG, "displayName": "a.png"}},
        *_OPAQUE_PARTS,
        citationMetadata={"citations": [_CITATION]},
        groundingMetadata=_GROUNDING,
        logprobsResult={
            "chosenCandidates": [_TOKEN],
            "topCandidates": [{"candidates": [_TOKEN]}],
            "logProbabilitySum": -1.5,
        },
        urlContextMetadata={"urlMetadata": [{"retrievedUrl": "https://a.test"}]},
        continuationToken="a",
        finishMessage="It is done.",
        safetyRatings=_RATINGS,
        avgLogprobs=-1.5,
        tokenCount=90,
    ),
    candidate(_HELLO, index=1),
    promptFeedback={"safetyRatings": _RATINGS},
    usageMetadata=_COUNTS,
    modelStatus={"modelStage": "STABLE"},
)

SAMPLES = AnswerSamples(
    answers=(
        _RICH,
        answer(candidate(_HELLO, citationMetadata={"citationSources": [_CITATION]})),
        answer(candidate(*({"functionCall": piece} for piece in _PIECES))),
        {**_HEAD, "promptFeedback": {"blockReason": "SAFETY", "blockReasonMessage": "No."}},
        count(
            cachedContentTokenCount=7,
            thoughtsTokenCount=7,
            toolUsePromptTokenCount=7,
            promptTokensDetails=[_AUDIO],
            candidatesTokensDetails=[_AUDIO],
            toolUsePromptTokensDetails=[_AUDIO],
            cacheTokensDetails=[_AUDIO],
            serviceTier="flex",
        ),
        count(promptTokenDetails=[_AUDIO], trafficType="PROVISIONED_THROUGHPUT"),
        answer(candidate(_HELLO), usageMetadata={"promptTokenCount": 9, "totalTokenCount": 9}),
    ),
    streams=(
        (
            answer(candidate({"text": "hm", "thought": True}, finish=None)),
            answer(candidate(_HELLO, finish=None), usageMetadata={"promptTokenCount": 900}),
            _RICH,
        ),
        (
            answer(candidate({"functionCall": _PIECES[0]}, finish=None)),
            *(answer(candidate({"functionCall": piece}, finish=None)) for piece in _PIECES[1:-1]),
            answer(
                candidate({"functionCall": _PIECES[-1]}),
                usageMetadata={**_COUNTS, "promptTokensDetails": [_AUDIO]},
            ),
        ),
        (
            answer(candidate(_HELLO, finish=None), candidate(_HELLO, finish=None, index=1)),
            answer(candidate(), candidate(index=1)),
            {**_HEAD, "usageMetadata": _COUNTS},
        ),
        (
            answer(candidate(_HELLO, finish=None)),
            {**_HEAD, "promptFeedback": {"blockReason": "SAFETY"}},
        ),
    ),
    stream_end=b"",
)
