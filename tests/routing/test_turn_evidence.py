"""Evidence against the last answer: failures, repeated questions, refusals, bad JSON."""

# ruff: noqa: RUF001 -- sentences of several languages and scripts

import time
from typing import Any

import pytest

from gateway.core import jsonio
from gateway.core.call import NO_OPTIONS, OPEN_KEY
from gateway.core.turn_evidence import EVIDENCE_NAMES
from gateway.dialects import DIALECTS, OPENAI_CHAT, TranslatableRequest
from gateway.evaluation.sample_call import read_body
from gateway.routing import features
from tests.dialects.test_history import CHAT, GEMINI, MESSAGES, RESPONSES

type Json = Any
REPEATED = "the same tool call failed {} times"
IN_A_ROW = "tools failed {} times in a row"
COMPLAINS, REPEATS = "the user says that the answer was bad", "the user asks again"
DECLINED = "the model declined to answer"
NO_JSON = "the last answer is not the JSON that was asked for"


def ask(text: str) -> Json:
    return {"role": "user", "content": text}


def say(text: str) -> Json:
    return {"role": "assistant", "content": text}


def step(*results: str, name: str = "run", arguments: str = '{"a": 1}') -> list[Json]:
    """Return the model's tool calls, and their results."""
    ids = [f"t{number}" for number in range(len(results))]
    function = {"name": name, "arguments": arguments}
    calls = [{"id": id, "type": "function", "function": function} for id in ids]
    gave = [
        {"role": "tool", "tool_call_id": id, "content": text}
        for id, text in zip(ids, results, strict=True)
    ]
    return [{"role": "assistant", "content": None, "tool_calls": calls}, *gave]


def list_evidence(*messages: Json, **more: Any) -> list[str]:
    """Return the evidence of a conversation, in the words of the trace."""
    raw = jsonio.dumps({"model": "auto", "messages": messages, **more})
    return list_body_evidence("openai-chat", raw)


def list_body_evidence(name: str, raw: bytes) -> list[str]:
    dialect = DIALECTS[name]
    body = read_body(dialect, raw, "auto")
    call = features.read(
        body.prompt, name, OPEN_KEY, NO_OPTIONS, TranslatableRequest(dialect, body)
    )
    assert {item.name for item in call.evidence} == call.evidence_names <= {*EVIDENCE_NAMES}
    return [item.reason for item in call.evidence]


START = ask("Fix the build, please.")
FAILS, WORKS = "Error: no such file", "done"


@pytest.mark.parametrize(
    ("loop", "expected"),
    [
        ([*step(FAILS)], []),
        ([*step(FAILS), *step(FAILS)], [REPEATED.format(2)]),
        ([*step(FAILS), *step(FAILS), *step(FAILS)], [REPEATED.format(3)]),
        ([*step(FAILS), *step(WORKS, name="edit"), *step(FAILS)], [REPEATED.format(2)]),
        ([*step(FAILS), *step(FAILS), *step(WORKS)], []),
        ([*step(WORKS), *step(FAILS)], []),
        ([*step(FAILS), *step(FAILS, arguments="{}")], []),
        ([*step(FAILS), *step(FAILS, name="b"), *step(FAILS, name="c")], [IN_A_ROW.format(3)]),
        ([*step(WORKS, FAILS), *step(FAILS, name="b"), *step(FAILS, name="c")], []),
        ([*step(FAILS, FAILS, FAILS)], []),
        ([*step(FAILS), say("I try it again."), *step(FAILS)], [REPEATED.format(2)]),
        ([*step(FAILS), *step(FAILS), ask("Stop."), say("I did."), ask("Go on.")], []),
        ([*step(FAILS), ask("Try again, please."), *step(FAILS)], []),
    ],
)
def test_a_tool_call_that_fails_again_is_evidence(loop: list[Json], expected: list[str]) -> None:
    assert list_evidence(START, *loop) == expected


def test_a_user_who_interrupts_a_failing_loop_does_not_hide_the_failures() -> None:
    assert list_evidence(START, *step(FAILS), *step(FAILS), ask("Well?")) == [REPEATED.format(2)]
    assert list_evidence(START, *step(FAILS), ask("Well?")) == []
    assert list_evidence(START, *step(FAILS), ask("That's wrong.")) == [COMPLAINS]


def test_a_reminder_that_the_client_adds_is_no_user_message() -> None:
    reminder = ask("<system-reminder>Mind your list.</system-reminder>")
    assert list_evidence(START, *step(FAILS), reminder, *step(FAILS), reminder) == [
        REPEATED.format(2)
    ]
    refusal = say("I'm sorry, but I can't help with that.")
    assert list_evidence(START, say("Yes."), ask("Go on."), refusal, reminder) == []


def test_long_arguments_are_compared_up_to_their_ends() -> None:
    first, second = f"{'a' * 9_000}b", f"{'a' * 9_000}c"
    assert list_evidence(START, *step(FAILS, arguments=first), *step(FAILS, arguments=first))
    assert not list_evidence(START, *step(FAILS, arguments=first), *step(FAILS, arguments=second))


@pytest.mark.parametrize(
    ("result", "fails"),
    [
        ("Traceback (most recent call last):\n  File", True),
        ("ModuleNotFoundError: No module named 'x'", True),
        ("fatal: not a git repository", True),
        ("<tool_use_error>File has not been read yet.</tool_use_error>", True),
        ('{"error": {"code": 404}}', True),
        ('{"success": false, "rows": []}', True),
        ("Failed to parse the file", True),
        ("Command timed out after 120 s", True),
        ("make: *** [all] Error 1\nexit code: 2", True),
        ('{"output": "no", "metadata": {"exit_code": 1}}', True),
        ("==== 2 failed, 40 passed in 1.2s ====", True),
        ("==== 0 failed, 40 passed in 1.2s ====", False),
        ('{"error": null, "rows": [1]}', False),
        ('{"output": "yes", "metadata": {"exit_code": 0}}', False),
        ("Exit code: 0", False),
        ("# Error handling\nThis page tells how to handle errors.", False),
        ("errors.py\nmain.py", False),
        ("", False),
    ],
)
def test_a_tool_result_counts_as_a_failure_by_its_text(result: str, fails: bool) -> None:
    assert bool(list_evidence(START, *step(result), *step(result))) is fails


def test_the_error_flag_of_the_client_comes_before_the_text() -> None:
    """A page about an error is a successful result if the client says so."""

    def shown(is_error: bool) -> list[str]:
        result = {"type": "tool_result", "tool_use_id": "t", "content": FAILS, "is_error": is_error}
        use = {"type": "tool_use", "id": "t", "name": "read", "input": {"path": "a"}}
        loop = [{"role": "assistant", "content": [use]}, {"role": "user", "content": [result]}]
        return list_body_evidence(
            "anthropic-messages", jsonio.dumps({**MESSAGES, "messages": [START, *loop, *loop]})
        )

    assert shown(is_error=True) == [REPEATED.format(2)]
    assert shown(is_error=False) == []


def test_every_dialect_shows_a_tool_call_that_fails_again() -> None:
    chat = {**CHAT, "messages": [*CHAT["messages"][1:4], *CHAT["messages"][2:4]]}
    messages = {**MESSAGES, "messages": [*MESSAGES["messages"][:3], *MESSAGES["messages"][1:3]]}
    responses = {**RESPONSES, "input": [*RESPONSES["input"][:4], *RESPONSES["input"][2:4]]}
    gemini = {**GEMINI, "contents": [*GEMINI["contents"][:3], *GEMINI["contents"][1:3]]}
    for name, body in zip(
        ("openai-chat", "anthropic-messages", "openai-responses", "gemini"),
        (chat, messages, responses, gemini),
        strict=True,
    ):
        assert list_body_evidence(name, jsonio.dumps(body)) == [REPEATED.format(2)], name


QUESTION = "How do I sort a list of words by their length?"


@pytest.mark.parametrize(
    ("earlier", "last", "is_repeat"),
    [
        (QUESTION, QUESTION, True),
        (QUESTION, "how do i sort a list of words by their length", True),
        (QUESTION, f"No, {QUESTION}", True),
        (QUESTION, "How do I sort a list of names by their length?", False),
        (QUESTION, f"{QUESTION} And then by their first letter, in one go?", False),
        ("Tell me a joke about cats.", "Tell me another joke about cats.", False),
        ("Tell me another joke about cats.", "Tell me another joke about cats.", False),
        ("Yes, do it.", "Yes, do it.", False),
        ("如何按长度对单词列表排序？", "如何按长度对单词列表排序", True),
        ("単語を長さで並べ替えるには？", "単語を長さで並べ替えるには", True),
        ("a " * 5_000, "a " * 5_000, True),
        ("a " * 5_000, "a " * 5_001, False),
    ],
)
def test_a_repeated_question_is_evidence(earlier: str, last: str, is_repeat: bool) -> None:
    """A question repeats word for word, or nearly so; another number or name makes it a new one."""
    expected = [REPEATS] if is_repeat else []
    assert list_evidence(ask(earlier), say("Like this."), ask(last)) == expected
    assert list_evidence(ask(earlier), say("So."), ask("Hm."), say("Well."), ask(last)) == expected


COMPLAINTS = [
    "That's wrong.", "It still fails with the same message", "No, that is not what I asked for",
    "That didn’t help.", "Das ist falsch!", "Es funktioniert immer noch nicht.",
    "Eso está mal, la fecha es otra", "Sigue sin funcionar", "C’est faux.",
    "Ça ne marche toujours pas", "Isso está errado", "Não funcionou", "Это неправильно.",
    "Не помогло", "هذا خطأ", "ما زال لا يعمل", "それは違います", "まだ動かない", "答案不对", "还是不行",
]  # fmt: skip
NO_COMPLAINTS = [
    "Thanks, that helped a lot!", "What is wrong with this sentence?", "Is it wrong to lie?",
    "Why does the test fail?", "Danke, das hat geholfen", "Was ist falsch an diesem Satz?",
    "¿Qué está mal en este código?", "Parfait, ça marche", "Perfeito, funcionou!",
    "Спасибо, помогло", "شكرا، هذا ممتاز", "これは何ですか", "那个不错，谢谢", "这个对吗",
]  # fmt: skip


@pytest.mark.parametrize("text", COMPLAINTS)
def test_a_complaint_of_the_user_is_evidence(text: str) -> None:
    assert list_evidence(START, say("Try this."), ask(text)) == [COMPLAINS]
    assert list_evidence(ask(text)) == []


@pytest.mark.parametrize("text", NO_COMPLAINTS)
def test_other_messages_of_the_user_are_no_evidence(text: str) -> None:
    assert list_evidence(START, say("Try this."), ask(text)) == []


def test_a_complaint_counts_only_at_the_start_of_a_text() -> None:
    assert list_evidence(START, say("Try this."), ask(f"{'Read on. ' * 50} That's wrong.")) == []


REFUSALS = [
    "I'm sorry, but I can’t help with that.", "I cannot assist with this request.",
    "Es tut mir leid, aber ich kann dabei nicht helfen.", "Lo siento, pero no puedo ayudarte con eso.",
    "Désolé, mais je ne peux pas vous aider.", "Desculpe, mas não posso ajudar com isso.",
    "Извините, но я не могу помочь с этим.", "عذرًا، لا أستطيع المساعدة في ذلك.",
    "申し訳ありませんが、そのご要望にはお応えできません。", "抱歉，我无法协助完成这个请求。",
]  # fmt: skip
ANSWERS = [
    "Sorry for the delay! Here it is.", "You cannot assign to a tuple.", "Das kann ich gut verstehen.",
    "No puedo más que felicitarte.", "申し訳ありません、修正しました。", "抱歉让你久等了。",
    f"I can't help with the last point, but here is the rest: {'text ' * 300}",
]  # fmt: skip


@pytest.mark.parametrize("text", REFUSALS)
def test_a_refusal_is_evidence(text: str) -> None:
    assert list_evidence(START, say(text), ask("Please.")) == [DECLINED]


@pytest.mark.parametrize("text", ANSWERS)
def test_an_answer_is_no_refusal(text: str) -> None:
    assert list_evidence(START, say(text), ask("Please.")) == []


def test_a_refusal_that_the_provider_marks_is_evidence() -> None:
    refusal = {"role": "assistant", "content": None, "refusal": "Nope."}
    assert list_evidence(START, refusal, ask("Please.")) == [DECLINED]


FORM: Json = {"response_format": CHAT["response_format"]}
MODE: Json = {"response_format": {"type": "json_object"}}


@pytest.mark.parametrize(
    ("answer", "last", "form", "expected"),
    [
        ('{"name": "Ada"}', "And who else?", FORM, []),
        ('{"name": 3}', "And who else?", FORM, [NO_JSON]),
        ('{"name": 3}', "And who else?", MODE, []),
        ('{"name": 3}', "And who else?", {}, []),
        ('{"name": "Ada"', "And who else?", MODE, [NO_JSON]),
        ('```json\n{"name": "Ada"}\n```', "And who else?", MODE, [NO_JSON]),
        ("Her name is Ada.", "And who else?", MODE, []),
        ("Her name is Ada.", "Give me valid JSON.", MODE, [NO_JSON]),
        ("", "Give me valid JSON.", MODE, []),
        (f'{{"name": "{"a" * 20_000}"', "And who else?", MODE, []),
    ],
)
def test_an_answer_that_is_not_the_requested_json_is_evidence(
    answer: str, last: str, form: Json, expected: list[str]
) -> None:
    """Plain words may answer a request that asked for no JSON.

    An empty or a long answer is no evidence either.
    """
    assert list_evidence(START, say(answer), ask(last), **form) == expected


def test_a_plain_answer_after_json_answers_is_evidence() -> None:
    talk = [START, say('{"name": "Ada"}'), ask("And?"), say("That is all."), ask("Who else?")]
    assert list_evidence(*talk, **MODE) == [NO_JSON]
    assert list_evidence(START, *step(WORKS), ask("Who else?"), **MODE) == []


def test_the_parts_of_one_answer_are_joined() -> None:
    parts = ['{"name": ', '"Ada"}']
    contents = [
        {"role": "user", "parts": [{"text": "Who is it?"}]},
        *({"role": "model", "parts": [{"text": part}]} for part in parts),
        {"role": "user", "parts": [{"text": "Who else?"}]},
    ]
    assert list_body_evidence("gemini", jsonio.dumps({**GEMINI, "contents": contents})) == []
    contents.pop(2)
    assert list_body_evidence("gemini", jsonio.dumps({**GEMINI, "contents": contents})) == [NO_JSON]


def test_all_evidence_against_an_answer_is_listed() -> None:
    refusal = say("I'm sorry, but I can't help with that.")
    assert list_evidence(START, refusal, ask("That's wrong. Give me JSON!"), **MODE) == [
        COMPLAINS,
        DECLINED,
        NO_JSON,
    ]


def test_side_calls_show_no_evidence() -> None:
    title = "Generate a concise title for this conversation: that's wrong, still fails"
    assert list_evidence(START, say("I'm sorry, but I can't help with that."), ask(title)) == []


def test_a_first_turn_shows_no_evidence() -> None:
    assert list_evidence(START, ask("That's wrong.")) == []
    assert not features.read(OPENAI_CHAT.read(b'{"model": "auto", "messages": []}').prompt, "openai-chat", OPEN_KEY, NO_OPTIONS).evidence  # fmt: skip


HUGE = 300_000


@pytest.mark.parametrize(
    "messages",
    [
        [START, say("a " * HUGE), ask("b " * HUGE), say("c " * HUGE), ask("b " * HUGE)],
        [START, *(step(FAILS * 9_000, arguments="a" * HUGE) * 20)],
        [START, *(step(*[FAILS] * 500, arguments="{}") * 20)],
        [ask("a"), say(jsonio.dumps([[{"a": 1}] * 30_000]).decode()), ask("still fails")],
        [START, say("i'm sorry, but " * HUGE), ask("that's that's " * HUGE)],
        [START, say("a"), {"role": "user", "content": [{"type": "text", "text": "<"}] * HUGE}],
    ],
    ids=["texts", "arguments", "calls", "json", "phrases", "parts"],
)
def test_the_gateway_reads_the_evidence_of_any_history_quickly(messages: list[Json]) -> None:
    """No history blocks the event loop for more than milliseconds (beside reading the body)."""
    raw = jsonio.dumps({"model": "auto", "messages": messages, **FORM})
    body = read_body(OPENAI_CHAT, raw, "auto")
    call = features.read(
        body.prompt, "openai-chat", OPEN_KEY, NO_OPTIONS, TranslatableRequest(OPENAI_CHAT, body)
    )
    assert call.turn.conversation
    began = time.perf_counter()
    assert isinstance(call.evidence, tuple)
    assert time.perf_counter() - began < 0.2


def test_deeply_nested_values_cause_no_error() -> None:
    """Arguments and a schema as deep as a body allows cause no error."""
    deep = f"{'[' * 1_000}{']' * 1_000}"
    calls = step(FAILS, arguments=deep)
    calls[0]["tool_calls"][0]["function"]["arguments"] = jsonio.loads(deep.encode())
    assert list_evidence(START, *calls, *calls) == [REPEATED.format(2)]
    schema = {"enum": [jsonio.loads(deep.encode())]}
    form = {"type": "json_schema", "json_schema": {"schema": schema}}
    assert list_evidence(START, say(deep), ask("And who else?"), response_format=form) == []
