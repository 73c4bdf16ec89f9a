"""The known members of requests and answers, and what translation does with them.

Names stand in camelCase; clients may write snake_case too. A hosted tool, and the work of one in
the history, is refused or left out as a whole: the list does not look into it.
Sources: the API references of the Gemini API and of Vertex AI, and the types of Google's SDK.
"""

from gateway.dialects.member_list import (
    CARRIED,
    READ,
    MemberList,
    ignore,
    name_loss,
    read_inside,
    refuse,
)

_NO_CONTROL = name_loss("has no such control")
_NO_PART_OF_MEDIA = name_loss("accepts only whole, unchanged media")
_TOLD_AS_TEXT = name_loss("has no part of this kind: gets its text in its place")
_HOSTED_TOOL = refuse("does not have this tool of another provider: leave it out")
_MEDIA = {
    "inlineData": read_inside("data"),
    "fileData": read_inside("file"),
    "mediaResolution": read_inside("resolution"),
    "mediaProcessing": _NO_CONTROL,
    **dict.fromkeys(
        ("videoMetadata", "audioMetadata", "documentMetadata", "spreadsheetMetadata"),
        _NO_PART_OF_MEDIA,
    ),
}
_FORM = {"responseMimeType": READ, "responseSchema": CARRIED, "responseJsonSchema": CARRIED}

REQUEST: MemberList = {
    "request": {
        "model": READ,
        "stream": READ,
        "contents": read_inside("content"),
        "systemInstruction": read_inside("content"),
        "tools": read_inside("tool"),
        "toolConfig": read_inside("tool_config"),
        "generationConfig": read_inside("config"),
        "labels": READ,
        "serviceTier": READ,
        "cachedContent": refuse("does not know this cached content"),
        "continuationToken": refuse("does not know this earlier answer"),
        "safetySettings": _NO_CONTROL,
        "modelArmorConfig": _NO_CONTROL,
        "outputConfig": name_loss("writes no answers to a bucket"),
        "store": _NO_CONTROL,
    },
    "content": {"role": READ, "parts": read_inside("part")},
    "part": {
        **_MEDIA,
        "text": READ,
        "thought": READ,
        "thoughtSignature": READ,
        "functionCall": read_inside("call"),
        "functionResponse": read_inside("result"),
        **dict.fromkeys(
            ("executableCode", "codeExecutionResult", "toolCall", "audioTranscription"),
            _TOLD_AS_TEXT,
        ),
        "toolResponse": name_loss("has no part of this kind"),
        "partMetadata": name_loss("does not accept metadata"),
        "speechMetadata": name_loss("does not accept the voice of a text"),
    },
    "data": dict.fromkeys(("data", "mimeType", "displayName"), READ),
    "file": dict.fromkeys(("fileUri", "mimeType", "displayName"), READ),
    "resolution": {"level": READ, "numTokens": _NO_CONTROL},
    "call": {
        "id": READ,
        "name": READ,
        "args": CARRIED,
        "partialArgs": read_inside("argument"),
        "willContinue": READ,
    },
    "argument": {
        **dict.fromkeys(
            ("jsonPath", "stringValue", "numberValue", "boolValue", "nullValue"), READ
        ),
        "willContinue": ignore("gets each argument whole"),
    },
    "result": {
        "id": READ,
        "name": READ,
        "response": CARRIED,
        "parts": read_inside("result_part"),
        "willContinue": name_loss("accepts one result for each call"),
        "scheduling": name_loss("answers once all results are there"),
    },
    "result_part": _MEDIA,
    "tool": {
        "functionDeclarations": read_inside("function"),
        **dict.fromkeys(
            (
                "codeExecution", "computerUse", "enterpriseWebSearch", "exaAiSearch", "fileSearch",
                "googleMaps", "googleSearch", "googleSearchRetrieval", "mcpServers",
                "parallelAiSearch", "retrieval", "urlContext",
            ),
            _HOSTED_TOOL,
        ),
    },
    "function": {
        "name": READ,
        "description": READ,
        "parameters": CARRIED,
        "parametersJsonSchema": CARRIED,
        "response": name_loss("does not accept a schema of a result"),
        "responseJsonSchema": name_loss("does not accept a schema of a result"),
        "behavior": _NO_CONTROL,
    },
    "tool_config": {
        "functionCallingConfig": read_inside("calling"),
        "retrievalConfig": _NO_CONTROL,
        "includeServerSideToolInvocations": _NO_CONTROL,
    },
    "calling": {
        "mode": READ,
        "allowedFunctionNames": READ,
        "streamFunctionCallArguments": _NO_CONTROL,
    },
    "config": {
        **dict.fromkeys(
            (
                "maxOutputTokens", "stopSequences", "temperature", "topP", "topK",
                "presencePenalty", "frequencyPenalty", "seed", "candidateCount",
                "responseLogprobs", "logprobs", "responseModalities",
            ),
            READ,
        ),
        **_FORM,
        "thinkingConfig": read_inside("thinking"),
        "responseFormat": refuse("cannot express this value: correct it or leave it out"),
        "speechConfig": refuse("gives no audio"),
        "imageConfig": refuse("gives no images"),
        **dict.fromkeys(
            (
                "audioTimestamp", "audioTranscriptionConfig", "enableAffectiveDialog",
                "enableEnhancedCivicAnswers", "mediaResolution", "modelConfig",
                "modelSelectionConfig", "routingConfig", "translationConfig",
            ),
            _NO_CONTROL,
        ),
    },
    "thinking": dict.fromkeys(("includeThoughts", "thinkingBudget", "thinkingLevel"), READ),
}  # fmt: skip

COUNT_REQUEST: MemberList = {
    **REQUEST,
    "request": {**REQUEST["request"], "generateContentRequest": read_inside("request")},
}
"""Members of a countTokens request, which may hold a whole request."""

_NO_PLACE = name_loss("has no place for it in an answer")
_SOURCE_HAS_LESS = name_loss("gets the address and the title of a source")
_OF_PROVIDER = ignore("does not need details of the provider's work")
_SAFETY = ignore("learns from the finish reason what a filter withheld")
_OPAQUE_PARTS = (
    "executableCode", "codeExecutionResult", "toolCall", "toolResponse", "fileData",
    "functionResponse", "audioTranscription",
)  # fmt: skip
"""Parts that become Opaque events: no other dialect has them."""
_ANSWER = {
    **dict.fromkeys(("modelVersion", "responseId", "createTime"), READ),
    "candidates": read_inside("candidate"),
    "promptFeedback": read_inside("feedback"),
    "usageMetadata": read_inside("usage"),
    "modelStatus": _OF_PROVIDER,
}

ANSWER: MemberList = {
    "answer": _ANSWER,
    "event": _ANSWER,
    "candidate": {
        "index": READ,
        "finishReason": READ,
        "content": read_inside("content"),
        "citationMetadata": read_inside("citations"),
        "groundingMetadata": read_inside("grounding"),
        "logprobsResult": read_inside("logprobs"),
        "urlContextMetadata": _NO_PLACE,
        "continuationToken": _NO_PLACE,
        "finishMessage": ignore("learns from the finish reason why the answer ended"),
        "safetyRatings": _SAFETY,
        "avgLogprobs": ignore("gets the log probability of each token"),
        "tokenCount": ignore("gets it with the usage"),
    },
    "content": {
        "parts": read_inside("part", path="candidates.content"),
        "role": ignore("knows that the model answers"),
    },
    "part": {
        **dict.fromkeys(("text", "thought", "thoughtSignature", *_OPAQUE_PARTS), READ),
        "functionCall": read_inside("call"),
        "inlineData": read_inside("data"),
        **dict.fromkeys(
            (
                "mediaResolution", "mediaProcessing", "videoMetadata", "audioMetadata",
                "documentMetadata", "spreadsheetMetadata", "partMetadata", "speechMetadata",
            ),
            _NO_PLACE,
        ),
    },
    "call": {
        **dict.fromkeys(("id", "name", "willContinue"), READ),
        "args": CARRIED,
        "partialArgs": read_inside("argument"),
    },
    "argument": REQUEST["argument"],
    "data": {"data": READ, "mimeType": READ, "displayName": _NO_PLACE},
    "citations": dict.fromkeys(("citations", "citationSources"), read_inside("citation")),
    "citation": {
        **dict.fromkeys(("uri", "title", "startIndex", "endIndex"), READ),
        **dict.fromkeys(("license", "publicationDate"), _SOURCE_HAS_LESS),
    },
    "grounding": {
        "groundingChunks": read_inside("grounding_chunk"),
        "groundingSupports": read_inside("support"),
        **dict.fromkeys(
            (
                "webSearchQueries", "imageSearchQueries", "retrievalQueries", "searchEntryPoint",
                "retrievalMetadata", "googleMapsWidgetContextToken", "sourceFlaggingUris",
            ),
            _NO_PLACE,
        ),
    },
    "grounding_chunk": {
        "web": read_inside("web"),
        "image": read_inside("image"),
        "maps": read_inside("map"),
        "retrievedContext": read_inside("document"),
    },
    "web": {"uri": READ, "title": READ, "domain": _SOURCE_HAS_LESS},
    "image": {
        "sourceUri": READ,
        "title": READ,
        "imageUri": _SOURCE_HAS_LESS,
        "domain": _SOURCE_HAS_LESS,
    },
    "map": {
        "uri": READ,
        "title": READ,
        **dict.fromkeys(("placeId", "placeAnswerSources", "route", "text"), _SOURCE_HAS_LESS),
    },
    "document": {
        "uri": READ,
        "title": READ,
        **dict.fromkeys(
            (
                "documentName", "ragChunk", "text", "customMetadata", "fileSearchStore",
                "pageNumber", "mediaId",
            ),
            _SOURCE_HAS_LESS,
        ),
    },
    "support": {
        "segment": read_inside("segment"),
        "groundingChunkIndices": READ,
        "confidenceScores": _SOURCE_HAS_LESS,
        "renderedParts": ignore("gets the place in the text"),
    },
    "segment": {
        "startIndex": READ,
        "endIndex": READ,
        "partIndex": ignore("gets the place in the whole text"),
        "text": ignore("gets the place of this text"),
    },
    "logprobs": {
        "chosenCandidates": read_inside("token"),
        "topCandidates": read_inside("top_tokens"),
        "logProbabilitySum": ignore("gets the log probability of each token"),
    },
    "top_tokens": {"candidates": read_inside("token")},
    "token": {
        "token": READ,
        "logProbability": READ,
        "tokenId": ignore("gets the text of each token"),
    },
    "feedback": {
        "blockReason": READ,
        "blockReasonMessage": ignore("learns from the finish reason why the answer ended"),
        "safetyRatings": _SAFETY,
    },
    "usage": {
        **dict.fromkeys(
            (
                "promptTokenCount", "cachedContentTokenCount", "candidatesTokenCount",
                "thoughtsTokenCount", "toolUsePromptTokenCount", "totalTokenCount", "serviceTier",
                "trafficType",
            ),
            READ,
        ),
        **dict.fromkeys(
            (
                "promptTokensDetails", "promptTokenDetails", "candidatesTokensDetails",
                "toolUsePromptTokensDetails", "cacheTokensDetails",
            ),
            read_inside("modality"),
        ),
    },
    "modality": {"modality": READ, "tokenCount": READ},
}  # fmt: skip
"""Members of a whole answer, and of a chunk: each chunk of a stream is an answer."""
