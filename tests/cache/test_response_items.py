"""Items that a request names by id: found in the key's own stored answers, and put in place."""

from typing import Any

import pytest

from gateway.cache.response_store import ResponseChain
from gateway.core import jsonio
from gateway.core.call import Key
from gateway.core.errors import ProblemError
from gateway.dialects import OPENAI_RESPONSES, RequestBody
from tests.cache.test_response_store import (
    CALL,
    MESSAGE,
    ONE,
    OPEN,
    SEALED,
    TWO,
    Shelf,
    answer,
    ask,
)

type Json = dict[str, Any]

TEXT = {
    "type": "message", "id": "msg_chatcmpl-7_0", "role": "assistant", "content": [{"type": "output_text", "text": "A"}],
}  # fmt: skip
USE = {"type": "function_call", "id": "fc_chatcmpl-7_1", "call_id": "c", "name": "f", "arguments": "{}"}  # fmt: skip
SECOND = {**TEXT, "id": "msg_gen-8_0"}
RESULT = {"type": "function_call_output", "call_id": "c", "output": "x"}


def ref(item: Json | str, **more: Any) -> Json:
    """Write a reference as the AI SDK does."""
    return {"type": "item_reference", "id": item if isinstance(item, str) else item["id"], **more}


def items(chain: ResponseChain) -> Any:
    return chain.body.value["input"]


def user(text: str) -> Json:
    return {"role": "user", "content": text}


async def store_translated_answer() -> Shelf:
    """Store an answer whose ids the gateway wrote."""
    shelf = Shelf()
    await shelf.keep(ask([user("hi")]), answer(TEXT, USE, id="resp_chatcmpl-7"))
    return shelf


async def store_native_answer(*, kept_by_provider: bool = True) -> Shelf:
    """Store an answer whose ids a provider wrote."""
    shelf = Shelf()
    await shelf.keep(ask([user("hi")]), answer(OPEN, MESSAGE, CALL, SEALED, id="resp_68"), kept_by_provider=kept_by_provider)  # fmt: skip
    return shelf


async def test_translated_items_need_no_entries_of_their_own() -> None:
    """Their ids name their answer; a provider's ids do not."""
    assert (await store_translated_answer()).memory.count == 1
    assert (await store_native_answer()).memory.count == 5


async def test_the_gateway_replaces_references_by_their_items() -> None:
    """The items keep their bytes wherever they are named, and nothing else changes."""
    shelf = Shelf()
    stored_answer = answer(TEXT, USE, id="resp_chatcmpl-7").replace(b'"A"', b'"A", "x": 1.50')
    await shelf.keep(ask([user("hi")]), stored_answer)
    body = ask([user("hi"), ref(TEXT), {"id": USE["id"]}, RESULT], tools=[], store=True)
    chain = await shelf.read(body)
    assert b'"x": 1.50' in chain.body.raw
    sent_items = items(chain)
    sent_items[1]["content"][0].pop("x")
    assert sent_items == [user("hi"), TEXT, USE, RESULT]
    assert chain.body.prompt.tool_loop
    assert chain.body.prompt.stored  # the response cache skips it
    assert (chain.native_body, chain.provider, chain.account) == (None, None, None)
    assert "store" in chain.body.members
    assert "store" not in chain.translatable_body.members
    assert chain.translatable_body.value["input"] == chain.body.value["input"]


async def test_the_last_answer_keeps_the_items_of_earlier_answers() -> None:
    """A conversation lasts even after the answer that first held an item is gone."""
    shelf = await store_translated_answer()
    chain = await shelf.read(ask([user("hi"), ref(TEXT), ref(USE), RESULT]))
    shelf.now = 50
    await shelf.keep(chain.body, answer(SECOND, id="resp_gen-8"))
    shelf.now = 70
    with pytest.raises(ProblemError, match="msg_chatcmpl-7_0"):
        await shelf.read(ask([ref(TEXT)]))
    body = ask([user("hi"), ref(TEXT), ref(USE), RESULT, ref(SECOND), user("so?")])
    assert items(await shelf.read(body)) == [user("hi"), TEXT, USE, RESULT, SECOND, user("so?")]


async def test_the_provider_that_keeps_the_items_gets_their_ids() -> None:
    """A provider with the items gets the client's body unchanged; others get items without ids."""
    shelf = await store_native_answer()
    body = ask([user("hi"), ref(OPEN), ref(MESSAGE), ref(CALL), ref(SEALED), RESULT])
    chain = await shelf.read(body)
    assert chain.native_body is body
    assert (chain.provider, chain.account) == ("here", "main")
    bare = [{name: item[name] for name in item if name != "id"} for item in (MESSAGE, CALL, SEALED)]
    assert items(chain) == [user("hi"), *bare, RESULT]


async def test_a_provider_that_keeps_nothing_gets_the_items_themselves() -> None:
    shelf = await store_native_answer(kept_by_provider=False)
    chain = await shelf.read(ask([ref(OPEN), ref(MESSAGE)]))
    assert items(chain) == [OPEN, MESSAGE]
    assert (chain.native_body, chain.provider) == (None, None)


async def test_the_last_of_several_providers_gets_ids_of_its_own_items_only() -> None:
    shelf = await store_native_answer()
    await shelf.keep(ask([]), answer(TEXT, USE, id="resp_chatcmpl-7"))
    own = ask([user("hi"), ref(MESSAGE), ref(TEXT), user("so?")], top_p=0.5)
    chain = await shelf.read(own)
    bare = {name: value for name, value in MESSAGE.items() if name != "id"}
    assert items(chain) == [user("hi"), bare, TEXT, user("so?")]
    assert chain.native_body is not None
    assert chain.native_body.value == {
        **own.value,
        "input": [user("hi"), ref(MESSAGE), TEXT, user("so?")],
    }
    other_answer = answer({**MESSAGE, "id": "msg_69"}, id="resp_69")
    await shelf.responses.save(ONE, ask([]), other_answer, "there", "spare", kept_by_provider=True)
    chain = await shelf.read(ask([ref(MESSAGE), ref("msg_69")]))
    assert (chain.provider, chain.account) == ("there", "spare")
    assert chain.native_body is not None
    assert chain.native_body.value["input"] == [bare, ref("msg_69")]


async def test_a_request_may_name_items_beside_a_previous_response_id() -> None:
    """The provider that has the answer serves the call, and gets the ids of its own items."""
    shelf = await store_native_answer()
    await shelf.keep(ask([]), answer(TEXT, USE, id="resp_chatcmpl-7"))
    chain = await shelf.read(ask([ref(TEXT), ref(CALL)], previous_response_id="resp_68"))
    assert chain.native_body is not None
    assert chain.native_body.value["input"] == [TEXT, ref(CALL)]
    assert chain.native_body.value["previous_response_id"] == "resp_68"
    assert "previous_response_id" not in chain.body.members
    assert [item.get("type") for item in items(chain)][-2:] == ["message", "function_call"]
    chain = await shelf.read(ask([ref(CALL)], previous_response_id="resp_chatcmpl-7"))
    assert (chain.native_body, chain.provider) == (None, None)
    assert [item.get("type") for item in items(chain)] == [
        "message",
        "function_call",
        "function_call",
    ]


async def test_a_request_may_name_items_beside_an_answer_of_a_conversation() -> None:
    shelf = await store_translated_answer()
    await shelf.keep(
        ask("hi", conversation="conv_1"), answer(MESSAGE, id="resp_68"), kept_by_provider=True
    )
    body = ask([ref(MESSAGE), ref(TEXT)], previous_response_id="resp_68")
    chain = await shelf.read(body)
    assert chain.body.value == {**body.value, "input": [ref(MESSAGE), TEXT]}
    assert chain.translatable_body is chain.body
    assert (chain.native_body, chain.provider) == (None, "here")


async def refused(shelf: Shelf, body: RequestBody, key: Key = ONE) -> str:
    """Return the message of a 400 in the shape of Responses."""
    with pytest.raises(ProblemError) as raised:
        await shelf.read(body, key)
    assert raised.value.problem.http_status == 400
    error = jsonio.loads(OPENAI_RESPONSES.write_problem(raised.value.problem))["error"]
    assert error["type"] == "invalid_request_error"
    assert error["param"].startswith("input")
    return str(error["message"])


@pytest.mark.parametrize("item", [TEXT, USE, MESSAGE, CALL, SEALED, OPEN], ids=lambda it: it["id"])
async def test_no_key_finds_an_item_of_another_key(item: Json) -> None:
    """Keys of the same name in another tenant do not find it either; they see no sign of it."""
    shelf = await store_native_answer()
    await shelf.keep(ask([user("hi")]), answer(TEXT, USE, id="resp_chatcmpl-7"))
    await shelf.read(ask([ref(item)]))
    for key in (TWO, Key(name="one", tenant="other"), Key(name="")):
        message = await refused(shelf, ask([ref(item)]), key)
        assert message == (await refused(shelf, ask([ref("none")]), key)).replace(
            "none", item["id"]
        )


async def test_the_error_of_a_missing_item_names_it_and_what_to_do() -> None:
    shelf = await store_native_answer()
    assert await refused(shelf, ask([ref(MESSAGE), ref("msg_none")])) == (
        "Item with id 'msg_none' not found: the gateway did not store it, or no longer keeps it. "
        "Send the item itself in its place, and set store to false to continue without stored items."
    )
    shelf.now = 60
    assert "'msg_1' not found" in await refused(shelf, ask([ref(MESSAGE)]))


@pytest.mark.parametrize("id", ["msg_chatcmpl-7_2", "fc_chatcmpl-7_0", "msg_chatcmpl-7_", "x"])
async def test_an_id_that_only_looks_like_an_answers_finds_nothing(id: str) -> None:
    assert id in await refused(await store_translated_answer(), ask([ref(TEXT), ref(id)]))


async def test_items_of_a_deleted_answer_are_not_found() -> None:
    shelf = await store_native_answer()
    await shelf.keep(ask([]), answer(TEXT, USE, id="resp_chatcmpl-7"))
    await shelf.read(ask([ref(TEXT), ref(CALL)]))
    for id, item in (("resp_68", CALL), ("resp_chatcmpl-7", TEXT)):
        await shelf.responses.delete(ONE, id)
        assert str(item["id"]) in await refused(shelf, ask([ref(item)]))


async def test_a_request_may_name_an_item_only_once() -> None:
    """A short request with many references must not become a huge one."""
    shelf = await store_translated_answer()
    message = await refused(shelf, ask([ref(TEXT), ref(USE), ref(TEXT)]))
    assert message == "Item with id 'msg_chatcmpl-7_0' is named twice: name it once."


async def test_a_request_reads_a_bounded_number_of_answers() -> None:
    """Each answer may hold a whole conversation."""
    shelf = await store_translated_answer()
    many = [ref(f"msg_none-{at}_0") for at in range(100)]
    reads: list[str] = []
    real_get = shelf.memory.get

    async def get(key: str) -> bytes | None:
        reads.append(key)
        return await real_get(key)

    shelf.memory.get = get  # type: ignore[method-assign]  # counted
    await refused(shelf, ask(many))
    assert len(reads) == 65


async def test_an_item_id_must_be_text() -> None:
    assert '"input[1].id"' in await refused(Shelf(), ask([user("hi"), {"type": "item_reference", "id": 3}]))  # fmt: skip
    assert '"input[0].id"' in await refused(Shelf(), ask([{"type": "item_reference"}]))


@pytest.mark.parametrize("output", [None, 3, "x", [3, {"id": 4}]])
async def test_an_answer_of_another_shape_is_stored_without_items(output: Any) -> None:
    """The gateway stores the answer all the same."""
    shelf = Shelf()
    response = jsonio.dumps({"id": "resp_1", "status": "completed", "output": output})
    await shelf.keep(ask("hi"), response)
    assert shelf.memory.count == 1
    assert await shelf.responses.find(ONE, "resp_1") == response
