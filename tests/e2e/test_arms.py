"""A canary over real sockets: who is in its arm, and whether its results are those of its calls."""

import http.client
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from gateway.core import jsonio
from gateway.core.ledger_rows import FeedbackRow, FinalRow
from tests.cli.run import program
from tests.e2e.service import Service
from tests.e2e.upstream import PATIENCE, Answer, Request, Upstream, answering, failing
from tests.e2e.world import Config, Make, World

_FIGURES = (
    *("calls_per_conversation", "cost_per_call", "cost_per_conversation", "failed", "good"),
    *("first_content_p50", "first_content_p95", "duration_p50", "duration_p95"),
)


def canary(share: float) -> list[Config]:
    """Return choices of which one sends a share of the conversations to another lab."""
    return [{"name": "canary", "when": {"traffic": share}, "lab": "other", "tier": "smart"}]


def ask(service: Service, conversation: str) -> None:
    """Make a call of a conversation."""
    client = http.client.HTTPConnection("127.0.0.1", service.port, timeout=PATIENCE)
    body = {"model": "auto", "messages": [{"role": "user", "content": f"Say {conversation}."}]}
    headers = {"x-tiergate-conversation": conversation, "content-type": "application/json"}
    client.request("POST", "/v1/chat/completions", jsonio.dumps(body), headers)
    reply = client.getresponse()
    assert reply.status == 200, reply.read()
    client.close()


def read_arms(service: Service) -> dict[str, set[str | None]]:
    """Return the arms of each conversation in the rows of a gateway."""
    arms: defaultdict[str, set[str | None]] = defaultdict(set)
    for row in service.entries():
        arms[str(row.conversation)].add(row.arm)
    return dict(arms)


def test_a_conversation_keeps_its_arm_in_every_process_and_after_a_restart(
    tmp_path: Path, upstream: Upstream
) -> None:
    """Two gateways and a restart draw the same. A larger share keeps the conversations that are in."""
    upstream.on("/acme", answering)
    upstream.on("/other", answering)
    conversations = [f"conversation {number}" for number in range(80)]
    services: list[Service] = []

    def start(share: float, **options: Any) -> Service:
        folder = tmp_path / str(len(services))
        services.append(Service(folder, upstream, {}, choices=canary(share), **options))
        return services[-1]

    try:
        first, second = start(0.2), start(0.2)
        for conversation in conversations:
            for service in first, second, first:
                ask(service, conversation)
        first.kill()
        restarted = start(0.2, data=first.data)
        for conversation in conversations:
            ask(restarted, conversation)
        arms = read_arms(restarted)
        assert arms == read_arms(second)
        assert len(arms) == len(conversations)
        assert all(len(of_one) == 1 for of_one in arms.values())
        inside = {name for name, of_one in arms.items() if of_one == {"canary:in"}}
        assert 8 <= len(inside) <= 24
        restarted.kill()
        raised = start(0.4)
        for conversation in conversations:
            ask(raised, conversation)
        inside_later = {
            name for name, of_one in read_arms(raised).items() if of_one == {"canary:in"}
        }
        assert inside < inside_later
        rows = [row for service in (second, raised) for row in service.entries()]
        assert {(row.arm, row.lab) for row in rows} == {
            ("canary:in", "other"), ("canary:out", "acme"),
        }  # fmt: skip
    finally:
        for service in services:
            service.kill()


def failing_for(*words: str) -> Callable[[Request], Answer]:
    """Script a provider that refuses prompts with one of these words."""

    def answer(request: Request) -> Answer:
        text = request.json["messages"][-1]["content"]
        return failing(400) if any(word in text.split() for word in words) else answering(request)

    return answer


def run_experiment(world: World) -> None:
    """Make calls of 150 conversations, and rate most answers as a user of each arm would."""
    for number in range(150):
        for turn in range(1 + number % 4):
            words = " ".join(["word"] * (1 + number % 13 + turn))
            body = {
                "model": "auto", "stream": number % 2 == 0,
                "messages": [{"role": "user", "content": f"Say w{number % 5} t{turn} {words}"}],
            }  # fmt: skip
            reply = world.ask(body, x_tiergate_conversation=f"conversation {number}")
            if reply.status_code != 200 or number % 7 == 0:
                continue
            is_inside = reply.headers["x-tiergate-lab"] == "other"
            verdict = "bad" if (number + turn) % (2 if is_inside else 9) == 0 else "good"
            rating = {"id": reply.headers["x-request-id"], "verdict": verdict}
            assert world.client.post("/v1/feedback", json=rating).status_code == 200


def test_results_are_those_of_the_calls_of_each_arm(make: Make, upstream: Upstream) -> None:
    """The canary's lab refuses prompts and gets bad ratings; the command, the endpoint and a
    computation from the journal agree on each figure.
    """

    def change(value: Config) -> None:
        value["choices"] = canary(0.4)

    world: World = make(change)
    upstream.on("/acme", failing_for("t3"))
    upstream.on("/other", failing_for("w1", "w2"))
    run_experiment(world)
    answer = world.client.get("/admin/arms").json()
    environ = {"TIERGATE_DATA": str(world.folder / "data")}
    run = program("--config", world.folder / "gateway.yaml", "arms", "canary", "--json", environ=environ)  # fmt: skip
    assert run.returncode == 0, run.stderr
    report = jsonio.loads(run.stdout.encode())
    assert report["rules"] == answer["rules"]
    (result,) = report["rules"]
    assert result["in_both"] == 0
    assert {name: result["findings"][name] for name in ("cost_per_call", "failed", "good")} == {
        "cost_per_call": "higher", "failed": "higher", "good": "lower",
    }  # fmt: skip
    assert result["findings"]["calls_per_conversation"] == "no difference can be claimed"

    rows = world.rows()
    calls = [row for row in rows if isinstance(row, FinalRow)]
    ratings = {row.id: row.verdict == "good" for row in rows if isinstance(row, FeedbackRow)}
    expected = {
        arm: compute_figures([row for row in calls if row.arm == f"canary:{arm}"], ratings)
        for arm in ("in", "out")
    }
    for arm, lab in (("in", "other"), ("out", "acme")):
        arm_calls = [row for row in calls if row.lab == lab]
        assert result[arm]["calls"] == len(arm_calls)
        assert result[arm]["cost"] == f"{sum(row.cost or 0 for row in arm_calls):f}"
        for name in _FIGURES:
            assert read_figure(result[arm]["figures"][name]) == expected[arm][name], (arm, name)
    for name in _FIGURES:
        difference = compute_difference(expected["in"][name], expected["out"][name])
        assert read_figure(result["differences"][name]) == difference, name


# The same figures from the rows of the journal, computed in another way: from the residuals of
# each conversation, with Student's quantile by integration, and with ranks that are counted.
type Numbers = tuple[Any, ...]
"""A value and the ends of its interval, or the value alone."""


def read_figure(figure: Mapping[str, Any]) -> Numbers:
    numbers = [figure[name] for name in ("value", "low", "high") if figure[name] is not None]
    return tuple(pytest.approx(float(number), rel=1e-3, abs=2e-6) for number in numbers)


def compute_figures(calls: Sequence[FinalRow], ratings: Mapping[str, bool]) -> dict[str, Numbers]:
    conversations: defaultdict[str | None, list[FinalRow]] = defaultdict(list)
    for row in calls:
        conversations[row.conversation].append(row)
    groups = list(conversations.values())

    def gather(read: Callable[[FinalRow], float | None]) -> list[list[float]]:
        values = [[value for row in group if (value := read(row)) is not None] for group in groups]
        return [cluster for cluster in values if cluster]

    costs = gather(lambda row: None if row.cost is None else float(row.cost))
    failures = gather(lambda row: float(row.state == "failed"))
    good = gather(lambda row: float(ratings[row.id]) if row.id in ratings else None)
    answered = {
        "first_content": gather(lambda row: row.first_content if row.state == "settled" else None),
        "duration": gather(lambda row: row.duration if row.state == "settled" else None),
    }
    return {
        "calls_per_conversation": compute_mean([[float(len(group))] for group in groups]),
        "cost_per_call": compute_mean(costs),
        "cost_per_conversation": compute_mean([[sum(cluster)] for cluster in costs]),
        "failed": compute_wilson(failures),
        "good": compute_wilson(good),
        **{
            f"{name}_p{percent}": compute_quantile(clusters, percent / 100)
            for name, clusters in answered.items()
            for percent in (50, 95)
        },
    }


def compute_error(clusters: Sequence[Sequence[float]]) -> float:
    """Return the standard error of the mean of all values, from the sums of each cluster."""
    mean = fmean(flatten(clusters))
    residuals = [sum(value - mean for value in cluster) for cluster in clusters]
    count, size = len(clusters), len(flatten(clusters))
    return math.sqrt(sum(residual**2 for residual in residuals) * count / (count - 1)) / size


def compute_mean(clusters: Sequence[Sequence[float]]) -> Numbers:
    mean = fmean(flatten(clusters))
    reach = find_student_quantile(len(clusters) - 1) * compute_error(clusters)
    return mean, mean - reach, mean + reach


def compute_size(clusters: Sequence[Sequence[float]]) -> float:
    """Return how many independent votes tell as much as these."""
    share = fmean(flatten(clusters))
    return min(len(flatten(clusters)), share * (1 - share) / compute_error(clusters) ** 2)


def compute_wilson(clusters: Sequence[Sequence[float]]) -> Numbers:
    """Return the shares p for which |share - p| is at most the quantile times p's own error."""
    share, size = fmean(flatten(clusters)), compute_size(clusters)
    quantile = find_student_quantile(len(clusters) - 1)

    def is_inside(p: float) -> bool:
        return abs(share - p) <= quantile * math.sqrt(p * (1 - p) / size)

    return share, bisect(share, 0.0, is_inside), bisect(share, 1.0, is_inside)


def compute_quantile(clusters: Sequence[Sequence[float]], share: float) -> Numbers:
    values = sorted(flatten(clusters))
    value = next(
        value for rank, value in enumerate(values, 1) if rank >= share * len(values) - 1e-9
    )
    votes = [[float(one <= value) for one in cluster] for cluster in clusters]
    reach = find_student_quantile(len(clusters) - 1) * math.sqrt(
        share * (1 - share) / compute_size(votes)
    )
    ranks = [rank for rank in range(1, len(values) + 1) if abs(rank / len(values) - share) < reach]
    low, high = ranks[0] - 1, ranks[-1] + 2
    if low < 1 or high > len(values):
        return (value,)
    return value, values[low - 1], values[high - 1]


def compute_difference(inside: Numbers, outside: Numbers) -> Numbers:
    value = inside[0] - outside[0]
    if len(inside) < 3 or len(outside) < 3:
        return (value,)
    below = (inside[0] - inside[1]) ** 2 + (outside[2] - outside[0]) ** 2
    above = (inside[2] - inside[0]) ** 2 + (outside[0] - outside[1]) ** 2
    return value, value - below**0.5, value + above**0.5


def find_student_quantile(freedom: int) -> float:
    """Return the 97.5% quantile of Student's t, by Simpson's rule on its density."""
    logs = math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)
    scale = math.exp(logs) / math.sqrt(freedom * math.pi)

    def integrate(end: float, steps: int = 2_000) -> float:
        width = end / steps
        total = 0.0
        for step in range(steps + 1):
            weight = 1 if step in (0, steps) else 4 if step % 2 else 2
            total += weight * (1 + (step * width) ** 2 / freedom) ** (-(freedom + 1) / 2)
        return scale * width / 3 * total

    return bisect(0.0, 10.0, lambda end: integrate(end) <= 0.475)


def bisect(inside: float, outside: float, is_inside: Callable[[float], bool]) -> float:
    """Return where a condition that holds at `inside` ends on the way to `outside`."""
    for _ in range(40):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if is_inside(middle) else (inside, middle)
    return inside


def flatten(clusters: Iterable[Iterable[float]]) -> list[float]:
    return [value for cluster in clusters for value in cluster]
