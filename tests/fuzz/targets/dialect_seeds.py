"""Requests, answers and streams from which the search in the dialects begins."""

from tests.dialects.bedrock_converse import frames

REQUESTS: dict[str, tuple[bytes, ...]] = {
    "openai-chat": (
        b'{"model":"m","messages":[{"role":"system","content":"s"},{"role":"user","content":[{"type":"text","text":"hi"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AA=="}}]}],"max_tokens":9,"stream":true}',
        b'{"model":"m","messages":[{"role":"user","content":"hi"},{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{\\"a\\":1}"}}]},{"role":"tool","tool_call_id":"c1","content":"ok"}],"tools":[{"type":"function","function":{"name":"f","description":"d","parameters":{"type":"object"}}}],"tool_choice":"auto","parallel_tool_calls":false,"reasoning_effort":"low"}',
        b'{"model":"m","n":2,"stop":["x"],"temperature":0.5,"seed":1,"user":"u","response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{}}},"stream_options":{"include_usage":true},"messages":[]}',
    ),
    "openai-responses": (
        b'{"model":"m","input":"hi","instructions":"s","max_output_tokens":9,"stream":true,"store":false}',
        b'{"model":"m","input":[{"role":"user","content":[{"type":"input_text","text":"hi"},{"type":"input_image","image_url":"https://a.test/b"}]},{"type":"function_call","call_id":"c1","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"c1","output":"ok"},{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"x"}],"tools":[{"type":"function","name":"f","parameters":{},"strict":true},{"type":"web_search"}],"reasoning":{"effort":"high"},"text":{"format":{"type":"json_object"}}}',
        b'{"model":"m","previous_response_id":"resp_1","include":["reasoning.encrypted_content"],"background":true,"input":[]}',
    ),
    "anthropic-messages": (
        b'{"model":"m","max_tokens":9,"system":"s","messages":[{"role":"user","content":[{"type":"text","text":"hi","cache_control":{"type":"ephemeral"}},{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AA=="}}]}],"stream":true}',
        b'{"model":"m","max_tokens":9000,"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":[{"type":"thinking","thinking":"t","signature":"s"},{"type":"tool_use","id":"t1","name":"f","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":"ok","is_error":false}]}],"tools":[{"name":"f","input_schema":{"type":"object"}}],"tool_choice":{"type":"any"},"thinking":{"type":"enabled","budget_tokens":1024}}',
        b'{"model":"m","max_tokens":9,"metadata":{"user_id":"u"},"stop_sequences":["x"],"top_k":3,"service_tier":"auto","messages":[]}',
    ),
    "gemini": (
        b'{"contents":[{"role":"user","parts":[{"text":"hi"},{"inlineData":{"mimeType":"image/png","data":"AA=="}}]}],"systemInstruction":{"parts":[{"text":"s"}]},"generationConfig":{"maxOutputTokens":9,"temperature":0.5,"stopSequences":["x"],"thinkingConfig":{"thinkingBudget":0}}}',
        b'{"contents":[{"role":"model","parts":[{"functionCall":{"name":"f","args":{}},"thoughtSignature":"AA=="}]},{"role":"user","parts":[{"functionResponse":{"name":"f","response":{"a":1}}}]}],"tools":[{"functionDeclarations":[{"name":"f","parameters":{"type":"OBJECT"}}]},{"googleSearch":{}}],"toolConfig":{"functionCallingConfig":{"mode":"ANY","allowedFunctionNames":["f"]}}}',
        b'{"contents":[],"cachedContent":"cachedContents/a","safetySettings":[{"category":"c","threshold":"t"}],"generation_config":{"response_mime_type":"application/json","candidate_count":2}}',
    ),
}  # fmt: skip

OPERATION_REQUESTS: dict[tuple[str, str], tuple[bytes, ...]] = {
    ("openai-chat", "embeddings"): (
        b'{"model":"m","input":["a","b"],"dimensions":8,"encoding_format":"float","user":"u"}',
        b'{"model":"m","input":[[1,2],[3]]}',
    ),
    ("gemini", "embeddings"): (
        b'{"content":{"parts":[{"text":"a"}]},"taskType":"RETRIEVAL_QUERY","outputDimensionality":8}',
        b'{"requests":[{"model":"models/m","content":{"parts":[{"text":"a"}]}}]}',
    ),
}

ANSWERS: dict[str, tuple[bytes, ...]] = {
    "openai-chat": (
        b'{"id":"c1","object":"chat.completion","created":1,"model":"m-1","choices":[{"index":0,"message":{"role":"assistant","content":"hi","refusal":null},"finish_reason":"stop","logprobs":null}],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5,"prompt_tokens_details":{"cached_tokens":1}},"service_tier":"flex"}',
        b'{"choices":[{"message":{"reasoning_content":"t","tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"}}],"annotations":[{"type":"url_citation","url_citation":{"url":"u","title":"t"}}]},"finish_reason":"tool_calls"}]}',
        b'{"error":{"message":"no","type":"server_error","code":500}}',
    ),
    "openai-responses": (
        b'{"id":"resp_1","object":"response","created_at":1,"status":"completed","model":"m-1","output":[{"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"t"}]},{"type":"message","id":"msg_1","role":"assistant","status":"completed","content":[{"type":"output_text","text":"hi","annotations":[]}]}],"usage":{"input_tokens":3,"output_tokens":2,"total_tokens":5,"input_tokens_details":{"cached_tokens":1},"output_tokens_details":{"reasoning_tokens":1}}}',
        b'{"id":"r","status":"incomplete","incomplete_details":{"reason":"max_output_tokens"},"output":[{"type":"function_call","id":"fc_1","call_id":"c1","name":"f","arguments":"{}","status":"completed"},{"type":"web_search_call","id":"ws_1","status":"completed","action":{"type":"search","query":"q"}}]}',
        b'{"status":"failed","error":{"code":"server_error","message":"no"}}',
    ),
    "anthropic-messages": (
        b'{"id":"msg_1","type":"message","role":"assistant","model":"m-1","content":[{"type":"thinking","thinking":"t","signature":"s"},{"type":"text","text":"hi"}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":3,"output_tokens":2,"cache_read_input_tokens":1,"cache_creation_input_tokens":0,"service_tier":"standard"}}',
        b'{"type":"message","role":"assistant","content":[{"type":"tool_use","id":"t1","name":"f","input":{"a":1}},{"type":"redacted_thinking","data":"x"}],"stop_reason":"tool_use","usage":{"input_tokens":3,"output_tokens":2}}',
        b'{"type":"error","error":{"type":"overloaded_error","message":"no"}}',
    ),
    "gemini": (
        b'{"candidates":[{"content":{"role":"model","parts":[{"text":"t","thought":true},{"text":"hi"}]},"finishReason":"STOP","index":0}],"usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":2,"thoughtsTokenCount":1,"totalTokenCount":6,"cachedContentTokenCount":1},"modelVersion":"m-1","responseId":"r1"}',
        b'{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":{"a":1}},"thoughtSignature":"AA=="},{"inlineData":{"mimeType":"image/png","data":"AA=="}}]},"finishReason":"MAX_TOKENS","groundingMetadata":{}}]}',
        b'{"promptFeedback":{"blockReason":"SAFETY"},"usageMetadata":{"promptTokenCount":3}}',
    ),
    "bedrock-converse": (
        b'{"output":{"message":{"role":"assistant","content":[{"reasoningContent":{"reasoningText":{"text":"t","signature":"s"}}},{"text":"hi"},{"toolUse":{"toolUseId":"t1","name":"f","input":{}}}]}},"stopReason":"end_turn","usage":{"inputTokens":3,"outputTokens":2,"totalTokens":5}}',
        b'{"message":"no","__type":"ThrottlingException"}',
    ),
}  # fmt: skip

_USAGE_EVENT = frames.write_event("metadata", {"usage": frames.USAGE, "metrics": {"latencyMs": 1}})

STREAMS: dict[str, tuple[bytes, ...]] = {
    "openai-chat": (
        b'data: {"id":"c1","model":"m-1","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\ndata: {"choices":[{"index":0,"delta":{"content":"hi"}}]}\n\ndata: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}\n\ndata: [DONE]\n\n',
        b': ping\n\ndata: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"c","type":"function","function":{"name":"f","arguments":"{"}}]}}]}\r\n\r\ndata: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"}"}}]},"finish_reason":"tool_calls"}]}\r\n\r\ndata: [DONE]\r\n\r\n',
        b'data: {"choices":[{"delta":{"reasoning_content":"t"}}]}\n\ndata: {"error":{"message":"no","code":500}}\n\n',
    ),
    "openai-responses": (
        b'event: response.created\ndata: {"type":"response.created","response":{"id":"resp_1","model":"m-1","status":"in_progress","output":[]}}\n\nevent: response.output_item.added\ndata: {"type":"response.output_item.added","output_index":0,"item":{"type":"message","id":"msg_1","role":"assistant","content":[]}}\n\nevent: response.output_text.delta\ndata: {"type":"response.output_text.delta","item_id":"msg_1","output_index":0,"content_index":0,"delta":"hi"}\n\nevent: response.completed\ndata: {"type":"response.completed","response":{"id":"resp_1","model":"m-1","status":"completed","output":[{"type":"message","id":"msg_1","role":"assistant","content":[{"type":"output_text","text":"hi"}]}],"usage":{"input_tokens":3,"output_tokens":2}}}\n\n',
        b'data: {"type":"response.output_item.added","output_index":0,"item":{"type":"function_call","id":"fc","call_id":"c","name":"f","arguments":""}}\n\ndata: {"type":"response.function_call_arguments.delta","output_index":0,"delta":"{}"}\n\ndata: {"type":"response.reasoning_summary_text.delta","output_index":1,"delta":"t"}\n\ndata: {"type":"response.failed","response":{"error":{"code":"server_error","message":"no"}}}\n\n',
    ),
    "anthropic-messages": (
        b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"m-1","content":[],"usage":{"input_tokens":3,"output_tokens":1}}}\n\nevent: content_block_start\ndata: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}\n\nevent: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"hi"}}\n\nevent: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\nevent: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":2}}\n\nevent: message_stop\ndata: {"type":"message_stop"}\n\n',
        b'event: content_block_start\ndata: {"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":"t","name":"f","input":{}}}\n\nevent: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"{}"}}\n\nevent: ping\ndata: {"type":"ping"}\n\nevent: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"no"}}\n\n',
    ),
    "gemini": (
        b'data: {"candidates":[{"content":{"parts":[{"text":"hi"}],"role":"model"},"index":0}],"usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":1},"modelVersion":"m-1","responseId":"r"}\r\n\r\ndata: {"candidates":[{"content":{"parts":[{"text":"!"}]},"finishReason":"STOP","index":0}],"usageMetadata":{"promptTokenCount":3,"candidatesTokenCount":2}}\r\n\r\n',
        b'data: {"candidates":[{"content":{"parts":[{"text":"t","thought":true},{"functionCall":{"name":"f","args":{}}}]}}]}\n\ndata: {"promptFeedback":{"blockReason":"SAFETY"}}\n\ndata: {"error":{"code":503,"message":"no","status":"UNAVAILABLE"}}\n\n',
    ),
    "bedrock-converse": (
        frames.start() + frames.text("hi") + frames.write_event("messageStop", {"stopReason": "end_turn"}) + _USAGE_EVENT,
        frames.call("f", "{", "}") + frames.write_exception("throttlingException", "no"),
    ),
}  # fmt: skip
