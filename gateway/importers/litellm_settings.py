"""The importer of LiteLLM's settings beside its models: fallbacks, cache, budgets, keys."""

import hashlib
import re
from collections.abc import Mapping

from gateway.core.target import TIERS
from gateway.importers.draft import (
    ConfigDraft,
    Part,
    as_list,
    as_mapping,
    as_text,
    drop_duplicates,
    format_duration,
    parse_count,
    parse_seconds,
    strip_variables,
)
from gateway.importers.litellm_format import VARIABLE_NAME_PATTERN, parse_reference, parse_usd
from gateway.settings.errors import Path

RETRIES_REASON = "Set retries of the same target in `retry`. A budget bounds all others."
DROP_PARAMS_REASON = "The gateway always drops what a model does not accept, and names it."
_FALLBACK_SETTINGS = frozenset(
    {"fallbacks", "default_fallbacks", "context_window_fallbacks", "content_policy_fallbacks"}
)
_DATABASE_REASON = "The gateway keeps its own keys and costs. Create keys with `tiergate keys add`."
_WINDOW_BY_UNIT = {"s": "minute", "m": "minute", "h": "hour", "d": "day", "mo": "month"}
_WEEK_DAYS, _MONTH_DAYS = 7, 28
"""The least days of a budget that becomes one of a week or of a month."""


class LiteLLMSettings:
    """The sections of a LiteLLM configuration, without its list of models.

    `lab_by_group` has the lab of each group of models.
    """

    def __init__(self, config: Part, draft: ConfigDraft, lab_by_group: Mapping[str, str]) -> None:
        self._config = config
        self._draft = draft
        self._lab_by_group = lab_by_group
        self._own_targets = {lab: list(draft.labs[lab]["smart"]) for lab in lab_by_group.values()}
        """The targets of each group's lab, before fallbacks add others."""

    def convert_library(self) -> None:
        """Convert `litellm_settings`."""
        part, path = as_mapping(self._config.get("litellm_settings")), ("litellm_settings",)
        self._convert_fallbacks(part, path)
        if "cache" in part or "cache_params" in part:
            self._convert_cache(part, path)
        else:
            self._draft.cache = {"ttl": "0s"}
        max_budget, period = part.get("max_budget"), as_text(part.get("budget_duration"))
        if (amount := parse_usd(max_budget)) is not None:
            self._add_budget("all", amount, period, {}, (*path, "max_budget"))
        reasons = {"drop_params": DROP_PARAMS_REASON, "num_retries": RETRIES_REASON}
        callbacks_reason = (
            "Metrics are at /metrics, costs in the ledger. Set `traces.endpoint` to export traces."
        )
        reasons["allowed_fails"] = "The gateway skips a failing target by itself."
        reasons |= dict.fromkeys(
            ("success_callback", "failure_callback", "callbacks"), callbacks_reason
        )
        self._convert_timeout(part.get("request_timeout"), (*path, "request_timeout"))
        known_names = _FALLBACK_SETTINGS | {
            "cache",
            "cache_params",
            "max_budget",
            "budget_duration",
        }
        known_names |= {"request_timeout"}
        for name in part.keys() - known_names:
            self._draft.add_note(
                "dropped", (*path, name), reasons.get(name, "The gateway has no such setting.")
            )

    def convert_router(self) -> None:
        """Convert `router_settings`."""
        part, path = as_mapping(self._config.get("router_settings")), ("router_settings",)
        self._convert_fallbacks(part, path)
        for name, value in as_mapping(part.get("model_group_alias")).items():
            group = as_text(as_mapping(value).get("model") if isinstance(value, dict) else value)
            if group in self._lab_by_group:
                self._draft.add_alias(name, f"{self._lab_by_group[group]}/smart", path)
                self._draft.add_note(
                    "kept",
                    (*path, "model_group_alias", name),
                    f"Clients that ask for this name get {group}.",
                )
            else:
                self._draft.add_note(
                    "dropped", (*path, "model_group_alias", name), "It names no imported model."
                )
        self._convert_redis(part, path)
        self._convert_timeout(part.get("timeout"), (*path, "timeout"))
        tags = as_mapping(part.get("tag_budget_config"))
        for name, value in tags.items():
            budget = as_mapping(value)
            if (
                amount := parse_usd(budget.get("budget_limit") or budget.get("max_budget"))
            ) is not None:
                period = as_text(budget.get("time_period") or budget.get("budget_duration"))
                budget_path = (*path, "tag_budget_config", name)
                self._add_budget(
                    f"tag {name}", amount, period, {"tag": strip_variables(name)}, budget_path
                )
        strategy_reason = (
            "The gateway tries targets in order, and skips a slow or failing one by itself."
        )
        reasons = dict.fromkeys(
            ("routing_strategy", "allowed_fails", "cooldown_time", "enable_pre_call_checks"),
            strategy_reason,
        )
        reasons |= {"num_retries": RETRIES_REASON, "retry_policy": RETRIES_REASON}
        reasons["provider_budget_config"] = "Budgets count keys, tags and tiers, not providers."
        known_names = _FALLBACK_SETTINGS | {
            "redis_host",
            "redis_port",
            "redis_password",
            "redis_url",
        }
        known_names |= {"model_group_alias", "timeout", "tag_budget_config"}
        for name in part.keys() - known_names:
            self._draft.add_note(
                "dropped", (*path, name), reasons.get(name, "The gateway has no such setting.")
            )

    def _convert_fallbacks(self, part: Part, path: Path) -> None:
        for name in ("fallbacks", "context_window_fallbacks"):
            for index, row in enumerate(as_list(part.get(name))):
                for group, fallbacks in as_mapping(row).items():
                    self._add_fallbacks(group, as_list(fallbacks), (*path, name, index))
            if name == "context_window_fallbacks" and part.get(name):
                effect = (
                    "They become fallbacks. The gateway skips a target whose `context` is small."
                )
                self._draft.add_note("changed", (*path, name), effect)
        fallbacks = as_list(part.get("default_fallbacks"))
        for group in self._lab_by_group if fallbacks else ():
            self._add_fallbacks(
                group,
                [fallback for fallback in fallbacks if fallback != group],
                (*path, "default_fallbacks"),
            )
        if part.get("content_policy_fallbacks"):
            effect = "A refusal is an answer: the gateway asks no other target."
            self._draft.add_note("dropped", (*path, "content_policy_fallbacks"), effect)

    def _add_fallbacks(self, group: str, fallbacks: list[object], path: Path) -> None:
        if group not in self._lab_by_group:
            self._draft.add_note("dropped", path, f"No imported model has the name {group!r}.")
            return
        lab = self._draft.labs[self._lab_by_group[group]]
        for fallback in fallbacks:
            fallback_lab = self._lab_by_group.get(str(fallback))
            if fallback_lab is None or fallback_lab == self._lab_by_group[group]:
                self._draft.add_note(
                    "dropped", path, f"{group}: no other imported model has the name {fallback!r}."
                )
                continue
            # The targets go behind the lab's own, because a call that names a lab never moves to
            # another lab.
            for tier in TIERS:
                lab[tier] = drop_duplicates([*lab[tier], *self._own_targets[fallback_lab]])
            self._draft.add_note("kept", path, f"{group} falls back to {fallback}.")

    def _convert_cache(self, part: Part, path: Path) -> None:
        params = as_mapping(part.get("cache_params"))
        if part.get("cache") in (False, None):
            self._draft.cache = {"ttl": "0s"}
            self._draft.add_note("kept", (*path, "cache"), "The cache is off.")
            return
        ttl = parse_seconds(params.get("ttl")) or 3600.0
        self._draft.cache = {"default": "on", "ttl": format_duration(ttl), "scope": "all"}
        self._draft.add_note(
            "kept",
            (*path, "cache"),
            f"The cache answers equal requests for {ttl:g} s. All keys share it.",
        )
        kind = as_text(params.get("type"))
        if "semantic" in kind:
            self._draft.add_note(
                "changed",
                (*path, "cache_params", "type"),
                "The cache answers equal requests, not similar ones.",
            )
        elif kind not in ("", "local", "redis"):
            self._draft.add_note(
                "changed",
                (*path, "cache_params", "type"),
                f"{kind}: the cache is in memory, or in Redis.",
            )
        self._convert_redis(
            {f"redis_{name}": value for name, value in params.items()}, (*path, "cache_params")
        )

    def _convert_redis(self, part: Mapping[str, object], path: Path) -> None:
        if (full_url := part.get("redis_url")) is not None and parse_reference(full_url) is None:
            url = as_text(full_url)
        elif isinstance(host := part.get("redis_host"), str) and re.fullmatch(
            r"[A-Za-z0-9.-]+", host
        ):
            url = f"redis://{host}:{parse_count(part.get('redis_port'), 65_535) or 6379}"
        elif full_url is not None or part.get("redis_host") is not None:
            self._draft.add_note(
                "changed", path, "Set REDIS_URL in the environment to the address of Redis."
            )
            return
        else:
            return
        password = as_text(part.get("redis_password"))
        if url and "REDIS_URL" not in self._draft.environ:
            self._draft.environ["REDIS_URL"] = "".join(char for char in url if char.isprintable())
            if "@" in url:
                self._draft.secret_names.add("REDIS_URL")
            password_note = " Add the password: redis://:PASSWORD@host." if password else ""
            self._draft.add_note(
                "changed", path, f"The address of Redis moves to REDIS_URL in .env.{password_note}"
            )

    def _add_budget(self, name: str, amount: float, period: str, scope: Part, path: Path) -> None:
        match = re.fullmatch(r"(\d+)\s*(s|m|h|d|mo)", period.strip())
        window = _WINDOW_BY_UNIT[match[2]] if match else "total"
        if match and match[2] == "d" and int(match[1]) >= _WEEK_DAYS:
            window = "month" if int(match[1]) >= _MONTH_DAYS else "week"
        written = match[0].replace(" ", "") if match else ""
        is_exact = written in ("60s", "1m", "1h", "1d", "7d", "30d", "1mo")
        self._draft.budgets.append(
            {"name": strip_variables(name), "usd": amount, "every": window, **scope}
        )
        fate, period_note = (
            ("kept", "") if is_exact else ("changed", f" in place of {period or 'no period'!r}")
        )
        self._draft.add_note(
            "kept" if fate == "kept" else "changed",
            path,
            f"{amount:g} USD a {window}{period_note}.",
        )

    def _convert_timeout(self, value: object, path: Path) -> None:
        if value is None:
            return
        timeout_seconds = parse_seconds(value)
        if timeout_seconds is None:
            self._draft.add_note("dropped", path, "This is not a number of seconds.")
            return
        for part in self._draft.providers.values():
            part.setdefault("timeouts", {"total": format_duration(timeout_seconds)})
        self._draft.add_note(
            "kept",
            path,
            f"The gateway waits up to {timeout_seconds:g} s for a whole answer of a provider.",
        )

    def convert_general(self) -> None:
        """Convert `general_settings`."""
        part, path = as_mapping(self._config.get("general_settings")), ("general_settings",)
        if (master_key := part.get("master_key")) is not None:
            key_path, variable = (*path, "master_key"), parse_reference(master_key)
            if variable is None and isinstance(master_key, str) and master_key.strip():
                self._draft.environ["TIERGATE_ADMIN_KEY"] = master_key.strip()
                self._draft.secret_names.add("TIERGATE_ADMIN_KEY")
                digest = hashlib.sha256(master_key.strip().encode("utf-8", "replace")).hexdigest()
                self._draft.environ["TIERGATE_KEYS"] = f"litellm-master={digest}"
                effect = "It opens /admin (TIERGATE_ADMIN_KEY) and calls (hash in TIERGATE_KEYS)."
                self._draft.add_note("changed", key_path, effect)
            else:
                name = variable or "master_key"
                self._draft.add_note(
                    "changed", key_path, f"Set TIERGATE_ADMIN_KEY to the value of {name}."
                )
        max_calls = parse_count(part.get("max_parallel_requests")) or parse_count(
            part.get("global_max_parallel_requests")
        )
        if max_calls is not None:
            self._draft.limits.append({"name": "all", "concurrency": max_calls})
            self._draft.add_note(
                "kept", path, f"The gateway runs at most {max_calls} calls at a time."
            )
        reasons = {
            "database_url": _DATABASE_REASON,
            "store_model_in_db": _DATABASE_REASON,
            "alerting": "Set `alerts.webhook` in its place.",
        }
        known_names = {"master_key", "max_parallel_requests", "global_max_parallel_requests"}
        for name in part.keys() - known_names:
            self._draft.add_note(
                "dropped", (*path, name), reasons.get(name, "The gateway has no such setting.")
            )

    def convert_variables(self) -> None:
        """Convert `environment_variables`, which move to the .env file."""
        for name, value in as_mapping(self._config.get("environment_variables")).items():
            path = ("environment_variables", name)
            if not VARIABLE_NAME_PATTERN.fullmatch(name) or not isinstance(
                value, str | int | float
            ):
                self._draft.add_note(
                    "dropped", path, "This is not a variable with a text or a number."
                )
                continue
            self._draft.environ.setdefault(
                name, "".join(char for char in str(value) if char.isprintable())
            )
            self._draft.secret_names.add(name)
            self._draft.add_note("changed", path, "The variable moves to .env.")
