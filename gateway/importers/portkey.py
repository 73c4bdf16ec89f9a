"""The importer of Portkey's configs (JSON).

Strategies and targets become labs, aliases and rules.
"""

import re

from gateway.core.target import TIERS, Tier
from gateway.importers import providers
from gateway.importers.draft import (
    ConfigDraft,
    DraftTarget,
    Part,
    as_list,
    as_mapping,
    as_text,
    format_duration,
    make_variable_name,
    parse_count,
    parse_seconds,
    sanitize_param,
    strip_variables,
)
from gateway.importers.providers import ShippedProviders
from gateway.settings.errors import Path

_REFERENCE_PATTERN = re.compile(r"\{\{\s*([A-Za-z_]\w*)\s*\}\}|\$\{?([A-Za-z_]\w*)\}?")
_OPERATORS = {"$and": "all", "$or": "any"}
_DROP_REASONS = {
    "retry": "Set retries of the same target in `retry`. A budget bounds all others.",
    "input_guardrails": "Write guards in rules.yaml: they match prompts by pattern.",
    "output_guardrails": "The gateway does not check the text of answers.",
    "before_request_hooks": "The gateway runs no hooks.",
    "after_request_hooks": "The gateway runs no hooks.",
    "forward_headers": "The gateway has a fixed list of headers that it forwards.",
    "on_status_codes": "The gateway has fixed reasons to try another target (docs/failure.md).",
}
_CONVERTED_KEYS = frozenset(
    {
        "provider", "api_key", "virtual_key", "override_params", "custom_host", "weight", "name",
        "cache", "request_timeout", "strategy", "targets",
    }
)  # fmt: skip

type TierTargets = dict[Tier, list[DraftTarget]]


class PortkeyConfig:
    """A Portkey config that is converted into a draft."""

    def __init__(self, config: Part, draft: ConfigDraft, shipped: ShippedProviders) -> None:
        self._config = config
        self._draft = draft
        self._shipped = shipped
        self._lab_by_target: dict[str, str] = {}
        """The labs of targets, by the names of the targets."""

    def convert(self) -> None:
        """Fill the draft."""
        self._draft.cache = {"ttl": "0s"}
        tier_targets = self._convert_node(_to_snake_case(self._config), ())
        if any(tier_targets.values()):
            main_lab = self._draft.add_lab(
                "main", tier_targets, "The lab for `auto`, bare tier names and the client's models."
            )
            self._draft.default = {"lab": main_lab, "tier": "smart"}

    def _convert_node(self, node: Part, path: Path) -> TierTargets:
        """Return the targets below a node by tier, in the order in which the gateway tries them."""
        strategy = _to_snake_case(as_mapping(node.get("strategy")))
        mode = as_text(strategy.get("mode")) or ("fallback" if node.get("targets") else "single")
        self._convert_settings(node, path)
        if strategy.get("on_status_codes"):
            self._draft.add_note(
                "dropped", (*path, "strategy", "on_status_codes"), _DROP_REASONS["on_status_codes"]
            )
        targets = [
            (_to_snake_case(as_mapping(item)), (*path, "targets", index))
            for index, item in enumerate(as_list(node.get("targets")))
        ]
        if not targets:
            return self._convert_target(node, path)
        if mode == "conditional":
            return self._convert_conditions(strategy, targets, path)
        if mode == "loadbalance":
            targets.sort(key=lambda item: -_get_weight(item[0]))
            effect = (
                "The gateway tries targets in order, the heaviest first, unless equal ones have a "
                "`group` and weights."
            )
            self._draft.add_note("changed", (*path, "strategy"), effect)
        elif mode in ("fallback", "single"):
            self._draft.add_note(
                "kept", (*path, "strategy"), "The gateway tries targets in their order."
            )
        else:
            self._draft.add_note(
                "changed", (*path, "strategy"), f"The import treats {mode!r} as a fallback."
            )
        return self._join_tiers([self._convert_node(*item) for item in targets])

    def _join_tiers(self, parts: list[TierTargets]) -> TierTargets:
        return {tier: [target for part in parts for target in part[tier]] for tier in TIERS}

    def _convert_settings(self, node: Part, path: Path) -> None:
        cache = as_mapping(node.get("cache"))
        if cache:
            mode, ttl = as_text(cache.get("mode")), parse_seconds(cache.get("max_age")) or 3600.0
            self._draft.cache = {"default": "on", "ttl": format_duration(ttl), "scope": "all"}
            fate = "changed" if mode == "semantic" else "kept"
            semantic_note = ", not similar ones" if mode == "semantic" else ""
            self._draft.add_note(
                "changed" if fate == "changed" else "kept",
                (*path, "cache"),
                f"For {ttl:g} s the cache answers equal requests{semantic_note}.",
            )
        for name in node:
            if name not in _CONVERTED_KEYS:
                reason = _DROP_REASONS.get(name, "The gateway has no such setting.")
                self._draft.add_note("dropped", (*path, name), reason)

    def _convert_target(self, node: Part, path: Path) -> TierTargets:
        params = as_mapping(node.get("override_params"))
        provider_name, model = as_text(node.get("provider")), as_text(params.pop("model", None))
        slug = as_text(node.get("virtual_key")) or provider_name.removeprefix("@")
        if model.startswith("@"):
            slug, _, model = model[1:].partition("/")
        host = _find_host(provider_name) or _find_host(slug)
        if not host and node.get("custom_host"):
            host = "openai"
        if not host:
            self._draft.add_note(
                "dropped",
                path,
                f"tiergate does not ship the provider {provider_name or slug or '(no name)'}.",
            )
            return {tier: [] for tier in TIERS}
        provider = self._add_provider(host, slug if slug != provider_name else "", node, path)
        max_output = parse_count(params.pop("max_tokens", None)) or parse_count(
            params.pop("max_completion_tokens", None)
        )
        sent_params = as_mapping(sanitize_param(params))
        if sent_params:
            effect = "with every call of this target, in place of the client's values."
            self._draft.add_note(
                "changed",
                (*path, "override_params"),
                f"The gateway sends {', '.join(sent_params)} {effect}",
            )
        if model:
            self._draft.models |= self._shipped.collect_facts(model)
            self._draft.add_note("kept", path, f"{provider}/{strip_variables(model)}.")
            target = DraftTarget(provider, strip_variables(model), max_output, sent_params)
            return {tier: [target] for tier in TIERS}
        return self._make_shipped_targets(
            host, provider, DraftTarget(provider, "", max_output, sent_params), path
        )

    def _make_shipped_targets(
        self, host: str, provider: str, template: DraftTarget, path: Path
    ) -> TierTargets:
        """Return the first shipped model of a provider for each tier.

        They stand for a target that names no model and takes the client's.
        """
        tier_targets: TierTargets = {tier: [] for tier in TIERS}
        for tier, model in self._shipped.iter_targets(host):
            known_tier = next(candidate for candidate in TIERS if candidate == tier)
            if len(tier_targets[known_tier]) < 1:
                tier_targets[known_tier].append(
                    DraftTarget(provider, model, template.max_output, template.params)
                )
                self._draft.models |= self._shipped.collect_facts(model)
        summary = ", ".join(
            f"{tier} {targets[0].model}" for tier, targets in tier_targets.items() if targets
        )
        if summary:
            effect = f"The target names no model. It gets shipped models of {host}: {summary}."
            self._draft.add_note("changed", path, effect)
        else:
            self._draft.add_note(
                "dropped", path, f"The target names no model, and tiergate ships none of {host}."
            )
        return tier_targets

    def _add_provider(self, host: str, slug: str, node: Part, path: Path) -> str:
        api_key = node.get("api_key")
        variable = _parse_reference(api_key)
        part = self._shipped.copy_provider(host)
        url = as_text(node.get("custom_host")).rstrip("/") or None
        if url is not None and not providers.is_url(strip_variables(url)):
            self._draft.add_note(
                "dropped",
                (*path, "custom_host"),
                "This is not an http(s) URL. Set base_url in the new file.",
            )
            url = "https://unset.invalid"
        elif url is not None:
            self._draft.add_note("kept", (*path, "custom_host"), strip_variables(url))
            if host == "openai":
                part = {"dialects": {"openai-chat": "/chat/completions"}, "refuses": ["store"]}
        if api_key is None and slug:
            variable = make_variable_name(slug)
            key_path = (*path, "virtual_key" if node.get("virtual_key") else "provider")
            self._draft.add_note(
                "changed", key_path, f"The key is in Portkey's vault. Set {variable} to it."
            )
        elif api_key is None and url is None:
            variable = self._shipped.find_variable(host) or None
        credential = self._draft.add_credential(
            api_key, host, (*path, "api_key"), named_variable=variable
        )
        if credential is None and host not in providers.LOCAL_PROVIDERS:
            part["auth"] = "none"
        timeout_seconds = parse_seconds(node.get("request_timeout"), 1000.0)
        timeouts = (
            {"timeouts": {"total": format_duration(timeout_seconds)}} if timeout_seconds else {}
        )
        if timeout_seconds:
            self._draft.add_note(
                "kept",
                (*path, "request_timeout"),
                f"The gateway waits up to {timeout_seconds:g} s for an answer.",
            )
        provider_part = providers.merge_parts(
            part, {"base_url": url}, providers.make_account(host, credential), timeouts
        )
        return self._draft.add_provider(host, provider_part)

    def _convert_conditions(
        self, strategy: Part, targets: list[tuple[Part, Path]], path: Path
    ) -> TierTargets:
        targets_by_name = {
            as_text(node.get("name")) or f"target {index}": self._convert_node(node, item_path)
            for index, (node, item_path) in enumerate(targets)
        }
        for name, tiers in targets_by_name.items():
            if any(tiers.values()):
                self._lab_by_target[name] = self._draft.add_lab(name, tiers)
        for index, row in enumerate(as_list(strategy.get("conditions"))):
            item_path: Path = (*path, "strategy", "conditions", index)
            part = as_mapping(row)
            lab = self._lab_by_target.get(as_text(part.get("then")))
            if lab is None:
                self._draft.add_note(
                    "dropped", item_path, f"No target has the name {part.get('then')!r}."
                )
            else:
                self._convert_condition(as_mapping(part.get("query")), lab, item_path)
        effect = "Targets with names are labs. Conditions are rules or aliases."
        self._draft.add_note("kept", (*path, "strategy", "mode"), effect)
        default = as_text(strategy.get("default"))
        default_targets = targets_by_name.get(default) or next(iter(targets_by_name.values()))
        self._draft.add_note(
            "kept",
            (*path, "strategy", "default"),
            f"{default or 'The first target'} is the default.",
        )
        return default_targets

    def _convert_condition(self, query: Part, lab: str, path: Path) -> None:
        """Convert a condition to a rule, or to an alias if it asks only for the model.

        An alias is right there, because a model that a client names is a pin and comes before all
        rules.
        """
        if set(query) == {"params.model"} and (names := _list_equal_texts(query["params.model"])):
            for name in names:
                self._draft.add_alias(name, f"{lab}/smart", path)
            effect = f"Clients that ask for {', '.join(names)} go to {lab}."
            self._draft.add_note("kept", path, effect)
            return
        condition = self._make_condition(query, path)
        if condition is None:
            self._draft.add_note(
                "dropped", path, "The gateway has no such condition. Write a rule for it."
            )
            return
        tags = sorted(_collect_tags(condition))
        name = f"condition {len(self._draft.choices) + 1}"
        self._draft.choices.append({"name": name, "when": condition, "lab": lab})
        tag_list = ", ".join(tags)
        effect = (
            f"It is the rule {name!r}. Clients send {tag_list} in x-tiergate-tags, not metadata."
        )
        self._draft.add_note("changed", path, effect)

    def _make_condition(self, query: Part, path: Path) -> Part | None:
        """Return the condition of a query; None if a part of it has no counterpart."""
        parts: list[Part] = []
        for name, value in query.items():
            if name in _OPERATORS:
                conditions = [
                    self._make_condition(as_mapping(subquery), path) for subquery in as_list(value)
                ]
                if not conditions or None in conditions:
                    return None
                parts.append({_OPERATORS[name]: conditions})
            elif name.startswith("metadata.") and (words := _list_equal_texts(value)):
                key = name.removeprefix("metadata.")
                parts.append({"tag": [strip_variables(f"{key}={word}") for word in words]})
            else:
                return None
        if not parts:
            return None
        return parts[0] if len(parts) == 1 else {"all": parts}


def _collect_tags(condition: Part) -> set[str]:
    tags = set(condition.get("tag", ()))
    for name in ("any", "all"):
        for part in condition.get(name, ()):
            tags |= _collect_tags(part)
    return tags


def _list_equal_texts(value: object) -> list[str]:
    """Return the texts that a condition compares with by equality; empty for other conditions."""
    if isinstance(value, str):
        return [value] if value.strip() else []
    part = as_mapping(value)
    if set(part) == {"$eq"}:
        return _list_equal_texts(part["$eq"])
    if set(part) == {"$in"}:
        words = as_list(part["$in"])
        return [word for word in words if isinstance(word, str) and word.strip()]
    return []


def _find_host(word: str) -> str:
    """Return the shipped provider that a name or a slug means; empty if there is none."""
    name = word.removeprefix("@").lower()
    if name in providers.SHIPPED_NAMES:
        return providers.SHIPPED_NAMES[name]
    prefixes = [
        prefix for prefix in providers.SHIPPED_NAMES if re.match(rf"{re.escape(prefix)}\b", name)
    ]
    return providers.SHIPPED_NAMES[max(prefixes, key=len)] if prefixes else ""


def _parse_reference(value: object) -> str | None:
    match = _REFERENCE_PATTERN.fullmatch(value.strip()) if isinstance(value, str) else None
    return (match[1] or match[2]) if match else None


def _get_weight(part: Part) -> float:
    value = part.get("weight")
    return float(value) if isinstance(value, int | float) and value == value else 1.0  # noqa: PLR0124


def _to_snake_case(part: Part) -> Part:
    """Return a part with its names in snake_case, because Portkey accepts camelCase too."""
    return {
        re.sub(r"(?<=[a-z])([A-Z])", r"_\1", name).lower(): value for name, value in part.items()
    }
