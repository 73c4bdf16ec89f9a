"""The settings of LiteLLM's configuration beside its models: fallbacks, cache, budgets, keys."""

import hashlib
import re
from collections.abc import Mapping

from gateway.core.target import TIERS
from gateway.importers.draft import (
    ConfigDraft,
    Part,
    count,
    mapping,
    once,
    plain,
    rows,
    seconds,
    span,
    text,
)
from gateway.importers.litellm_format import NAME, reference, usd
from gateway.settings.errors import Path

RETRIES = "`retry` has what can be set; all else has a budget, not a number."
DROPS = "is the rule here: what a model cannot take is dropped and named."
_FALLBACKS = frozenset(
    {"fallbacks", "default_fallbacks", "context_window_fallbacks", "content_policy_fallbacks"}
)
_DATABASE = (
    "keys are in a file and costs in a store of its own: make keys with `tiergate keys add`."
)
_TIMES = {"s": "total", "m": "total", "h": "hour", "d": "day", "mo": "month"}


class LiteLLMSettings:
    """All but the list of models. `places` has the lab of each group."""

    def __init__(self, config: Part, draft: ConfigDraft, places: Mapping[str, str]) -> None:
        self._config = config
        self._draft = draft
        self._places = places
        self._own = {lab: list(draft.labs[lab]["smart"]) for lab in places.values()}
        """The targets of each group before any fall back to others."""

    def library(self) -> None:
        """Those of `litellm_settings`."""
        part, path = mapping(self._config.get("litellm_settings")), ("litellm_settings",)
        self._fallbacks(part, path)
        if "cache" in part or "cache_params" in part:
            self._cache(part, path)
        else:
            self._draft.cache = {"ttl": "0s"}
        amount_, every = part.get("max_budget"), text(part.get("budget_duration"))
        if (amount := usd(amount_)) is not None:
            self._budget("all", amount, every, {}, (*path, "max_budget"))
        why = {"drop_params": DROPS, "num_retries": RETRIES}
        callbacks = "figures are at /metrics and in the ledger; traces go out by `traces.endpoint`."
        why["allowed_fails"] = "a failing target goes out of its turn by itself."
        why |= dict.fromkeys(("success_callback", "failure_callback", "callbacks"), callbacks)
        self._timeout(part.get("request_timeout"), (*path, "request_timeout"))
        known = _FALLBACKS | {"cache", "cache_params", "max_budget", "budget_duration"}
        known |= {"request_timeout"}
        for name in part.keys() - known:
            self._draft.note("dropped", (*path, name), why.get(name, "is not carried over."))

    def router(self) -> None:
        """Those of `router_settings`."""
        part, path = mapping(self._config.get("router_settings")), ("router_settings",)
        self._fallbacks(part, path)
        for name, value in mapping(part.get("model_group_alias")).items():
            group = text(mapping(value).get("model") if isinstance(value, dict) else value)
            if group in self._places:
                self._draft.alias(name, f"{self._places[group]}/smart", path)
                self._draft.note("kept", (*path, "model_group_alias", name), f"leads to {group}.")
            else:
                self._draft.note(
                    "dropped", (*path, "model_group_alias", name), "leads to no group."
                )
        self._redis(part, path)
        self._timeout(part.get("timeout"), (*path, "timeout"))
        tags = mapping(part.get("tag_budget_config"))
        for name, value in tags.items():
            told = mapping(value)
            if (amount := usd(told.get("budget_limit") or told.get("max_budget"))) is not None:
                every = text(told.get("time_period") or told.get("budget_duration"))
                here = (*path, "tag_budget_config", name)
                self._budget(f"tag {name}", amount, every, {"tag": plain(name)}, here)
        strategy = (
            "targets are tried in order; a slow or failing one goes out of its turn by itself."
        )
        why = dict.fromkeys(
            ("routing_strategy", "allowed_fails", "cooldown_time", "enable_pre_call_checks"),
            strategy,
        )
        why |= {"num_retries": RETRIES, "retry_policy": RETRIES}
        why["provider_budget_config"] = "budgets count keys, tags and tiers, not providers."
        known = _FALLBACKS | {"redis_host", "redis_port", "redis_password", "redis_url"}
        known |= {"model_group_alias", "timeout", "tag_budget_config"}
        for name in part.keys() - known:
            self._draft.note("dropped", (*path, name), why.get(name, "is not carried over."))

    def _fallbacks(self, part: Part, path: Path) -> None:
        for name in ("fallbacks", "context_window_fallbacks"):
            for at, row in enumerate(rows(part.get(name))):
                for group, others in mapping(row).items():
                    self._fall(group, rows(others), (*path, name, at))
            if name == "context_window_fallbacks" and part.get(name):
                told = (
                    "is a fallback like others; a target whose `context` is too small is skipped."
                )
                self._draft.note("changed", (*path, name), told)
        others = rows(part.get("default_fallbacks"))
        for group in self._places if others else ():
            self._fall(group, [one for one in others if one != group], (*path, "default_fallbacks"))
        if part.get("content_policy_fallbacks"):
            told = "a refusal is an answer: no other target is asked."
            self._draft.note("dropped", (*path, "content_policy_fallbacks"), told)

    def _fall(self, group: str, others: list[object], path: Path) -> None:
        if group not in self._places:
            self._draft.note("dropped", path, f"{group!r} is no group that was kept.")
            return
        lab = self._draft.labs[self._places[group]]
        for other in others:
            place = self._places.get(str(other))
            if place is None or place == self._places[group]:
                self._draft.note("dropped", path, f"{group}: {other!r} is no other group.")
                continue
            # Behind its own: a call that names a lab is lent to no other.
            for tier in TIERS:
                lab[tier] = once([*lab[tier], *self._own[place]])
            self._draft.note("kept", path, f"{group} falls back to {other}.")

    def _cache(self, part: Part, path: Path) -> None:
        told = mapping(part.get("cache_params"))
        if part.get("cache") in (False, None):
            self._draft.cache = {"ttl": "0s"}
            self._draft.note("kept", (*path, "cache"), "no cache.")
            return
        ttl = seconds(told.get("ttl")) or 3600.0
        self._draft.cache = {"default": "on", "ttl": span(ttl), "scope": "all"}
        self._draft.note(
            "kept", (*path, "cache"), f"{ttl:g} s, of equal requests, shared by all keys."
        )
        kind = text(told.get("type"))
        if "semantic" in kind:
            self._draft.note(
                "changed", (*path, "cache_params", "type"), "equal requests only, not alike ones."
            )
        elif kind not in ("", "local", "redis"):
            self._draft.note(
                "changed", (*path, "cache_params", "type"), f"{kind}: it is in memory, or in Redis."
            )
        self._redis({f"redis_{name}": one for name, one in told.items()}, (*path, "cache_params"))

    def _redis(self, part: Mapping[str, object], path: Path) -> None:
        if (whole := part.get("redis_url")) is not None and reference(whole) is None:
            url = text(whole)
        elif isinstance(host := part.get("redis_host"), str) and re.fullmatch(
            r"[A-Za-z0-9.-]+", host
        ):
            url = f"redis://{host}:{count(part.get('redis_port'), 65_535) or 6379}"
        elif whole is not None or part.get("redis_host") is not None:
            self._draft.note(
                "changed", path, "Redis is named by REDIS_URL in the environment: set it."
            )
            return
        else:
            return
        secret = text(part.get("redis_password"))
        if url and "REDIS_URL" not in self._draft.environ:
            self._draft.environ["REDIS_URL"] = "".join(sign for sign in url if sign.isprintable())
            if "@" in url:
                self._draft.secret.add("REDIS_URL")
            more = " with its password, as redis://:PASSWORD@host" if secret else ""
            self._draft.note("changed", path, f"Redis moves to REDIS_URL in the environment{more}.")

    def _budget(self, name: str, amount: float, every: str, more: Part, path: Path) -> None:
        match = re.fullmatch(r"(\d+)\s*(s|m|h|d|mo)", every.strip())
        window = _TIMES[match[2]] if match else "total"
        if match and match[2] == "d" and int(match[1]) >= 28:
            window = "month"
        exact = match is not None and (match[1] == "1" or (match[2] == "d" and match[1] == "30"))
        self._draft.budgets.append({"name": plain(name), "usd": amount, "every": window, **more})
        fate, told = (
            ("kept", "") if exact else ("changed", f" in place of {every or 'no period'!r}")
        )
        self._draft.note(
            "kept" if fate == "kept" else "changed", path, f"{amount:g} USD a {window}{told}."
        )

    def _timeout(self, value: object, path: Path) -> None:
        if value is None:
            return
        total = seconds(value)
        if total is None:
            self._draft.note("dropped", path, "is no number of seconds.")
            return
        for part in self._draft.providers.values():
            part.setdefault("timeouts", {"total": span(total)})
        self._draft.note("kept", path, f"{total:g} s for a whole answer of each provider.")

    def general(self) -> None:
        """Those of `general_settings`."""
        part, path = mapping(self._config.get("general_settings")), ("general_settings",)
        if (master := part.get("master_key")) is not None:
            here, refers = (*path, "master_key"), reference(master)
            if refers is None and isinstance(master, str) and master.strip():
                self._draft.environ["TIERGATE_ADMIN_KEY"] = master.strip()
                self._draft.secret.add("TIERGATE_ADMIN_KEY")
                digest = hashlib.sha256(master.strip().encode("utf-8", "replace")).hexdigest()
                self._draft.environ["TIERGATE_KEYS"] = f"litellm-master={digest}"
                told = "opens /admin (TIERGATE_ADMIN_KEY), and calls (its hash in TIERGATE_KEYS)."
                self._draft.note("changed", here, told)
            else:
                name = refers or "master_key"
                self._draft.note("changed", here, f"set TIERGATE_ADMIN_KEY to what {name} is.")
        most = count(part.get("max_parallel_requests")) or count(
            part.get("global_max_parallel_requests")
        )
        if most is not None:
            self._draft.limits.append({"name": "all", "concurrency": most})
            self._draft.note("kept", path, f"{most} calls at a time.")
        why = {
            "database_url": _DATABASE,
            "store_model_in_db": _DATABASE,
            "alerting": "see `alerts.webhook`.",
        }
        known = {"master_key", "max_parallel_requests", "global_max_parallel_requests"}
        for name in part.keys() - known:
            self._draft.note("dropped", (*path, name), why.get(name, "is not carried over."))

    def variables(self) -> None:
        """`environment_variables`, which move to .env."""
        for name, value in mapping(self._config.get("environment_variables")).items():
            here = ("environment_variables", name)
            if not NAME.fullmatch(name) or not isinstance(value, str | int | float):
                self._draft.note("dropped", here, "is no variable.")
                continue
            self._draft.environ.setdefault(name, "".join(s for s in str(value) if s.isprintable()))
            self._draft.secret.add(name)
            self._draft.note("changed", here, "moves to .env.")
