"""The policies that are compared, from the files that operators have."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from gateway.cli.init import detect, templates
from gateway.cli.init.templates import InitPlan
from gateway.settings import yaml
from gateway.settings.environment import find_shipped_config
from tests.e2e.world import Config

SHIPPED, WRITTEN = "as shipped", "as `init` writes it"
_MEMBERS = ("routing", "retry", "cache")
"""The members of a configuration that decide what becomes of a call whose provider fails."""


@cache
def read_policies() -> Mapping[str, Config]:
    """Return the policy of the shipped configuration, and of the one that `tiergate init` writes."""
    shipped_file = find_shipped_config()
    plan = InitPlan(("openai",), "127.0.0.1", 8484, "open", {}, None, None)
    labs = detect.load_shipped_labs(shipped_file.parent / "labs")
    texts = {
        SHIPPED: shipped_file.read_text("utf-8"),
        WRITTEN: templates.format_config(plan, labs, {}),
    }
    policies: dict[str, Config] = {}
    for name, text in texts.items():
        value: Any = yaml.read(text, "gateway.yaml").value
        policies[name] = {member: value[member] for member in _MEMBERS}
    return policies
