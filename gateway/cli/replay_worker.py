"""A replay for a running gateway: `python -m gateway.cli.replay_worker`, a child that it may kill.

What is asked comes as JSON on standard input, what was found goes as JSON to standard output. It is
no command for people: they have `tiergate replay --rules`, and this is the same.
"""

import os
import signal
import sys

import click
import msgspec

from gateway.cli.ledger_session import asked, opened
from gateway.cli.replay import walker
from gateway.cli.session import CommandSession
from gateway.core import jsonio
from gateway.core.call import OPEN
from gateway.core.jsonio import Json
from gateway.evaluation.replay import report
from gateway.runtime.build import findings
from gateway.settings.errors import ConfigError
from gateway.settings.loader import CandidateRules

_NICE = 10


class Asked(msgspec.Struct, kw_only=True):
    """What is to be replayed."""

    config: str
    rules: str
    """YAML; empty for those that are written."""
    name: str
    """What findings call it."""
    since: str = ""
    until: str = ""
    only: list[str] = []
    limit: int
    """Changed calls that are listed."""
    most: int
    """Calls that are replayed at most."""
    seconds: int
    """That it may take, if nobody ends it before."""


def rehearse(told: Asked) -> dict[str, Json]:
    """`report` and `findings`; only `findings` where the rules are wrong; or `error`."""
    session = CommandSession(told.config)
    if told.rules:
        session.rules = CandidateRules(told.name, told.rules)
    try:
        site = session.site
        known = list(session.keys().values())
    except ConfigError as error:
        return {"findings": error.mistakes}
    walk = walker(session, told.limit)
    zone = session.source.config.ledger.time_zone
    try:
        question = asked(since=told.since, until=told.until, only=told.only, zone=zone)
        chosen = {**question.chosen, "zone": question.place}
        with opened(session()) as store:
            count = 0 if store is None else store.count(**chosen)
            if count > told.most:
                why = f"There are {count:,} calls in this range, more than {told.most:,}"
                return {"error": f"{why}: choose a shorter one, or use `tiergate replay`."}
            for row in () if store is None else store.logged(**chosen):
                walk.take(row)
    except click.ClickException as error:
        return {"error": f"{error.message[:1].upper()}{error.message[1:].rstrip('.')}."}
    return {
        "report": report.view(walk.sums, site.router.catalogue.version),
        "findings": findings(site, known or [OPEN]),
    }


def main() -> None:
    """Answer once."""
    told: Asked = jsonio.reader(Asked)(sys.stdin.buffer.read())
    os.nice(_NICE)
    signal.alarm(told.seconds)
    sys.stdout.buffer.write(jsonio.dumps(rehearse(told)))


if __name__ == "__main__":
    main()
