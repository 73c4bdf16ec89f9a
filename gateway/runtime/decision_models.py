"""The models that the gateway asks before it decides: what outlives configurations."""

from collections.abc import Callable

from gateway.ledger.redaction_patterns import compile_redactor
from gateway.pipeline.engine import Engine
from gateway.pipeline.llm_judge import Judge, JudgeMemory
from gateway.settings.schema.root import Config
from gateway.telemetry.log import Log
from gateway.telemetry.metrics import CounterMetric


class DecisionModels:
    """Parts that the judges of all configurations share: their verdicts, and their pause."""

    def __init__(self, log: Log) -> None:
        self._judge_memory = JudgeMemory(log)

    def make_judge(self, config: Config, server: Callable[[], Engine]) -> Judge | None:
        """Return the judge of a configuration; None if it has none."""
        judge_part = config.routing.judge
        if judge_part is None:
            return None
        return Judge(
            judge_part.model,
            judge_part.timeout,
            self._judge_memory,
            server=server,
            redactors=[compile_redactor(pattern) for pattern in config.ledger.redact],
        )

    def measures(self) -> list[CounterMetric]:
        """Return the metrics of judges for /metrics."""
        return self._judge_memory.measures()
