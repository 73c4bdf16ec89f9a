"""The trial of data: a gateway of the version before leaves its data to this version.

It makes rows of every kind, in SQLite or PostgreSQL, with keys in a file or a database. Then this
version starts on the same data, configuration, keys and Redis. It gives the same sums, rows and
views, and serves and refuses the same keys. At the end the former version comes back.
"""

import hashlib
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg

from gateway.core import jsonio
from tests.conftest import redis_program
from tests.e2e.child import until
from tests.e2e.four_labs import (
    CHAT,
    DIALECTS,
    ENDPOINTS,
    RESPONSES,
    four,
    host,
    make_request,
)
from tests.e2e.four_labs import whole as whole_json
from tests.e2e.kill_trial import KilledGateway
from tests.e2e.redis_port import Place
from tests.e2e.scale_fleet import link_program
from tests.e2e.upstream import PATIENCE, SILENT, Upstream, failing, frames, stream, whole
from tests.e2e.world import Config, Loop, config
from tests.ledger import postgres
from tests.upgrade.former import THIS, Program

type Json = dict[str, Any]

STORES = ("sqlite", "postgresql")
STATES = {
    "settled", "estimated", "aborted", "failed", "refused", "cache_hit", "unknown_crash",
}  # fmt: skip
"""Every state of a call. The trial makes one of each."""
_NEWER_STORE = ": update this one"
"""The hint in the message of a version that finds a newer store."""
_FEED_FAILURE = '"error":"StoreError","work":"feed"'
"""What earlier versions log of a feed that fails, as it does with a newer store."""
_ADMIN = "admin-of-the-trial-0123456789"
_SETTINGS: dict[str, Config] = {
    "web": {"team": "shop", "budgets": [{"usd": "50", "every": "month"}]},
    "small": {"budgets": [{"usd": "0.00225", "every": "total"}]},
    "fast": {"tiers": ["fast"]},
    "gone": {},
    "rotated": {},
}
"""Keys in the file or the database. The key `env` is in TIERGATE_KEYS."""
_GROUPS = "key,model,state,team,user,tag,dialect,cache,account,problem,day,tier,source"
"""The finest groups of `tiergate costs`."""
_VIEWS = ("costs", "attempts", "days", "feedback", "damages")


@dataclass
class DataReport:
    """What a version tells of its data."""

    costs: Json
    views: dict[str, list[Json]]
    findings: list[Json]
    """The findings of `check`."""
    keys: list[Json]
    audit: list[Json]
    budgets: dict[str, Any]
    """The budgets that `/v1/usage` gives to each key."""


def stop_gateway(gateway: KilledGateway) -> list[str]:
    """Stop a gateway; return a line if it did not end in good order.

    Some earlier versions end with status 1 if a newer one has changed the store. Their last rows
    wait in the journal.
    """
    if gateway.stop() == 0 or _NEWER_STORE in gateway.log().rstrip().rpartition("\n")[2]:
        return []
    return [f"a gateway did not stop in good order: {gateway.log()[-500:]}"]


def leave_out_newer_store(wrong: list[str]) -> list[str]:
    """Leave out what such a version writes to its log.

    A feed that fails is logged without its reason, which this version tells. A traceback shows
    lines of the sources that are installed by then, so those of this version.
    """
    wrong = [line for line in wrong if _FEED_FAILURE not in line]
    refusals = [line for line in wrong if _NEWER_STORE in line]
    lines = [line for line in wrong if line not in refusals and not line.startswith("    raise ")]
    for _ in refusals:
        lines.remove("Traceback (most recent call last):")
    return lines


class DataTrial:
    """One gateway with its data, whose program can be replaced."""

    def __init__(self, folder: Path, upstream: Upstream, redis_url: str, store: str, keys: str) -> None:  # fmt: skip
        """`store` and `keys` are URLs of databases; empty keys are in a file."""
        folder.mkdir()
        self.folder, self.upstream, self.store = folder, upstream, store
        self.wrong: list[str] = []
        """Disagreements, one a line."""
        self.secrets = {name: f"key-of-{name}-0123456789" for name in (*_SETTINGS, "env")}
        self.response_id = ""
        """An answer that the former version has kept."""
        self.url = ""
        value = _configure(upstream.url, store)
        file = folder / "keys.yaml"
        rows = {name: {"sha256": self._hash(name), **more} for name, more in _SETTINGS.items()}
        file.write_bytes(jsonio.dumps(rows))
        value["keys"] = {"store": keys} if keys else str(file)
        self._in_database = bool(keys)
        self._value = value
        self.gateway = KilledGateway(folder, upstream.url, **value)
        self.gateway.environ |= {
            "REDIS_URL": redis_url,
            "TIERGATE_ADMIN_KEY": _ADMIN,
            "TIERGATE_KEYS": f"env={self._hash('env')}",
        }

    def _hash(self, name: str) -> str:
        return hashlib.sha256(self.secrets[name].encode()).hexdigest()

    def install(self, program: Program) -> None:
        """Let commands and the next start run a version."""
        link_program(self.gateway, program.folder)

    def start(self) -> None:
        """Start what is installed."""
        self.url = self.gateway.start()

    def stop(self) -> None:
        """Stop it in good order."""
        self.wrong += stop_gateway(self.gateway)

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the version that is installed."""
        return subprocess.run(
            [sys.executable, "-m", "gateway", *self.gateway.command, *words],
            env=self.gateway.environ, cwd=self.folder, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip

    def run(self, *words: str) -> str:
        """Run a command that must succeed, and return its output."""
        done = self.command(*words)
        if done.returncode:
            self.wrong.append(f"{' '.join(words)}: {done.returncode} {done.stderr[-500:]}")
        return done.stdout

    def get(self, path: str, secret: str) -> Any:
        """Read an endpoint as JSON."""
        headers = {"authorization": f"Bearer {secret}"}
        with self._client() as client:
            return client.get(path, headers=headers).json()

    def call(
        self, key: str, dialect: str = CHAT, model: str = "", text: str = "Hi", *, stream: bool = False, headers: Json | None = None, **more: Any
    ) -> httpx.Response:  # fmt: skip
        """Call as a client with a key."""
        path, body = make_request(dialect, model or f"m-{dialect}", text, stream=stream, **more)
        named = {"authorization": f"Bearer {self.secrets[key]}", **(headers or {})}
        with self._client() as client:
            return client.post(path, json=body, headers=named)

    @contextmanager
    def leaving(self, key: str) -> Iterator[socket.socket]:
        """Send a call for a stream; the client leaves at the end of the block."""
        body = jsonio.dumps(make_request(CHAT, f"m-{CHAT}", "leave", stream=True)[1])
        lines = [
            "POST /v1/chat/completions HTTP/1.1",
            "host: localhost",
            f"authorization: Bearer {self.secrets[key]}",
            f"content-length: {len(body)}",
        ]
        with socket.create_connection(("127.0.0.1", self.gateway.port), PATIENCE) as connection:
            count = len(self.upstream.requests)
            connection.sendall("\r\n".join([*lines, "", ""]).encode() + body)
            until(lambda: len(self.upstream.requests) > count, "the provider has the call")
            yield connection

    def use_new_settings(self, *, are_used: bool) -> None:
        """Write a configuration with settings that the former version does not know, or without."""
        value = self._value
        if are_used:
            provider = {**value["providers"][CHAT], "endpoints": {"openai-images": ""}, "names": ["draw-*"]}  # fmt: skip
            price = {"units": {"image": "0.04"}, "as_of": "2026-11-24"}
            value = {
                **value,
                "providers": {**value["providers"], CHAT: provider},
                "models": {**value["models"], "draw-1": {"price": price}},
            }
        self.gateway.config.write_bytes(jsonio.dumps({"version": 1, **value}))

    def make_new_rows(self) -> None:
        """Make rows that the former version could not make: of an endpoint beside text."""
        self.upstream.on("/images", whole_json({"data": [{}, {}]}))
        named = {"authorization": f"Bearer {self.secrets['env']}"}
        with self._client() as client:
            body = {"model": "draw-1", "prompt": "x", "n": 2}
            reply = client.post("/v1/images/generations", json=body, headers=named)
        if reply.headers.get("x-tiergate-cost") != "0.08":
            self.wrong.append(f"two images: {reply.status_code} {reply.text}")

    def make_keys(self) -> None:
        """Put the keys into the database, if they belong there."""
        if self._in_database:
            self.run("keys", "import", str(self.folder / "keys.yaml"))

    def change_keys(self) -> None:
        """Revoke one key and rotate another, as an operator does."""
        self.run("keys", "revoke", "gone")
        made = jsonio.loads(self.run("keys", "rotate", "rotated", "--keep", "0s", "--json").encode())  # fmt: skip
        self.secrets["rotated-before"] = self.secrets["rotated"]
        self.secrets["rotated"] = made["secret"]
        self.wait_for_keys()

    def wait_for_keys(self) -> None:
        """Wait until every worker has taken the change."""
        until(
            lambda: all(self.call("rotated").status_code == 200 for _ in range(6)),
            "workers take the change of keys",
        )

    def make_rows(self) -> None:
        """Make rows of every kind, with the version that runs."""
        upstream, call = self.upstream, self.call
        for dialect in DIALECTS:
            upstream.on(ENDPOINTS[dialect], host(dialect))
            for stream_it in (False, True):
                call("web", dialect, stream=stream_it, headers={"x-tiergate-tags": "shop"})
        self.response_id = call("web", RESPONSES, text="keep").json()["id"]
        call("web", RESPONSES, text="go on", previous_response_id=self.response_id)
        for _ in range(2):
            call("web", text="cached", headers={"x-tiergate-cache": "on"})
        call("web", user="u-1", text="of a user")
        for key in ("env", "rotated", "gone"):
            call(key, user="u-2")
        call("fast", model="m-small")
        call("fast")  # outside of its tiers
        call("web", model="no-such-model")
        call("web", model="m-dark", text="no price")
        rated = call("web", text="rate me").headers["x-request-id"]
        with self._client() as client:
            named = {"authorization": f"Bearer {self.secrets['web']}"}
            feedback = {"id": rated, "verdict": "good", "score": 0.5}
            client.post("/v1/feedback", json=feedback, headers=named)
        while call("small", text="spend", max_tokens=20).status_code == 200:
            pass  # until its budget is spent
        upstream.on(ENDPOINTS[CHAT], failing(500), whole(counts=None))
        call("web", text="retried, and without usage")
        upstream.on(ENDPOINTS[CHAT], failing(400))
        call("web", text="failed")
        upstream.on(ENDPOINTS[CHAT], stream(*frames()[:2], None))
        with self.leaving("web") as connection:
            received = b""
            while b"Hel" not in received:
                received += connection.recv(65536)

    def crash(self) -> None:
        """Kill the gateway while a call runs, and start it again."""
        self.upstream.on(ENDPOINTS[CHAT], SILENT)
        with self.leaving("web"):
            workers = self.gateway.workers()
            os.kill(self.gateway.supervisor, signal.SIGSTOP)  # so that it replaces none
            self.gateway.kill(*workers)
            self.gateway.kill_supervisor()
        self.upstream.on(ENDPOINTS[CHAT], host(CHAT))
        self.start()

    def try_keys(self) -> dict[str, int]:
        """Return the status that each key gets, and that of a call that goes on."""
        statuses = {name: self.call(name, text="try").status_code for name in self.secrets}
        fast = self.call("fast", model="m-small", text="try")
        went_on = self.call("web", RESPONSES, text="further", previous_response_id=self.response_id)
        foreign = self.call("env", RESPONSES, previous_response_id=self.response_id)
        return statuses | {
            "fast, in its tiers": fast.status_code,
            "an answer that was kept": went_on.status_code,
            "an answer of another key": foreign.status_code,
        }

    def report(self) -> DataReport:
        """Ask the version that runs for all that it knows."""
        check = jsonio.loads(self.run("check", "--json").encode())
        budgets = {
            name: self.get("/v1/usage", self.secrets[name])["budgets"] for name in ("web", "small")
        }
        return DataReport(
            costs=self.read_costs(),
            views=self._read_views(),
            findings=check["findings"],
            keys=self.get("/admin/keys", _ADMIN)["keys"],
            audit=self.get("/admin/audit", _ADMIN)["rows"],
            budgets=budgets,
        )

    def read_costs(self) -> Json:
        """Return the sums of calls, without the times of the question."""
        costs: Json = jsonio.loads(self.run("costs", "--json", "--by", _GROUPS).encode())
        return {name: value for name, value in costs.items() if name not in ("since", "until")}

    def read_schema(self) -> int:
        """Return the version of the store's tables."""
        column = "user_version FROM pragma_user_version" if self.is_sqlite else "version FROM ledger"  # fmt: skip
        (row,) = self._ask(f"SELECT {column}")
        return int(next(iter(row.values())))

    def remove_store(self) -> None:
        """Remove the store of SQLite; the journals stay."""
        for path in self.folder.glob("data/ledger.db*"):
            path.unlink()

    @property
    def is_sqlite(self) -> bool:
        """True if the store is SQLite, which the journals can make again."""
        return self.store.startswith("sqlite:")

    def _read_views(self) -> dict[str, list[Json]]:
        return {name: sorted(self._ask(f"SELECT * FROM {name}"), key=repr) for name in _VIEWS}  # noqa: S608 - of the list

    def _ask(self, sql: str) -> list[Json]:
        if self.is_sqlite:
            with closing(sqlite3.connect(self.folder / "data/ledger.db")) as base:
                base.row_factory = sqlite3.Row
                return [dict(row) for row in base.execute(sql)]
        with psycopg.connect(self.store, row_factory=psycopg.rows.dict_row) as base:
            return base.execute(sql.encode()).fetchall()

    def _client(self) -> httpx.Client:
        return httpx.Client(
            base_url=self.url,
            timeout=PATIENCE,
            trust_env=False,
            verify=False,  # noqa: S501 - plain HTTP, and certificates take long to read
        )


def _configure(url: str, store: str) -> Config:
    """Build a configuration with four labs, two tiers, and a model without a price."""
    value = config(url)
    four(value)
    value["providers"] = {
        name: {**part, "base_url": url} for name, part in value["providers"].items()
    }
    value["labs"][CHAT]["fast"] = [{"model": "m-small"}]
    value["labs"]["dark"] = {"smart": [{"model": "m-dark", "provider": CHAT}]}
    value["models"] |= {"m-small": {"price": {"input": "0.1", "output": "0.4"}}, "m-dark": {}}
    for facts in value["models"].values():
        facts["max_output"] = 50
    value["cache"] = {"ttl": "1h"}
    value["responses"] = {"ttl": "1h"}
    value["ledger"] = {"store": store, "time_zone": "UTC"}
    return value


def try_store(folder: Path, former: Program, store: str) -> list[str]:
    """Run the trial with a kind of store in a new folder; return each disagreement."""
    program = redis_program()
    assert program is not None
    loop, upstream = Loop(), Upstream()
    with ExitStack() as stack:
        stack.callback(loop.close)
        loop.run(upstream.start())
        stack.callback(lambda: loop.run(upstream.stop()))
        place = Place(program, folder.parent)
        place.start()
        stack.callback(place.kill)
        url, keys = f"sqlite:///{folder}/data/ledger.db", ""
        if store == "postgresql":
            url = keys = stack.enter_context(postgres.server()).url()
        trial = DataTrial(folder, upstream, f"redis://127.0.0.1:{place.port}/0", url, keys)
        stack.callback(trial.gateway.close)
        run_data(trial, former, THIS)
    return trial.wrong


def run_data(trial: DataTrial, former: Program, this: Program) -> None:
    """Let one version take over from another, and come back."""
    trial.install(former)
    trial.make_keys()
    trial.start()
    trial.make_rows()
    trial.crash()
    trial.change_keys()
    statuses = trial.try_keys()
    before, schema = trial.report(), trial.read_schema()
    trial.wrong += [
        f"no call of the version before is {state}"
        for state in STATES - {row["state"] for row in before.views["costs"]}
    ]
    trial.stop()
    trial.install(this)
    trial.start()
    compare_reports(before, trial.report(), trial.wrong)
    trial.stop()
    trial.use_new_settings(are_used=True)
    trial.start()
    if (now := trial.try_keys()) != statuses:
        trial.wrong.append(f"keys got {now}, and {statuses} before")
    trial.make_new_rows()
    last = trial.report()
    count = len(last.views["costs"]) - len(before.views["costs"])
    if count != (expected := 1 + sum(status != 401 for status in statuses.values())):
        trial.wrong.append(f"{expected} calls with a key made {count} rows")
    trial.run("ledger", "verify")
    trial.stop()
    trial.install(former)
    trial.use_new_settings(are_used=False)
    come_back(trial, last, is_newer=trial.read_schema() != schema)


def come_back(trial: DataTrial, last: DataReport, *, is_newer: bool) -> None:
    """Return to the version before, as docs/deployment.md says, with rows of this one."""
    if is_newer:
        refused = trial.command("costs")
        if refused.returncode == 0 or "newer version of tiergate" not in refused.stderr:
            trial.wrong.append(f"the version before reads a newer store: {refused.stderr}")
        trial.remove_store()
    if trial.is_sqlite or not is_newer:
        _compare("costs, read back", trial.read_costs(), last.costs, trial.wrong)
        trial.run("ledger", "verify")
    trial.start()
    if (status := trial.call("web", text="back").status_code) != 200:
        trial.wrong.append(f"the version before, back again, answers {status}")
    trial.stop()


def compare_reports(before: DataReport, after: DataReport, wrong: list[str]) -> None:
    """Note what the later version tells otherwise. It may tell more: columns, members, findings."""
    for name in ("costs", "budgets", "keys", "audit"):
        _compare(name, getattr(before, name), getattr(after, name), wrong)
    for name, rows in before.views.items():
        later = after.views[name]
        if len(rows) != len(later):
            wrong.append(f"the view {name} had {len(rows)} rows, and has {len(later)}")
            continue
        columns = rows[0].keys() if rows else ()
        kept = sorted(({column: row.get(column) for column in columns} for row in later), key=repr)
        _compare(f"the view {name}", rows, kept, wrong)
    places = {(finding["level"], finding["path"]) for finding in after.findings}
    wrong += [
        f"`check` no longer finds {finding}"
        for finding in before.findings
        if (finding["level"], finding["path"]) not in places
    ]
    wrong += [
        f"`check` finds an error: {finding}"
        for finding in after.findings
        if finding["level"] == "error"
    ]


def _compare(path: str, before: Any, after: Any, wrong: list[str]) -> None:
    """Compare what was there; dicts may gain members."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name, value in before.items():
            if name in after:
                _compare(f"{path}.{name}", value, after[name], wrong)
            else:
                wrong.append(f"{path}.{name} is gone")
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for at, (one, other) in enumerate(zip(before, after, strict=True)):
            _compare(f"{path}[{at}]", one, other, wrong)
    elif before != after:
        wrong.append(f"{path} was {before}, and is {after}"[:500])
