"""The child of a gateway that replays: what it is asked comes in, what it found goes out, as JSON."""

import io
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import replay_worker
from gateway.core import jsonio
from tests.cli.run import ON, config
from tests.cli.test_costs_reprice import write
from tests.cli.test_replay import ID, lines, served, tiergate

CHEAPER = "choices:\n- {name: proofs, when: {keywords: prove}, tier: smart}\n"


def ask(folder: Path, **wanted: Any) -> Any:
    """What it answers, in this process."""
    told = {
        "config": str(folder / "c.yaml"),
        "rules": CHEAPER,
        "name": "mine",
        "limit": 5,
        "most": 10,
        "seconds": 60,
    }
    out, nice, alarms = io.BytesIO(), list[int](), list[int]()
    shown = io.TextIOWrapper(out, write_through=True)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**ON, "TIERGATE_DATA": str(folder / "data")}.items():
            patch.setenv(name, value)
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(jsonio.dumps({**told, **wanted}))))
        patch.setattr(sys, "stdout", shown)
        patch.setattr(os, "nice", nice.append)
        patch.setattr(signal, "alarm", alarms.append)
        replay_worker.main()
    assert (nice, alarms) == ([10], [60])
    return json.loads(out.getvalue())


def test_it_says_what_the_command_says(tmp_path: Path) -> None:
    write(tmp_path, served(tmp_path, ID, "Prove it."), served(tmp_path, "tg-2", "hi", key="bob"))
    told = ask(tmp_path)
    (tmp_path / "rules.yaml").write_text(CHEAPER)
    words = ("replay", "--rules", str(tmp_path / "rules.yaml"))
    assert told["report"] == json.loads(tiergate(tmp_path, *words, "--json").stdout)
    assert told["report"]["by"] == {
        "classifier": {"before": 1, "after": 1},
        "proofs": {"before": 1, "after": 1},
    }
    assert "1 of 2 calls would go elsewhere." in lines(tiergate(tmp_path, *words))
    assert ask(tmp_path, only=["key:bob"])["report"]["calls"] == 1
    assert ask(tmp_path, rules="")["report"]["changed"] == 0


def test_what_is_wrong_is_found(tmp_path: Path) -> None:
    config(tmp_path)
    (found,) = ask(tmp_path, rules="choices: [{name: a}]")["findings"]
    assert (found["file"], found["line"], found["path"]) == ("mine", 1, "choices[0]")
    never = (
        CHEAPER
        + "- {name: late, when: {keywords: [prove, x]}, tier: fast}\n"
        + CHEAPER.replace("choices:\n", "").replace("proofs", "same")
    )
    told = ask(tmp_path, rules=never)
    assert [one["message"] for one in told["findings"]] == [
        "is never reached: 'proofs' matches first."
    ]
    assert told["report"]["calls"] == 0, "there is no ledger yet"


def test_too_many_calls_and_a_ledger_that_cannot_be_read_are_errors(tmp_path: Path) -> None:
    write(tmp_path, served(tmp_path, ID, "Prove it."), served(tmp_path, "tg-2", "hi"))
    assert ask(tmp_path, most=1) == {
        "error": "There are 2 calls in this range, more than 1: choose a shorter one, or use `tiergate replay`."
    }
    (tmp_path / "data" / "ledger.db").write_bytes(b"no database" * 100)
    assert ask(tmp_path)["error"].startswith("The ledger cannot be read: ")
