"""Requests to generateContent that together have every member of the list."""

from tests.dialects.request_strategies import PDF, PNG, SCHEMA, Object

_TEXT: Object = {"text": "hello"}
_IMAGE: Object = {"mimeType": "image/png", "data": PNG, "displayName": "a.png"}
_FILM: Object = {"mimeType": "video/mp4", "fileUri": "https://youtu.be/a", "displayName": "a"}
_MEDIA: Object = {
    "mediaResolution": {"level": "MEDIA_RESOLUTION_LOW", "numTokens": 70},
    "mediaProcessing": "MEDIA_PROCESSING_STATIC",
    "videoMetadata": {"fps": 2, "startOffset": "1s"},
    "audioMetadata": {"startOffset": "1s"},
    "documentMetadata": {"startPage": 2},
    "spreadsheetMetadata": {"sheetIndex": 2},
}
_OPENAPI: Object = {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}}


def ask(*contents: Object, **members: object) -> Object:
    """Return a request of these contents."""
    contents = contents or ({"role": "user", "parts": [_TEXT]},)
    return {"model": "auto", "contents": [*contents], **members}


def user(*parts: Object) -> Object:
    """Return a user's content of these parts."""
    return {"role": "user", "parts": [*parts]}


def model(*parts: Object) -> Object:
    """Return a model's content of these parts."""
    return {"role": "model", "parts": [*parts]}


def configure(**members: object) -> Object:
    """Return a request with these settings."""
    return ask(generationConfig=members)


def call(*pieces: Object) -> Object:
    """Return a request whose history has a call in these pieces."""
    return ask(user(_TEXT), model(*({"functionCall": piece} for piece in pieces)), user(_TEXT))


def use_twice(*results: Object) -> Object:
    """Return a request whose history has two calls, and these results."""
    return ask(
        user(_TEXT),
        model(
            {"functionCall": {"id": "1", "name": "find", "args": {"a": "b"}}},
            {"functionCall": {"id": "2", "name": "seek", "args": {"a": "c"}}},
        ),
        user(
            *(
                {"functionResponse": {**result, "response": {"output": str(at)}}}
                for at, result in enumerate(results)
            )
        ),
    )


REQUESTS: tuple[Object, ...] = (
    ask(
        user(_TEXT, {"inlineData": _IMAGE, "partMetadata": {"a": "b"}, **_MEDIA}),
        model(
            {"text": "hm", "thought": True, "thoughtSignature": "c2ln"},
            {"text": "well", "speechMetadata": {"speaker": "Ann"}},
            {"functionCall": {"id": "1", "name": "find", "args": {"a": "b"}}},
            {"functionCall": {"id": "2", "name": "seek", "args": {"a": "c"}}},
        ),
        user(
            {
                "functionResponse": {
                    "id": "2",
                    "name": "seek",
                    "response": {"output": "x"},
                    "parts": [
                        {"inlineData": _IMAGE, **_MEDIA},
                        {"fileData": {"mimeType": "application/pdf", "fileUri": "https://a.test/a"}},
                    ],
                    "willContinue": True,
                    "scheduling": "SILENT",
                },
            },
            {"functionResponse": {"id": "1", "name": "find", "response": {"error": "no"}}},
        ),
        systemInstruction={"role": "system", "parts": [_TEXT]},
        tools=[
            {
                "functionDeclarations": [
                    {
                        "name": "find",
                        "description": "Finds.",
                        "parameters": _OPENAPI,
                        "response": _OPENAPI,
                        "behavior": "NON_BLOCKING",
                    },
                    {
                        "name": "seek",
                        "parametersJsonSchema": SCHEMA,
                        "responseJsonSchema": SCHEMA,
                    },
                ]
            }
        ],
        toolConfig={
            "functionCallingConfig": {
                "mode": "ANY",
                "allowedFunctionNames": ["find", "seek"],
                "streamFunctionCallArguments": True,
            },
            "retrievalConfig": {"languageCode": "de"},
            "includeServerSideToolInvocations": True,
        },
        generationConfig={
            "maxOutputTokens": 4000,
            "stopSequences": ["END"],
            "temperature": 0.5,
            "topP": 0.5,
            "topK": 4,
            "presencePenalty": 0.5,
            "frequencyPenalty": 0.5,
            "seed": 7,
            "candidateCount": 2,
            "responseLogprobs": True,
            "logprobs": 2,
            "responseMimeType": "application/json",
            "responseSchema": _OPENAPI,
            "thinkingConfig": {"thinkingLevel": "LOW", "includeThoughts": True},
            "audioTimestamp": True,
            "audioTranscriptionConfig": {"wordTimestamp": True},
            "enableAffectiveDialog": True,
            "enableEnhancedCivicAnswers": True,
            "mediaResolution": "MEDIA_RESOLUTION_LOW",
            "modelConfig": {"featureSelectionPreference": "BALANCED"},
            "modelSelectionConfig": {"featureSelectionPreference": "BALANCED"},
            "routingConfig": {"manualMode": {"modelName": "m"}},
            "translationConfig": {"targetLanguageCode": "de"},
        },
        labels={"a": "b"},
        serviceTier="flex",
        safetySettings=[{"category": "HARM_CATEGORY_HATE_SPEECH", "threshold": "OFF"}],
        modelArmorConfig={"promptTemplateName": "a"},
        outputConfig={"outputUriPrefix": "gs://a"},
        store=True,
        stream=True,
    ),
    ask(cachedContent="cachedContents/a", continuationToken="a"),
    configure(responseMimeType="application/json"),
    configure(responseJsonSchema=SCHEMA),
    configure(responseModalities=["AUDIO"]),
    configure(speechConfig={"languageCode": "de"}),
    configure(imageConfig={"aspectRatio": "1:1"}),
    configure(responseFormat={"text": {"mimeType": "text/plain"}}),
    configure(thinkingConfig={"thinkingBudget": 2000, "includeThoughts": False}),
    ask(user({"fileData": _FILM, **_MEDIA})),
    ask(user({"fileData": {"mimeType": "image/png", "fileUri": "https://a.test/a"}})),
    ask(user(_TEXT), model({"text": "yes", "thoughtSignature": "c2ln"}), user(_TEXT)),
    use_twice({"id": "2", "name": "find"}, {"id": "1", "name": "find"}),
    use_twice({"name": "seek"}, {"name": "find"}),
    ask(user({"inlineData": {"mimeType": "application/pdf", "data": PDF}, **_MEDIA})),
    *(
        ask(tools=[{name: {"a": "b"}}])
        for name in (
            "codeExecution", "computerUse", "enterpriseWebSearch", "exaAiSearch", "fileSearch",
            "googleMaps", "googleSearch", "googleSearchRetrieval", "mcpServers",
            "parallelAiSearch", "retrieval", "urlContext",
        )
    ),
    ask(
        user(_TEXT),
        model(
            {"executableCode": {"id": "1", "language": "PYTHON", "code": "print(2)"}},
            {"codeExecutionResult": {"id": "1", "outcome": "OUTCOME_OK", "output": "2"}},
            {"toolCall": {"id": "2", "toolType": "GOOGLE_SEARCH_WEB", "args": {"queries": ["a"]}}},
            {"toolResponse": {"id": "2", "toolType": "GOOGLE_SEARCH_WEB", "response": {"a": "b"}}},
            {"audioTranscription": {"text": "hi"}},
        ),
        user(_TEXT),
    ),
    call(
        {"id": "1", "name": "find", "willContinue": True},
        {"partialArgs": [{"jsonPath": "$.a", "stringValue": "b"}], "willContinue": True},
        {
            "partialArgs": [
                {"jsonPath": "$.b", "numberValue": 2, "willContinue": True},
                {"jsonPath": "$.c", "boolValue": True},
                {"jsonPath": "$.d", "stringValue": "e", "nullValue": "NULL_VALUE"},
            ],
        },
    ),
    call(
        {
            "name": "find",
            "partialArgs": [
                {"jsonPath": "$.a", "stringValue": "b"},
                {"jsonPath": "$.a", "nullValue": "NULL_VALUE"},
            ],
        },
    ),
)  # fmt: skip
