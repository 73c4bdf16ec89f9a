"""Stored answers of the Responses API, and requests that continue from them."""

from typing import Any

import pytest

from gateway.cache.response_store import ResponseChain, SavedResponses, StreamTape, should_store
from gateway.core import jsonio
from gateway.core.call import Key
from gateway.core.errors import ProblemError
from gateway.dialects import OPENAI_RESPONSES, RequestBody
from gateway.state.memory import MemoryStore

type Json = dict[str, Any]

ONE, TWO = Key(name="one"), Key(name="two")
MESSAGE = {"type": "message", "id": "msg_1", "role": "assistant", "content": [{"type": "output_text", "text": "Yes."}]}  # fmt: skip
CALL = {"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": "{}"}
OPEN = {"type": "reasoning", "id": "rs_1", "summary": []}
SEARCH = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
SEALED = {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": "s"}


def ask(input_value: Any, **more: Any) -> RequestBody:
    return OPENAI_RESPONSES.read(jsonio.dumps({"model": "m", "input": input_value, **more}))


def answer(*output: Json, id: str = "r1", **more: Any) -> bytes:
    value = {"id": id, "object": "response", "status": "completed", "output": output, **more}
    return jsonio.dumps(value)


class Shelf:
    def __init__(self) -> None:
        self.now = 0.0
        self.memory = MemoryStore(20_000_000, clock=lambda: self.now)
        self.responses = SavedResponses(self.memory, secret=b"s" * 32, ttl=60.0)

    async def keep(
        self, body: RequestBody, response: bytes, *, kept_by_provider: bool = False
    ) -> None:
        await self.responses.save(
            ONE, body, response, "here", "main", kept_by_provider=kept_by_provider
        )

    async def read(self, body: RequestBody, key: Key = ONE) -> ResponseChain:
        return await self.responses.read(key, body, passes_foreign=False)


def items(chain: ResponseChain) -> Any:
    return chain.body.value["input"]


async def test_a_request_without_references_stays_as_it_is() -> None:
    body = ask("hi")
    assert await Shelf().read(body) == ResponseChain(body=body, translatable_body=body)


async def test_a_continued_request_gets_all_earlier_items() -> None:
    """Text becomes an item, items keep their bytes, the id is removed, and nothing else changes."""
    shelf = Shelf()
    response = answer(MESSAGE, CALL, OPEN).replace(b'"Yes."', b'"Yes.", "x": 1.50')
    await shelf.keep(ask("hi"), response)
    result = {"type": "function_call_output", "call_id": "c", "output": "x"}
    body = ask([result], previous_response_id="r1", temperature=1.5, tools=[])
    chain = await shelf.read(body)
    message = {**MESSAGE, "content": [{"type": "output_text", "text": "Yes.", "x": 1.5}]}
    assert items(chain) == [{"role": "user", "content": "hi"}, message, CALL, OPEN, result]
    assert b'"x": 1.50' in chain.body.raw
    assert chain.body.members.keys() == {"model", "input", "temperature", "tools"}
    assert chain.body.prompt.tool_loop
    assert chain.body.prompt.stored  # the response cache skips it
    assert (chain.native_body, chain.provider, chain.account) == (None, None, None)
    assert chain.translatable_body is chain.body


async def test_another_provider_can_continue_an_answer_that_a_provider_keeps() -> None:
    """Other providers get no items that only the first understands.

    That provider gets the id as the client wrote it.
    """
    shelf = Shelf()
    await shelf.keep(ask([{"role": "user", "content": "hi"}]), answer(MESSAGE, CALL, OPEN, SEALED, SEARCH), kept_by_provider=True)  # fmt: skip
    body = ask("so?", previous_response_id="r1")
    chain = await shelf.read(body)
    assert [item.get("id") for item in items(chain)] == [*[None] * 4, "ws_1", None]
    assert [item.get("type") for item in items(chain)] == [None, "message", "function_call", "reasoning", "web_search_call", None]  # fmt: skip
    assert chain.native_body is body
    assert (chain.provider, chain.account) == ("here", "main")


@pytest.mark.parametrize(
    "body",
    [
        ask("hi", conversation="conv_1"),
        ask("hi", prompt={"id": "p"}),
        ask([{"type": "item_reference", "id": "msg_0"}]),
        ask("hi", previous_response_id="r0"),
    ],
)
async def test_a_request_whose_context_only_the_provider_has_stays_there(body: RequestBody) -> None:
    """The request stays as it is, and names the provider that has the answer."""
    shelf = Shelf()
    await shelf.keep(body, answer(MESSAGE), kept_by_provider=True)
    request = ask("so?", previous_response_id="r1")
    assert await shelf.read(request) == ResponseChain(
        body=request, translatable_body=request, provider="here", account="main"
    )


async def test_a_continued_request_may_have_no_input() -> None:
    shelf = Shelf()
    await shelf.keep(ask("hi"), answer(MESSAGE))
    body = OPENAI_RESPONSES.read(b'{"model": "m", "previous_response_id": "r1"}')
    assert items(await shelf.read(body)) == [{"role": "user", "content": "hi"}, MESSAGE]


async def test_a_translated_request_does_not_carry_store() -> None:
    """In native requests the member stays."""
    body = ask("hi", store=True)
    chain = await Shelf().read(body)
    assert chain.body is body
    assert "store" not in chain.translatable_body.value
    assert jsonio.loads(chain.translatable_body.raw) == chain.translatable_body.value


@pytest.mark.parametrize(
    "response",
    [
        answer(MESSAGE, status="in_progress"),
        answer(MESSAGE, status="failed"),
        answer(MESSAGE, id=3),  # type: ignore[arg-type]  # what a broken host may send
        b"[]",
        b"{",
    ],
)
async def test_an_unfinished_or_invalid_answer_is_not_stored(response: bytes) -> None:
    shelf = Shelf()
    await shelf.keep(ask("hi"), response)
    assert shelf.memory.count == 0


async def test_an_answer_without_output_adds_no_items() -> None:
    shelf = Shelf()
    await shelf.keep(ask("hi"), b'{"id": "r1", "status": "incomplete"}')
    chain = await shelf.read(ask("so?", previous_response_id="r1"))
    assert [item["content"] for item in items(chain)] == ["hi", "so?"]
    assert await shelf.responses.find(ONE, "r1") == b'{"id": "r1", "status": "incomplete"}'


async def code(shelf: Shelf, body: RequestBody, key: Key = ONE) -> tuple[int, str]:
    with pytest.raises(ProblemError) as raised:
        await shelf.read(body, key)
    problem = raised.value.problem
    return problem.http_status, jsonio.loads(OPENAI_RESPONSES.write_problem(problem))["error"][
        "code"
    ]


async def test_only_the_key_of_an_answer_may_continue_it_until_it_expires() -> None:
    """Only the key that got the answer may continue, while the answer is stored."""
    shelf = Shelf()
    await shelf.keep(ask("hi"), answer(MESSAGE))
    body = ask("so?", previous_response_id="r1")
    not_found = (404, "previous_response_not_found")
    assert await code(shelf, body, TWO) == not_found
    assert await code(shelf, body, Key(name="one", tenant="other")) == not_found
    shelf.now = 59
    await shelf.read(body)
    shelf.now = 60
    assert await code(shelf, body) == not_found
    assert await code(shelf, ask("so?", previous_response_id=3)) == (400, "invalid_request")


async def test_an_unknown_answer_id_may_pass_to_the_provider() -> None:
    """A deleted answer stays deleted, and a stored one comes from the store."""
    shelf = Shelf()
    foreign = ask("so?", previous_response_id="r9")
    passing = await shelf.responses.read(ONE, foreign, passes_foreign=True)
    assert passing == ResponseChain(body=foreign, translatable_body=foreign)
    assert passing.body.prompt.continuation_member == "previous_response_id"
    await shelf.keep(ask("hi"), answer(MESSAGE))
    body = ask("so?", previous_response_id="r1")
    stored = await shelf.responses.read(ONE, body, passes_foreign=True)
    assert stored.body.prompt.continuation_member == ""
    await shelf.responses.delete(ONE, "r1")
    with pytest.raises(ProblemError) as caught:
        await shelf.responses.read(ONE, body, passes_foreign=True)
    assert caught.value.problem.detail == ""  # no setting lets it pass


async def test_a_deleted_answer_is_not_found_but_its_continuation_is() -> None:
    shelf = Shelf()
    await shelf.keep(ask("hi"), answer(MESSAGE))
    chain = await shelf.read(ask("so?", previous_response_id="r1"))
    await shelf.keep(chain.body, answer(MESSAGE, id="r2"))
    deletion = await shelf.responses.delete(ONE, "r1")
    assert jsonio.loads(deletion) == {"id": "r1", "object": "response", "deleted": True}
    assert await code(shelf, ask("?", previous_response_id="r1")) == (404, "previous_response_not_found")  # fmt: skip
    with pytest.raises(ProblemError, match="r1"):
        await shelf.responses.find(ONE, "r1")
    with pytest.raises(ProblemError, match="r1"):
        await shelf.responses.delete(ONE, "r1")
    assert len(items(await shelf.read(ask("?", previous_response_id="r2")))) == 5


async def test_a_sealed_value_of_another_shape_is_not_found() -> None:
    shelf = Shelf()
    sealed, name = shelf.responses._answers, shelf.responses._make_name(ONE, "r1")
    for data in (b"\x01", b"\x01\x80", b"\x02x"):
        await sealed.put(name, data, 60.0)
        with pytest.raises(ProblemError):
            await shelf.responses.find(ONE, "r1")


@pytest.mark.parametrize(
    ("more", "is_stored"),
    [({}, True), ({"store": True}, True), ({"store": None}, True), ({"store": False}, False), ({"background": True}, False)],
)  # fmt: skip
def test_store_and_background_decide_if_an_answer_is_stored(more: Json, is_stored: bool) -> None:
    """All answers are stored, as the API does, except with `store: false` or `background`."""
    assert should_store(ask("hi", **more)) is is_stored


def event(kind: str, **more: Any) -> bytes:
    return f"event: {kind}\ndata: ".encode() + jsonio.dumps({"type": kind, **more}) + b"\n\n"


def test_a_stream_tape_returns_the_answer_at_the_end() -> None:
    """The terminal event has the answer, or the items do if that is empty (Codex's provider)."""
    whole = jsonio.loads(answer(MESSAGE))
    text = event("response.output_text.delta", delta='"type":"response.completed"')
    done = event("response.output_item.done", output_index=0, item=MESSAGE)
    for last_response in (whole, {**whole, "output": []}):
        tape = StreamTape()
        begun = {**whole, "model": "m-1", "output": []}  # some hosts do not repeat it
        assert tape.add(event("response.created", response=begun)) is None
        assert tape.add(text) is None
        assert tape.add(text + done) is None
        recorded = tape.add(event("response.completed", response=last_response))
        assert recorded is not None
        assert jsonio.loads(recorded) == {**whole, "model": "m-1"}


@pytest.mark.parametrize(
    "frame",
    [
        b'data: {"type":"response.incomplete"\n\n',
        b'data: ["type":"response.completed"]\n\n',
        event("response.output_item.done") + event("response.completed"),
    ],
)
def test_a_stream_tape_of_an_invalid_stream_returns_none(frame: bytes) -> None:
    assert StreamTape().add(frame) is None
