"""LangChain: ChatOpenAI on Chat Completions and on Responses, and ChatAnthropic."""

from typing import Any

from asked import KEY, MODEL, SYSTEM, URL, WAY, parts, tell, weather
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

OPENAI = {
    "base_url": f"{URL}/v1",
    "api_key": KEY,
    "model": MODEL,
    "max_retries": 0,
    "stream_usage": True,
}
THINKS = {"thinking": {"type": "adaptive"}, "max_tokens": 5000}
SEALED = {"store": False, "include": ["reasoning.encrypted_content"], "use_responses_api": True}
MODELS: dict[str, Any] = {
    "chat": lambda: ChatOpenAI(**OPENAI, use_responses_api=False),
    "responses": lambda: ChatOpenAI(**OPENAI, **SEALED),
    "messages": lambda: ChatAnthropic(
        base_url=URL, api_key=KEY, model=MODEL, max_retries=0, **THINKS
    ),
}
model = MODELS[WAY]()


def ask(messages: list[Any], stream: bool, bound: Any = model) -> Any:
    if not stream:
        return bound.invoke(messages)
    whole: Any = None
    for chunk in bound.stream(messages):
        whole = chunk if whole is None else whole + chunk
    return whole


def text(prompt: str, stream: bool) -> object:
    answer = ask([SystemMessage(SYSTEM), HumanMessage(prompt)], stream)
    used = answer.usage_metadata
    return {"text": answer.text, "usage": [used["input_tokens"], used["output_tokens"]]}


def loop(prompt: str, stream: bool) -> str:
    bound = model.bind_tools([tool(weather)])
    messages: list[Any] = [SystemMessage(SYSTEM), HumanMessage(prompt)]
    while True:
        answer = ask(messages, stream, bound)
        messages.append(answer)
        if not answer.tool_calls:
            return str(answer.text)
        messages += [
            ToolMessage(weather(**it["args"]), tool_call_id=it["id"]) for it in answer.tool_calls
        ]


tell(**parts(text, loop))
