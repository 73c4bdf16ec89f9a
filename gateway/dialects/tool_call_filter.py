"""Which tool calls of a translated answer the client gets: those of its own tools.

Some providers run tools of their own, and show their calls among those of the client's tools (xAI).
Such a call has a name that the request does not have. Nothing else tells it from a call that the
model made up, but for the rest of the answer: the gateway holds such a call back until its end.
"""

from collections.abc import Iterable, Mapping

from gateway.core.canonical_request import CanonicalRequest
from gateway.core.events import Event, Finish, TextDelta, ToolDelta, ToolEnd, ToolStart
from gateway.dialects import tool_ids

type ToolEvent = ToolStart | ToolDelta | ToolEnd

_TOOL_WORDS = frozenset({"tool_calls", "function_call", "tool_use"})
"""Words of providers for an answer that ends with calls of the client's tools."""
_STOP_WORDS = frozenset({"stop", "end_turn"})
"""Words for any other normal end, in dialects that also have one of the words above."""
FILTERED_EVENTS = frozenset({ToolStart, ToolDelta, ToolEnd, Finish})
"""Events that the filter takes. It needs to know of text as well."""


class ToolCallFilter:
    """Filters the tool calls of one answer, and gives them the client's own names."""

    __slots__ = (
        "_client_names",
        "_dropped_names",
        "_first_calls",
        "_held_calls",
        "_kept_choices",
        "_provider_names",
        "_takes_one_tool",
        "_tool_names",
        "text_count",
    )

    def __init__(
        self,
        request: CanonicalRequest,
        provider_names: tuple[str, str],
        dropped_names: dict[str, None],
        *,
        takes_one_tool: bool,
    ) -> None:
        """`provider_names` are what the provider calls a call of a function, and of a custom tool.

        The filter adds them to `dropped_names` for what it drops. `takes_one_tool`: the client
        takes one call at a time, and gets the first of several.
        """
        self._client_names = _map_client_names(request)
        self._tool_names = frozenset(tool.name for tool in request.tools)
        self._provider_names = provider_names
        self._dropped_names = dropped_names
        self._takes_one_tool = takes_one_tool
        self.text_count = 0
        """The number of pieces of text so far. The reader of the answer counts them here."""
        self._first_calls: dict[int, int] = {}
        """By choice: the index of the first call that the client gets."""
        self._kept_choices: set[int] = set()
        """Choices with a call that the client gets."""
        self._held_calls: dict[tuple[int, int], tuple[int, list[ToolEvent]]] = {}
        """By choice and index: how much text came before a call, and the events of the call."""

    def take(self, event: ToolEvent | Finish) -> list[Event]:
        """Take an event; return what the client gets at this point."""
        if isinstance(event, Finish):
            return self._finish(event)
        key = event.choice, event.index
        if isinstance(event, ToolStart):
            name = self._client_names.get(event.name, event.name)
            if name not in self._tool_names:
                self._held_calls[key] = self.text_count, [event]
                return []
            event = ToolStart(event.index, event.id, name, event.custom, event.choice)
        elif key in self._held_calls:
            self._held_calls[key][1].append(event)
            return []
        return self._keep(event)

    def _keep(self, event: ToolEvent) -> list[Event]:
        first_index = self._first_calls.setdefault(event.choice, event.index)
        if self._takes_one_tool and event.index != first_index:
            return []
        self._kept_choices.add(event.choice)
        return [event]

    def _finish(self, finish: Finish) -> list[Event]:
        """End a choice: give its held calls, or drop them if the provider has run them itself."""
        kept: list[Event] = []
        for key in [key for key in self._held_calls if key[0] == finish.choice]:
            text_count, events = self._held_calls.pop(key)
            if self._is_of_provider(finish, text_count):
                start = events[0]
                is_custom = isinstance(start, ToolStart) and start.custom
                self._dropped_names[self._provider_names[is_custom]] = None
            else:
                kept += [kept_event for event in events for kept_event in self._keep(event)]
        if finish.reason == "tools" and finish.choice not in self._kept_choices:
            finish = Finish("stop", finish.word, finish.stop, finish.choice)
        return [*kept, finish]

    def _is_of_provider(self, finish: Finish, text_count: int) -> bool:
        """True if the provider has run a call, which came after so much text.

        The answer then goes on with text. Some providers tell all text first: there the word for
        the end decides.
        """
        if finish.word in _TOOL_WORDS:
            return False
        return self.text_count > (0 if finish.word in _STOP_WORDS else text_count)


def filter_events(events: Iterable[Event], calls: ToolCallFilter) -> list[Event]:
    """Return the events of a whole answer that the client gets."""
    kept: list[Event] = []
    for event in events:
        if isinstance(event, ToolStart | ToolDelta | ToolEnd | Finish):
            kept += calls.take(event)
            continue
        if isinstance(event, TextDelta):
            calls.text_count += 1
        kept.append(event)
    return kept


def _map_client_names(request: CanonicalRequest) -> Mapping[str, str]:
    """Map the names of tools that had to be called otherwise to the client's own names."""
    plain_names = {tool.name: tool_ids.make_plain_id(tool.name, "tool_") for tool in request.tools}
    return {plain: name for name, plain in plain_names.items() if plain != name}
