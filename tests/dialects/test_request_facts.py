"""Facts that only few rules need, in each dialect that has them; odd members give none."""

import pytest

from gateway.core import jsonio
from gateway.core.jsonio import Json
from gateway.dialects import ANTHROPIC_MESSAGES, GEMINI, OPENAI_CHAT, OPENAI_RESPONSES, Dialect
from gateway.dialects import gemini as gemini_dialects
from gateway.dialects.openai_chat import EMBEDDINGS
from gateway.dialects.request_facts import EMPTY_FACTS, RequestFacts
from gateway.dialects.translation import TranslatableRequest

LONG = "x" * 5_000
LABELS = {"team": "support", "run": "7"}
CHAT = {"model": "auto", "messages": [{"role": "user", "content": "hi"}]}
RESPONSES = {"model": "auto", "input": "hi"}
MESSAGES = {**CHAT, "max_tokens": 10}
CONTENTS = {"model": "auto", "contents": [{"parts": [{"text": "hi"}]}]}


def facts_of(dialect: Dialect, body: dict[str, Json]) -> RequestFacts:
    return TranslatableRequest(dialect, dialect.read(jsonio.dumps(body))).facts


FULL: list[tuple[Dialect, dict[str, Json], RequestFacts]] = [
    (
        OPENAI_CHAT,
        {
            "model": "auto",
            "messages": [
                {"role": "system", "content": LONG},
                {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
                {"role": "user", "content": "hi"},
                {"role": "system", "content": "A reminder within the conversation."},
            ],
            "metadata": {**LABELS, "odd": 1},
            "user": "ann",
            "temperature": 0.5,
        },
        RequestFacts(system=f"{LONG}\nBe brief.", user="ann", metadata=LABELS, temperature=0.5),
    ),
    (OPENAI_CHAT, {**CHAT, "user": "ann", "safety_identifier": "a-1"}, RequestFacts(user="a-1")),
    (
        OPENAI_RESPONSES,
        {
            "model": "auto",
            "instructions": LONG,
            "input": [
                {"role": "developer", "content": [{"type": "input_text", "text": "Be brief."}]},
                {"role": "user", "content": "hi"},
                {"role": "system", "content": "A reminder within the conversation."},
            ],
            "metadata": LABELS,
            "safety_identifier": "ann",
            "temperature": 1,
        },
        RequestFacts(system=f"{LONG}\nBe brief.", user="ann", metadata=LABELS, temperature=1),
    ),
    (OPENAI_RESPONSES, {**RESPONSES, "instructions": "Be brief."}, RequestFacts(system="Be brief.")),
    (
        ANTHROPIC_MESSAGES,
        {
            **MESSAGES,
            "system": [{"type": "text", "text": LONG}, {"type": "text", "text": "Be brief."}],
            "metadata": {"user_id": "ann"},
            "temperature": 0,
        },
        RequestFacts(
            system=f"{LONG}\nBe brief.", user="ann", metadata={"user_id": "ann"}, temperature=0
        ),
    ),
    (ANTHROPIC_MESSAGES, {**MESSAGES, "system": "Be brief."}, RequestFacts(system="Be brief.")),
    (
        GEMINI,
        {
            **CONTENTS,
            "system_instruction": {"parts": [{"text": LONG}, {"text": "Be brief."}]},
            "labels": LABELS,
            "generation_config": {"temperature": 0.2},
        },
        RequestFacts(system=f"{LONG}\nBe brief.", metadata=LABELS, temperature=0.2),
    ),
    (GEMINI, {**CONTENTS, "systemInstruction": "Be brief."}, RequestFacts(system="Be brief.")),
    (EMBEDDINGS, {"model": "m", "input": "hi", "user": "ann"}, RequestFacts(user="ann")),
    (gemini_dialects.EMBEDDINGS, {"model": "m", "content": {"parts": [{"text": "hi"}]}}, EMPTY_FACTS),
]  # fmt: skip


@pytest.mark.parametrize(("dialect", "body", "expected"), FULL)
def test_each_dialect_gives_the_facts_of_its_requests(
    dialect: Dialect, body: dict[str, Json], expected: RequestFacts
) -> None:
    assert facts_of(dialect, body) == expected


@pytest.mark.parametrize(
    ("dialect", "body"),
    [
        (OPENAI_CHAT, CHAT),
        (OPENAI_CHAT, {**CHAT, "metadata": None, "user": None, "temperature": None}),
        (OPENAI_RESPONSES, {**RESPONSES, "metadata": ["a"]}),
        (OPENAI_RESPONSES, RESPONSES),
        (ANTHROPIC_MESSAGES, {**MESSAGES, "metadata": {"user_id": None}}),
        (GEMINI, CONTENTS),
        (GEMINI, {**CONTENTS, "labels": "a", "generationConfig": {"temperature": True}}),
    ],
)
def test_malformed_or_missing_members_give_no_facts(
    dialect: Dialect, body: dict[str, Json]
) -> None:
    assert facts_of(dialect, body) == EMPTY_FACTS
