"""Play faults with real gateways and SDKs, and keep what each program saw."""

import re
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gateway.core.ledger_rows import ANSWERED_STATES, FinalRow, IntentRow
from tests.chaos.environment import ChaosEnvironment, make_model, make_provider
from tests.chaos.gateway import ChaosGateway
from tests.chaos.provider import FaultRequest, Wire, body, frames, honest
from tests.chaos.row import Mode
from tests.chaos.sdk.clients import CLIENTS, SdkAnswer, SdkCall, describe_error, set_sleep
from tests.e2e.child import until
from tests.e2e.four_labs import TEXT
from tests.e2e.world import Config, Loop
from tests.failover.faults import FAULTS, ProviderFault
from tests.failover.policies import read_policies

PROGRAMS = ("openai", "openai responses", "anthropic", "google-genai")
"""Each SDK with its own retries; google-genai has none by default."""
SECOND_TEXT = "Good day."
"""The answer of the second target; the preferred one has another."""
_PREFERRED, _SECOND = "the preferred model", "the second model"
_CUT_WORDS = frozenset({"length", "max_tokens", "incomplete", "MAX_TOKENS"})
"""Reasons with which an answer says that it is not whole."""
_OWN_PACKAGES = ("openai.", "anthropic.", "google.")
_LEAST_MESSAGE = 20
"""Characters: a shorter message tells a developer nothing."""
_THREADS = 64
_LONGEST_NAP = 3.0
"""Seconds: in the short form the retries of an SDK wait no longer at a time."""
_TIER = "fast"
_INNER_MESSAGE = re.compile(r"""'message': (['"])(.*?)\1[,}]""")
"""The message inside the error body that an SDK shows."""


@dataclass(frozen=True)
class FailoverCell:
    """One fault, as one program meets it under one policy."""

    fault: ProviderFault
    policy: str
    program: str
    mode: Mode

    @property
    def dialect(self) -> str:
        return CLIENTS[self.program].dialect

    @property
    def name(self) -> str:
        """Return the name of its lab and provider, which no other cell shares."""
        words = f"{self.fault.group} {self.fault.name} {self.policy} {self.program} {self.mode}"
        return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")

    def __str__(self) -> str:
        return (
            f"{self.fault.group}: {self.fault.name} | {self.policy} | {self.program}, {self.mode}"
        )


@dataclass(frozen=True)
class Experience:
    """The outcome of one call for its program, and its cost."""

    cell: FailoverCell
    answered_by: str | None
    """The model that answered; None if the program got an error, or a text that is not whole."""
    said: str
    """The outcome in plain words."""
    error: str
    """The class of the error with its status; empty if there is none."""
    seconds: float
    calls: int
    """Requests of the SDK to the gateway."""
    requests: tuple[int, int]
    """Requests that the preferred and the second provider got."""
    billed: str
    wrong: tuple[str, ...] = ()
    """Faults that no policy allows."""


def list_cells(*, short: bool) -> list[FailoverCell]:
    """Return all cells: each fault under each policy, for each program, whole and streamed."""
    return [
        FailoverCell(fault, policy, program, mode)
        for policy in read_policies()
        for fault in FAULTS
        if not (short and fault.long_only)
        for program in PROGRAMS
        for mode in fault.modes
    ]


async def answer_second(wire: Wire, request: FaultRequest) -> None:
    """Answer with the text and the model of the second target."""

    def change(data: bytes) -> bytes:
        pieces = ((TEXT, SECOND_TEXT), ('"Hell"', '"Good"'), ('"o y"', '" da"'), ('"ou."', '"y."'))
        for old, new in pieces:
            data = data.replace(old.encode(), new.encode())
        return data.replace(b'"served-', b'"second-')

    if not request.stream:
        await wire.whole(200, change(body(request.dialect)))
        return
    await wire.sse()
    await wire.chunk(*map(change, frames(request.dialect)))
    await wire.end()


def play(
    cells: Sequence[FailoverCell], folder: Path | None = None, *, short: bool
) -> Iterator[Experience]:
    """Play cells, all of a policy against one gateway, which is audited afterwards.

    In the short form the timers are short, and no wait of an SDK is longer than some seconds.
    """
    if short:
        set_sleep(lambda seconds: time.sleep(min(seconds, _LONGEST_NAP)))  # an SDK waits for real
    loop = Loop()
    try:
        with tempfile.TemporaryDirectory(prefix="tiergate-failover-") as made:
            for policy in dict.fromkeys(cell.policy for cell in cells):
                chosen = [cell for cell in cells if cell.policy == policy]
                place = (folder or Path(made)) / re.sub("[^a-z]+", "-", policy)
                yield from _play_policy(chosen, place, loop, short=short)
    finally:
        set_sleep(time.sleep)
        loop.close()


def _play_policy(
    cells: Sequence[FailoverCell], folder: Path, loop: Loop, *, short: bool
) -> list[Experience]:
    environment = ChaosEnvironment(folder, loop, strict=False)
    try:
        value = environment.config(()) | read_policies()[cells[0].policy]
        for cell in cells:
            _add_lab(value, environment, cell, short=short)
        gateway = environment.start(value, CHAOS_JITTER="0.5")
        with ExitStack() as stack:
            programs = {
                name: _Program(stack, gateway, name) for name in {cell.program for cell in cells}
            }
            with ThreadPoolExecutor(_THREADS) as pool:
                experiences = list(
                    pool.map(lambda cell: programs[cell.program].play(environment, cell), cells)
                )
        _, wrong = environment.audit(gateway, growth=100_000_000)
        if wrong:
            experiences[0] = replace(experiences[0], wrong=(*experiences[0].wrong, *wrong))
        return experiences
    finally:
        environment.close()


def _add_lab(
    value: Config, environment: ChaosEnvironment, cell: FailoverCell, *, short: bool
) -> None:
    """Add the lab of a cell, with its preferred target and the second one."""
    fault, model = cell.fault, make_model()
    timers = dict(fault.short) if short else {}
    # A port of its own: connections that are kept belong to one provider.
    port = environment.loop.run(environment.provider.listen())
    own_address = {"base_url": f"http://127.0.0.1:{port}/{cell.name}"}
    provider = make_provider(environment, cell.name, cell.dialect) | own_address
    value["providers"][cell.name] = provider | {"timeouts": timers} | fault.change
    value["models"][f"m-{cell.name}"] = model
    targets = [{"model": f"m-{cell.name}", "provider": cell.name}]
    if fault.second != "none":
        second, facts = f"{cell.name}-second", dict(model)
        if fault.second == "unknown":
            del facts["context"]
        elif fault.second == "larger":
            facts["context"] *= 10
        provider = make_provider(environment, second, cell.dialect)
        if "total" in timers:  # the time of the call, at whichever provider
            provider["timeouts"] = {"total": timers["total"]}
        value["providers"][second] = provider
        value["models"][f"m-{second}"] = facts
        targets.append({"model": f"m-{second}", "provider": second})
        environment.provider.play(second, fault.does if fault.second == "small" else answer_second)
    value["labs"][cell.name] = {_TIER: targets}
    does = (fault.does_short or fault.does) if short else fault.does
    environment.provider.play(cell.name, *([does, honest] if fault.once else [does]))


class _Program:
    """A program with one SDK, which many threads use."""

    def __init__(self, stack: ExitStack, gateway: ChaosGateway, name: str) -> None:
        self._gateway, self._client = gateway, CLIENTS[name]
        self._responses = threading.local()
        url = f"http://127.0.0.1:{gateway.port}"
        self._sdk = stack.enter_context(self._client.open(url, self._note))

    def _note(self, response: Any) -> None:
        self._responses.headers.append(dict(response.headers))

    def play(self, environment: ChaosEnvironment, cell: FailoverCell) -> Experience:
        """Make the call of a cell, and return what the program saw."""
        headers: list[dict[str, str]] = []
        self._responses.headers = headers
        call = SdkCall(f"{cell.name}/{_TIER}", cell.name, cell.mode == "stream")
        began = time.monotonic()
        try:
            answer = self._client.ask(self._sdk, call)
        except Exception as error:  # noqa: BLE001 - the table tells the error
            seconds = time.monotonic() - began
            word, message = describe_error(error), _read_message(error, cell)
            shown = "".join(call.shown)
            start = "a part of the answer, then an error" if shown else "an error"
            answered_by, said, wrong = None, f"{start}: {message}", _check_error(word, message)
        else:
            seconds, word = time.monotonic() - began, ""
            answered_by = {TEXT: _PREFERRED, SECOND_TEXT: _SECOND}.get(answer.text)
            said = answered_by or _describe_cut(answer)
            wrong = check_answer(cell, answer, headers[-1])
        hits = environment.provider.hits
        finals, intents = self._read_rows(cell.name)
        if hits[cell.name] + hits[f"{cell.name}-second"] > intents:
            wrong.append("the providers got more requests than the ledger has")
        return Experience(
            cell, answered_by, said, word, seconds, len(finals),
            (hits[cell.name], hits[f"{cell.name}-second"]), _describe_bill(finals), tuple(wrong),
        )  # fmt: skip

    def _read_rows(self, tag: str) -> tuple[list[FinalRow], int]:
        """Return the final rows of all calls with a tag, and the number of their requests."""

        def find() -> dict[str, list[Any]]:
            rows = {
                id: call_rows
                for id, call_rows in self._gateway.all().items()
                if any(
                    isinstance(row, FinalRow | IntentRow) and tag in row.tags for row in call_rows
                )
            }
            ended = all(
                any(isinstance(it, FinalRow) for it in call_rows) for call_rows in rows.values()
            )
            return rows if ended else {}

        rows = until(find, f"the rows of {tag}")
        self._gateway.unreported_calls.update(rows)
        all_rows = [row for call_rows in rows.values() for row in call_rows]
        return (
            [row for row in all_rows if isinstance(row, FinalRow)],
            sum(isinstance(row, IntentRow) for row in all_rows),
        )


def _read_message(error: Exception, cell: FailoverCell) -> str:
    """Return the message of an error, without what differs from call to call or from SDK to SDK."""
    text = str(error)
    inside = _INNER_MESSAGE.search(text)
    message = inside[2] if inside else text.partition(" - ")[2] or text
    message = message.replace(f"{cell.name}-second", "SECOND").replace(cell.name, "PREFERRED")
    return re.sub(r"\b\d+(\.\d+)? s\b", "N s", message)


def _check_error(word: str, message: str) -> list[str]:
    wrong = []
    if not word.startswith(_OWN_PACKAGES):
        wrong.append(f"an error that is not its SDK's: {word}")
    if len(message) < _LEAST_MESSAGE:
        wrong.append(f"an error that says nothing: {message!r}")
    return wrong


def _describe_cut(answer: SdkAnswer) -> str:
    """Return what a program gets of an answer that is not whole."""
    end = (
        "without a reason for its end" if answer.finish is None else f"ends with `{answer.finish}`"
    )
    return f"the text that the provider sent ({answer.text!r}), {end}"


def check_answer(cell: FailoverCell, answer: SdkAnswer, headers: Mapping[str, str]) -> list[str]:
    """Return what no policy allows: a cut answer that looks whole, or a model that nobody names.

    An answer whose provider gives no reason for its end may pass as it came where no other target
    is left, if a header tells that and the policy asks for no complete answers.
    """
    if answer.text not in (TEXT, SECOND_TEXT):
        may_pass = cell.fault.second == "none" and not _wants_complete(cell.policy)
        has_no_reason = answer.finish is None and headers.get("x-tiergate-finish") == "unknown"
        is_told = answer.finish in _CUT_WORDS or (may_pass and has_no_reason)
        return [] if is_told else [f"a cut answer as a whole one: {answer.text!r}, {answer.finish}"]
    is_second = answer.text == SECOND_TEXT
    name = f"m-{cell.name}" + ("-second" if is_second else "")
    header_model = headers.get("x-tiergate-model")  # none if a keep-alive went before the answer
    if header_model not in (name, None):
        return [f"{name} answered, and the header names {header_model}"]
    if not (answer.model or "").startswith("second-" if is_second else "served-"):
        return [f"{name} answered, and the body names {answer.model}"]
    return []


def _wants_complete(policy: str) -> bool:
    return bool(read_policies()[policy]["routing"]["complete"] != "off")


def _describe_bill(finals: Sequence[FinalRow]) -> str:
    """Return what all calls of a program cost."""
    words = []
    if any(row.state in ANSWERED_STATES for row in finals):
        words.append("the answer")
    if any(row.wasted or (row.cost and row.state not in ANSWERED_STATES) for row in finals):
        words.append("a broken one")
    if any(row.cost is None or row.wasted is None for row in finals):
        words.append("unknown")
    return " + ".join(words) or "nothing"
