"""Portkey's configs (JSON): strategies and targets become labs, aliases and rules."""

import re

from gateway.core.target import TIERS, Tier
from gateway.importers import providers
from gateway.importers.draft import (
    ConfigDraft,
    DraftTarget,
    Part,
    count,
    mapping,
    plain,
    rows,
    safe,
    seconds,
    span,
    text,
    variable_name,
)
from gateway.importers.providers import ShippedProviders
from gateway.settings.errors import Path

_BRACES = re.compile(r"\{\{\s*([A-Za-z_]\w*)\s*\}\}|\$\{?([A-Za-z_]\w*)\}?")
_SIGNS = {"$and": "all", "$or": "any"}
_WHY = {
    "retry": "`retry` has what can be set; all else has a budget, not a number.",
    "input_guardrails": "is not carried over: guards of rules.yaml read prompts by patterns.",
    "output_guardrails": "is not carried over: answers are not read.",
    "before_request_hooks": "is not carried over.",
    "after_request_hooks": "is not carried over.",
    "forward_headers": "is not carried over: which headers go on is fixed.",
    "on_status_codes": "which problems lead to another target is fixed, and told in the documents.",
}
_LEAF = frozenset(
    {
        "provider", "api_key", "virtual_key", "override_params", "custom_host", "weight", "name",
        "cache", "request_timeout", "strategy", "targets",
    }
)  # fmt: skip

type Rows = dict[Tier, list[DraftTarget]]


class PortkeyConfig:
    """One such config."""

    def __init__(self, config: Part, draft: ConfigDraft, shipped: ShippedProviders) -> None:
        self._config = config
        self._draft = draft
        self._shipped = shipped
        self._named: dict[str, str] = {}
        """Labs of targets by their names."""

    def convert(self) -> None:
        """Fill the draft."""
        self._draft.cache = {"ttl": "0s"}
        found = self._node(_snake(self._config), ())
        if any(found.values()):
            main = self._draft.lab(
                "main", found, "What `auto`, bare tiers and the client's models go to."
            )
            self._draft.default = {"lab": main, "tier": "smart"}

    def _node(self, node: Part, path: Path) -> Rows:
        """The targets below a node, in the order in which they are tried."""
        strategy = _snake(mapping(node.get("strategy")))
        mode = text(strategy.get("mode")) or ("fallback" if node.get("targets") else "single")
        self._around(node, path)
        if strategy.get("on_status_codes"):
            self._draft.note(
                "dropped", (*path, "strategy", "on_status_codes"), _WHY["on_status_codes"]
            )
        targets = [
            (_snake(mapping(one)), (*path, "targets", at))
            for at, one in enumerate(rows(node.get("targets")))
        ]
        if not targets:
            return self._leaf(node, path)
        if mode == "conditional":
            return self._conditional(strategy, targets, path)
        if mode == "loadbalance":
            targets.sort(key=lambda one: -_weight(one[0]))
            told = "targets are tried in order, the heaviest first; shares are not kept."
            self._draft.note("changed", (*path, "strategy"), told)
        elif mode in ("fallback", "single"):
            self._draft.note("kept", (*path, "strategy"), "targets are tried in their order.")
        else:
            self._draft.note("changed", (*path, "strategy"), f"{mode!r} is taken for a fallback.")
        return self._together([self._node(*one) for one in targets])

    def _together(self, parts: list[Rows]) -> Rows:
        return {tier: [one for part in parts for one in part[tier]] for tier in TIERS}

    def _around(self, node: Part, path: Path) -> None:
        cache = mapping(node.get("cache"))
        if cache:
            mode, age = text(cache.get("mode")), seconds(cache.get("max_age")) or 3600.0
            self._draft.cache = {"default": "on", "ttl": span(age), "scope": "all"}
            fate = "changed" if mode == "semantic" else "kept"
            more = ": equal requests only, not alike ones" if mode == "semantic" else ""
            self._draft.note(
                "changed" if fate == "changed" else "kept", (*path, "cache"), f"{age:g} s{more}."
            )
        for name in node:
            if name not in _LEAF:
                why = _WHY.get(name, "is not carried over: this gateway has nothing of that name.")
                self._draft.note("dropped", (*path, name), why)

    def _leaf(self, node: Part, path: Path) -> Rows:
        params = mapping(node.get("override_params"))
        word, model = text(node.get("provider")), text(params.pop("model", None))
        slug_ = text(node.get("virtual_key")) or word.removeprefix("@")
        if model.startswith("@"):
            slug_, _, model = model[1:].partition("/")
        host = _host(word) or _host(slug_)
        if not host and node.get("custom_host"):
            host = "openai"
        if not host:
            self._draft.note(
                "dropped", path, f"no such host ships: {word or slug_ or 'no provider'}."
            )
            return {tier: [] for tier in TIERS}
        provider = self._provider(host, slug_ if slug_ != word else "", node, path)
        most = count(params.pop("max_tokens", None)) or count(
            params.pop("max_completion_tokens", None)
        )
        given = mapping(safe(params))
        if given:
            told = "is sent with every call of this target, in place of what a client says."
            self._draft.note("changed", (*path, "override_params"), f"{', '.join(given)} {told}")
        if model:
            self._draft.models |= self._shipped.facts(model)
            self._draft.note("kept", path, f"{provider}/{plain(model)}.")
            one = DraftTarget(provider, plain(model), most, given)
            return {tier: [one] for tier in TIERS}
        return self._open(host, provider, DraftTarget(provider, "", most, given), path)

    def _open(self, host: str, provider: str, like: DraftTarget, path: Path) -> Rows:
        """A target whose model is the client's: those that ship, by tier."""
        found: Rows = {tier: [] for tier in TIERS}
        for tier, model in self._shipped.targets(host):
            place = next(one for one in TIERS if one == tier)
            if len(found[place]) < 1:
                found[place].append(DraftTarget(provider, model, like.max_output, like.params))
                self._draft.models |= self._shipped.facts(model)
        told = ", ".join(f"{tier} {row[0].model}" for tier, row in found.items() if row)
        if told:
            text_ = f"names no model: those that ship of {host} are taken, {told}; add others."
            self._draft.note("changed", path, text_)
        else:
            self._draft.note("dropped", path, f"names no model, and none ships of {host}.")
        return found

    def _provider(self, host: str, slug_: str, node: Part, path: Path) -> str:
        key = node.get("api_key")
        refers = _reference(key)
        part = self._shipped.provider(host)
        url = text(node.get("custom_host")).rstrip("/") or None
        if url is not None and not providers.is_url(plain(url)):
            self._draft.note(
                "dropped", (*path, "custom_host"), "is no URL of HTTP: write one there."
            )
            url = "https://unset.invalid"
        elif url is not None:
            self._draft.note("kept", (*path, "custom_host"), plain(url))
            if host == "openai":
                part = {"dialects": {"openai-chat": "/chat/completions"}, "refuses": ["store"]}
        if key is None and slug_:
            refers = variable_name(slug_)
            where = (*path, "virtual_key" if node.get("virtual_key") else "provider")
            self._draft.note(
                "changed", where, f"the key is in Portkey's vault: set {refers} to it."
            )
        elif key is None and url is None:
            refers = self._shipped.account(host) or None
        credential = self._draft.variable(key, host, (*path, "api_key"), refers=refers)
        if credential is None and host not in providers.LOCAL:
            part["auth"] = "none"
        total = seconds(node.get("request_timeout"), 1000.0)
        timers = {"timeouts": {"total": span(total)}} if total else {}
        if total:
            self._draft.note("kept", (*path, "request_timeout"), f"{total:g} s for a whole answer.")
        made = providers.merged(
            part, {"base_url": url}, providers.account(host, credential), timers
        )
        return self._draft.provider(host, made)

    def _conditional(self, strategy: Part, targets: list[tuple[Part, Path]], path: Path) -> Rows:
        found = {
            text(one.get("name")) or f"target {at}": self._node(one, here)
            for at, (one, here) in enumerate(targets)
        }
        for name, tiers in found.items():
            if any(tiers.values()):
                self._named[name] = self._draft.lab(name, tiers)
        for at, row in enumerate(rows(strategy.get("conditions"))):
            here: Path = (*path, "strategy", "conditions", at)
            part = mapping(row)
            lab = self._named.get(text(part.get("then")))
            if lab is None:
                self._draft.note(
                    "dropped", here, f"leads to {part.get('then')!r}, which is no target."
                )
            else:
                self._condition(mapping(part.get("query")), lab, here)
        told = "targets with names are labs, conditions are rules or aliases."
        self._draft.note("kept", (*path, "strategy", "mode"), told)
        default = text(strategy.get("default"))
        chosen = found.get(default) or next(iter(found.values()))
        self._draft.note(
            "kept", (*path, "strategy", "default"), f"{default or 'the first'} is the default."
        )
        return chosen

    def _condition(self, query: Part, lab: str, path: Path) -> None:
        """A rule, or an alias where the model is asked for: a name is a pin, before all rules."""
        if set(query) == {"params.model"} and (names := _equals(query["params.model"])):
            for name in names:
                self._draft.alias(name, f"{lab}/smart", path)
            told = f"clients that ask for {', '.join(names)} go to {lab}."
            self._draft.note("kept", path, told)
            return
        when = self._when(query, path)
        if when is None:
            self._draft.note(
                "dropped", path, "has what no condition here says; write a rule for it."
            )
            return
        tags = sorted(_tags(when))
        name = f"condition {len(self._draft.choices) + 1}"
        self._draft.choices.append({"name": name, "when": when, "lab": lab})
        said = ", ".join(tags)
        told = f"the rule {name!r}: clients say {said} in x-tiergate-tags, not as metadata."
        self._draft.note("changed", path, told)

    def _when(self, query: Part, path: Path) -> Part | None:
        """A condition of a query, None where it has no counterpart."""
        parts: list[Part] = []
        for name, value in query.items():
            if name in _SIGNS:
                inner = [self._when(mapping(one), path) for one in rows(value)]
                if not inner or None in inner:
                    return None
                parts.append({_SIGNS[name]: inner})
            elif name.startswith("metadata.") and (words := _equals(value)):
                key = name.removeprefix("metadata.")
                parts.append({"tag": [plain(f"{key}={word}") for word in words]})
            else:
                return None
        if not parts:
            return None
        return parts[0] if len(parts) == 1 else {"all": parts}


def _tags(when: Part) -> set[str]:
    found = set(when.get("tag", ()))
    for name in ("any", "all"):
        for one in when.get(name, ()):
            found |= _tags(one)
    return found


def _equals(value: object) -> list[str]:
    """The texts that a condition compares with, empty where it does something else."""
    if isinstance(value, str):
        return [value] if value.strip() else []
    part = mapping(value)
    if set(part) == {"$eq"}:
        return _equals(part["$eq"])
    if set(part) == {"$in"}:
        words = rows(part["$in"])
        return [one for one in words if isinstance(one, str) and one.strip()]
    return []


def _host(word: str) -> str:
    """The shipped provider that a name or a slug means."""
    name = word.removeprefix("@").lower()
    if name in providers.NAMES:
        return providers.NAMES[name]
    starts = [one for one in providers.NAMES if re.match(rf"{re.escape(one)}\b", name)]
    return providers.NAMES[max(starts, key=len)] if starts else ""


def _reference(value: object) -> str | None:
    found = _BRACES.fullmatch(value.strip()) if isinstance(value, str) else None
    return (found[1] or found[2]) if found else None


def _weight(part: Part) -> float:
    value = part.get("weight")
    return float(value) if isinstance(value, int | float) and value == value else 1.0  # noqa: PLR0124


def _snake(part: Part) -> Part:
    """Portkey takes camelCase too."""
    return {re.sub(r"(?<=[a-z])([A-Z])", r"_\1", name).lower(): one for name, one in part.items()}
