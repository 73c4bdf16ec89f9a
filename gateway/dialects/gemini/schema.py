"""Every member of a generateContent request that is known, and what translation does with it.

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
_NO_PART_OF_MEDIA = name_loss("takes media whole, and as they are")
_TOLD_AS_TEXT = name_loss("has no part of this kind: its text takes its place")
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
        "partMetadata": name_loss("takes no metadata"),
        "speechMetadata": name_loss("takes no voice of a text"),
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
        "willContinue": name_loss("takes one result of a call"),
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
        "response": name_loss("takes no schema of a result"),
        "responseJsonSchema": name_loss("takes no schema of a result"),
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
        "responseFormat": refuse("cannot be told it as it is written here"),
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
