"""Names that a provider does not know: who gets its refusal again, and for how long."""

from typing import Any

import msgspec
import pytest

from gateway.core.call import Key
from gateway.core.errors import Problem, ProblemError
from gateway.core.target import NameOwner, Target, Targets
from gateway.pipeline.missing_models import MissingModels
from tests.routing import world

OWNER = NameOwner(
    provider=world.OPENAI,
    labs=("openai",),
    names=("gpt-*",),
    targets=Targets(lambda name: Target(provider=world.OPENAI, model=name)),
)
CATALOGUE = msgspec.structs.replace(world.CATALOGUE, name_owners=(OWNER,))
TARGET = Target(provider=world.OPENAI, model="gpt-none", is_listed=False)
BODY = b'{"error": {"message": "The model `gpt-none` does not exist"}}'
REFUSAL = Problem(kind="upstream_model", message="The provider refused.", status=404, body=BODY)


class _Call(msgspec.Struct):
    """The parts of a call that count here."""

    key: Key
    dialect: str = "openai-chat"
    operation: str = "generate"


CALL: Any = _Call(Key(name="k"))


class _Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_a_refusal_is_repeated_to_its_key_for_a_minute() -> None:
    clock = _Clock()
    missing = MissingModels(clock)
    missing.check(CALL, TARGET)
    problem = await missing.explain(CALL, TARGET, REFUSAL, CATALOGUE)
    assert problem.body == BODY, "no known name is near"
    clock.now = 59.9
    with pytest.raises(ProblemError) as raised:
        missing.check(CALL, TARGET)
    assert raised.value.problem == problem
    others: list[Any] = [
        _Call(Key(name="other")), _Call(Key(name="k", tenant="other")),
        _Call(Key(name="k"), dialect="gemini"), _Call(Key(name="k"), operation="embeddings"),
    ]  # fmt: skip
    for other in others:
        missing.check(other, TARGET)
    clock.now = 60.0
    missing.check(CALL, TARGET)


@pytest.mark.parametrize(
    "problem",
    [
        msgspec.structs.replace(REFUSAL, body=b'{"error": {"message": "no such file"}}'),
        msgspec.structs.replace(REFUSAL, kind="upstream_error"),
    ],
)
async def test_another_failure_is_not_repeated(problem: Problem) -> None:
    missing = MissingModels(_Clock())
    assert await missing.explain(CALL, TARGET, problem, CATALOGUE) is problem
    missing.check(CALL, TARGET)


async def test_what_is_kept_of_refusals_is_bounded() -> None:
    missing = MissingModels(_Clock())
    large = msgspec.structs.replace(REFUSAL, body=b'{"gpt-none": "%s"}' % (b"x" * 5000))
    problem = await missing.explain(CALL, TARGET, large, CATALOGUE)
    assert problem.body is None
    for number in range(1_100):
        target = msgspec.structs.replace(TARGET, model=f"gpt-{number}")
        body = b'{"code": "DeploymentNotFound"}'
        await missing.explain(CALL, target, msgspec.structs.replace(REFUSAL, body=body), CATALOGUE)
    assert len(missing._refusals) == 1_024
    missing.check(CALL, TARGET)  # the oldest went first
