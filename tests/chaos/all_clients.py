"""Clients of every dialect and mode at once, before a gateway that suffers a fault.

A row of this kind is played once for all its cells: the fault happens once, and each cell reports
what its own clients saw.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from tests.chaos import provider, verdict
from tests.chaos.client import PROMPT, Reply
from tests.chaos.environment import ChaosEnvironment
from tests.chaos.gateway import ChaosGateway
from tests.chaos.row import MODES, Cell, Expected, FaultRow, Seen
from tests.e2e.child import until
from tests.e2e.four_labs import DIALECTS

type Form = tuple[str, str]
"""A dialect and a mode."""
type Go = Callable[[ChaosEnvironment], Mapping[Form, Seen]]
"""Does something once; returns the observations of each form."""

FORMS: tuple[Form, ...] = tuple((dialect, mode) for dialect in DIALECTS for mode in MODES)
_number = count(1)


def new_prompt() -> str:
    """Return a prompt that no client has sent before."""
    return f"{PROMPT} It is number {next(_number)}."


def ask(gateway: ChaosGateway, form: Form, prompt: str = "", **more: Any) -> Reply:
    """Make one call."""
    dialect, mode = form
    return gateway.ask(
        dialect, f"{dialect}/smart", stream=mode == "stream", prompt=prompt or new_prompt(), **more
    )


def judge_reply(form: Form, reply: Reply) -> str:
    """Return the verdict of a client: `answer` for the honest provider's answer, whole."""
    dialect, mode = form
    if mode == "stream":
        judged = verdict.stream(dialect, reply, provider.frames(dialect))
    else:
        judged = verdict.whole(dialect, reply, provider.body(dialect))
    return " ".join(filter(None, (judged.outcome, judged.word)))


def cache_status(reply: Reply) -> str:
    """Return the cache status of a reply."""
    return reply.headers.get("x-tiergate-cache", "")


@dataclass
class AllClients:
    """The calls of each form."""

    gateway: ChaosGateway
    replies: dict[Form, list[Reply]] = field(default_factory=dict)

    def call(self, times: int = 1, **more: Any) -> list[Reply]:
        """Make new calls of all forms at once."""

        def some(form: Form) -> list[Reply]:
            return [ask(self.gateway, form, **more) for _ in range(times)]

        with ThreadPoolExecutor(len(FORMS)) as pool:
            replies_by_form = dict(zip(FORMS, pool.map(some, FORMS), strict=True))
        for form, replies in replies_by_form.items():
            self.replies.setdefault(form, []).extend(replies)
        return [reply for replies in replies_by_form.values() for reply in replies]

    def seen(
        self, cache: Mapping[Form, str] | str = "", more: str = "", wrong: Sequence[str] = ()
    ) -> dict[Form, Seen]:
        """Return what each form has seen so far."""
        return {
            form: self._seen(form, cache if isinstance(cache, str) else cache[form], more, wrong)
            for form in FORMS
        }

    def _seen(self, form: Form, cache: str, more: str, wrong: Sequence[str]) -> Seen:
        replies = self.replies.get(form, [])
        entries = [self.gateway.entry(reply.id) for reply in replies if reply.id]
        states = sorted({entry.state for entry in entries})
        verdicts = sorted({judge_reply(form, reply) for reply in replies})
        status = sorted({reply.status for reply in replies})
        lost = sum(not reply.id for reply in replies)
        faults = [*wrong, *([f"{lost} calls without an id"] if lost else [])]
        return Seen(
            status=status[0] if len(status) == 1 else None,
            client=", ".join(verdicts),
            ledger=", ".join(states),
            cache=cache,
            more=more,
            wrong=tuple(faults if len(status) == 1 else [*faults, f"status {status}"]),
        )


def probe_cache(gateway: ChaosGateway, within: float) -> dict[Form, str]:
    """Tell by form if the cache stores answers again: `hit`, or `none` if none comes in time."""

    def probe(form: Form) -> str:
        prompt = new_prompt()
        try:
            until(lambda: cache_status(ask(gateway, form, prompt)) == "hit", "a hit", within)
        except AssertionError:
            return "none"
        return "hit"

    with ThreadPoolExecutor(len(FORMS)) as pool:
        return dict(zip(FORMS, pool.map(probe, FORMS), strict=True))


def first_quartile(replies: Sequence[Reply]) -> float:
    """Return the seconds of the first quartile: a delay of every call is part of it."""
    return sorted(reply.seconds for reply in replies)[len(replies) // 4]


def play_once(go: Go) -> Callable[[ChaosEnvironment, Cell], Seen]:
    """Return a row's play that does something once, for all cells of the row."""

    def play(environment: ChaosEnvironment, cell: Cell) -> Seen:
        with environment.turn:
            if cell.row.key not in environment.observations:
                try:
                    environment.observations[cell.row.key] = go(environment)
                except BaseException as error:
                    environment.observations[cell.row.key] = error
                    raise
            result = environment.observations[cell.row.key]
        if isinstance(result, BaseException):
            raise result
        seen: Seen = result[cell.dialect, cell.mode]
        return seen

    return play


def shared_row(
    id: str, fault: str, family: str, go: Go, expected: Expected, **more: Any
) -> FaultRow:
    """Return a row that is played once for all its cells, on an environment of its own."""
    return FaultRow(id, fault, family, play_once(go), expected, own=True, together=True, **more)
