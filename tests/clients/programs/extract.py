"""Instructor: an object of a class, by a tool, by a schema, and by JSON mode without a schema."""

import json
import sys

import instructor
from anthropic import Anthropic
from openai import OpenAI
from pydantic import BaseModel

URL, MODEL, WAY = sys.argv[1:4]


class Weather(BaseModel):
    """The weather of a city."""

    city: str
    days: int


def ask(prompt: str) -> Weather:
    messages = [{"role": "user", "content": prompt}]
    if WAY == "messages":
        anthropic = instructor.from_anthropic(
            Anthropic(base_url=URL, api_key="unused", max_retries=0)
        )
        return anthropic.messages.create(model=MODEL, max_tokens=500, messages=messages, response_model=Weather, max_retries=0)  # fmt: skip
    mode = {
        "tools": instructor.Mode.TOOLS,
        "json": instructor.Mode.JSON,
        "schema": instructor.Mode.JSON_SCHEMA,
    }[WAY]
    sdk = instructor.from_openai(
        OpenAI(base_url=f"{URL}/v1", api_key="unused", max_retries=0), mode=mode
    )
    return sdk.chat.completions.create(model=MODEL, messages=messages, response_model=Weather, max_retries=0)  # fmt: skip


print(json.dumps(ask(f"[{WAY}]").model_dump()))
