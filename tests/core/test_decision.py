"""A trace: its lines become text only when somebody reads them."""

from itertools import count

from gateway.core.decision import Trace, TraceStep


def test_a_trace_lists_its_steps_with_the_time_since_the_step_before() -> None:
    trace = Trace(map(float, count()).__next__)
    trace.add_steps((TraceStep(step="pin", matched=True, effect="lab a", reason="alias", ms=7.0),))
    trace.add("rule", "none of 2 choices", matched=False)
    steps = (
        TraceStep(step="pin", matched=True, effect="lab a", reason="alias", ms=1000.0),
        TraceStep(step="rule", matched=False, reason="none of 2 choices", ms=1000.0),
    )
    assert (len(trace), tuple(trace)) == (2, steps)
    assert (trace[-1], trace[:1]) == (steps[1], steps[:1])


def test_a_trace_makes_its_texts_only_when_they_are_read() -> None:
    calls: list[str] = []

    def why() -> str:
        calls.append("why")
        return "fast .9"

    trace = Trace(lambda: 0.0)
    trace.add("classifier", why, "fast")
    assert not calls
    assert [(step.reason, step.effect) for step in trace] == [("fast .9", "fast")]
    assert calls == ["why"]
