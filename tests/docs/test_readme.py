"""The decisions at the top of the README are those of the shipped configuration."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.docs import pages
from tests.docs.pages import ROOT

_COST = re.compile(r"(\w+) is worth \w+ for ([\d.]+) USD")


def explain(prompt: str, data: Path) -> dict[str, Any]:
    """Return the output of `tiergate explain` for a prompt, with an OpenAI key."""
    environ = {"PATH": os.environ["PATH"], "TIERGATE_DATA": str(data), "OPENAI_API_KEY": "sk-test"}
    done = subprocess.run(
        [sys.executable, "-m", "gateway", "explain", prompt, "--json"],
        cwd=ROOT,
        env=environ,
        capture_output=True,
        text=True,
        check=True,
    )
    explained: dict[str, Any] = json.loads(done.stdout)
    return explained


def test_the_decisions_are_those_of_the_gateway(tmp_path: Path) -> None:
    """Each row has the tier, the first model, its cost, and the rule or words of the classifier."""
    rows = pages.table("prompt", "README.md").rows
    explained = [explain(row[0], tmp_path) for row in rows]
    reasons = ["; ".join(step["why"] for step in explanation["trace"]) for explanation in explained]
    costs = {tier: f"{usd} USD" for tier, usd in _COST.findall(" ".join(reasons))}
    for (prompt, tier, model, cost, why), explanation, reason in zip(
        rows, explained, reasons, strict=True
    ):
        assert (explanation["tier"], explanation["model"]) == (tier, model), prompt
        assert cost == costs[tier], prompt
        source, _, detail = why.partition(": ")
        if source == "classifier":
            assert explanation["source"] == source, prompt
            assert detail in reason, prompt
        else:
            assert f"rule `{explanation['rule']}`" == why, prompt
    text = (ROOT / "README.md").read_text("utf-8")
    assert "400, 600 and 2000 tokens" in text
    assert "a thousand answers of 400, 600, 2000 tokens" in " ".join(reasons)
