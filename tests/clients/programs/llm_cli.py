"""The program `llm` as a library: a model of extra-openai-models.yaml, and llm-anthropic."""

import os
from pathlib import Path
from typing import Any

from asked import KEY, MODEL, SYSTEM, URL, WAY, parts, tell, weather

home = Path.home() / "llm"
home.mkdir(exist_ok=True)
os.environ["LLM_USER_PATH"] = str(home)
entry = f"- model_id: abroad\n  model_name: {MODEL}\n  api_base: {URL}/v1\n  supports_tools: true\n"
(home / "extra-openai-models.yaml").write_text(entry)

import llm  # noqa: E402 - it reads its folder's place when it is imported


def model() -> Any:
    if WAY == "chat":
        llm_model = llm.get_model("abroad")
        llm_model.key = KEY
        return llm_model
    from llm_anthropic import ClaudeMessages  # noqa: PLC0415 - only needed this way

    return ClaudeMessages(MODEL, claude_model_id=MODEL, base_url=URL)


def text(prompt: str, stream: bool) -> object:
    answer = model().prompt(prompt, system=SYSTEM, stream=stream, key=KEY)
    words = answer.text()
    used = answer.usage()
    return {"text": words, "usage": [used.input, used.output]}


def loop(prompt: str, stream: bool) -> str:
    chain = model().chain(prompt, system=SYSTEM, stream=stream, tools=[weather], key=KEY)
    *_, last = chain.responses()
    return str(last.text())


tell(**parts(text, loop))
