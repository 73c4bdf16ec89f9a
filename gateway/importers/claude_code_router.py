"""The importer of claude-code-router's configuration (config.json).

Its routes become tiers and rules.
"""

import hashlib
import re
from urllib.parse import urlsplit

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
    make_slug,
    parse_count,
    parse_seconds,
    sanitize_param,
    strip_variables,
)
from gateway.importers.providers import ShippedProviders
from gateway.settings.errors import Path

_VARIABLE_PATTERN = re.compile(r"\$\{?([A-Za-z_]\w*)\}?")
_LONG_CONTEXT_TOKENS = 60_000
_PIN_NOTE = (
    "A call that names a model gets that model before any rule. Set ANTHROPIC_MODEL=claude-auto."
)
_DIALECT_BY_SUFFIX = {
    "/chat/completions": ("openai-chat", "bearer"),
    "/messages": ("anthropic-messages", "x-api-key"),
    "/responses": ("openai-responses", "bearer"),
    "/v1beta/models": ("gemini", "x-goog-api-key"),
}
_TRANSFORMER_NOTES = {
    "maxtoken": "",
    "anthropic": "the gateway calls this provider in anthropic-messages.",
    "tooluse": "not needed: the gateway translates tools as they are.",
    "enhancetool": "the gateway does not repair tool arguments.",
    "reasoning": "not needed: the gateway translates reasoning.",
    "sampling": "not needed: the gateway drops and names what a model does not accept.",
    "cleancache": "not needed: the gateway leaves cache marks out if the provider has none.",
}
_HOST_TRANSFORMERS = ("deepseek", "gemini", "openrouter", "groq", "openai", "cerebras", "vercel")
_DROP_REASONS = {
    "log": "The gateway writes its log to standard error.",
    "log_level": "The gateway writes its log to standard error.",
}


class ClaudeCodeRouterConfig:
    """A claude-code-router configuration that is converted into a draft."""

    def __init__(self, config: Part, draft: ConfigDraft, shipped: ShippedProviders) -> None:
        self._config = config
        self._draft = draft
        self._shipped = shipped
        self._targets: dict[str, DraftTarget] = {}
        """The targets by `provider,model`, as routes name them."""

    def convert(self) -> None:
        """Fill the draft."""
        config = self._config
        for name in ("Providers", "providers"):
            for index, row in enumerate(as_list(config.get(name))):
                self._convert_provider(as_mapping(row), (name, index))
        router_name = next((name for name in ("Router", "router") if name in config), "Router")
        self._convert_routes(as_mapping(config.get(router_name)), (router_name,))
        self._draft.cache = {"ttl": "0s"}
        self._convert_server()
        known_names = {
            "Providers",
            "providers",
            router_name,
            "APIKEY",
            "HOST",
            "PORT",
            "API_TIMEOUT_MS",
            "PROXY_URL",
        }
        for name in config:
            if name not in known_names:
                reason = _DROP_REASONS.get(name.lower(), "The gateway has no such setting.")
                if name in ("transformers", "CUSTOM_ROUTER_PATH"):
                    reason = "The gateway runs no such code. Write rules (docs/routing.md)."
                self._draft.add_note("dropped", (name,), reason)

    def _convert_provider(self, row: Part, path: Path) -> None:
        name = as_text(row.get("name"))
        url = strip_variables(as_text(row.get("api_base_url"))).rstrip("/")
        models = [
            entry
            for entry in as_list(row.get("models"))
            if isinstance(entry, str) and entry.strip()
        ]
        if not name or not models or not providers.is_url(url):
            self._draft.add_note(
                "dropped",
                path,
                "A provider needs a name, models and an http(s) api_base_url. Add what is missing.",
            )
            return
        variable = _parse_reference(row.get("api_key"))
        host = make_slug(name)
        credential = self._draft.add_credential(
            row.get("api_key"), host, (*path, "api_key"), named_variable=variable
        )
        transformer = as_mapping(row.get("transformer"))
        part = self._describe_endpoint(url, _list_transformer_names(transformer))
        if credential is None:
            part["auth"] = "none"
        else:
            part["accounts"] = {"main": credential}
        proxy = as_text(self._config.get("PROXY_URL"))
        if proxy and not providers.is_local(url):
            if providers.is_url(strip_variables(proxy)) and "@" not in proxy:
                part["proxy"] = strip_variables(proxy)
                self._draft.add_note(
                    "kept",
                    ("PROXY_URL",),
                    "The gateway uses it for each provider that is not on this machine.",
                )
            else:
                self._draft.add_note(
                    "dropped",
                    ("PROXY_URL",),
                    "It has a password, or is no URL. Set `proxy` to a variable.",
                )
        timeout_seconds = parse_seconds(self._config.get("API_TIMEOUT_MS"), 1000.0)
        if timeout_seconds:
            part["timeouts"] = {"total": format_duration(timeout_seconds)}
            self._draft.add_note(
                "kept",
                ("API_TIMEOUT_MS",),
                f"The gateway waits up to {timeout_seconds:g} s for a whole answer of a provider.",
            )
        provider = self._draft.add_provider(host, part)
        targets: list[DraftTarget] = []
        for model in models:
            max_output, params = self._apply_transformers(transformer, model, path)
            target = DraftTarget(provider, strip_variables(model), max_output, params)
            self._targets[f"{name},{model}"] = target
            targets.append(target)
            self._draft.models |= self._shipped.collect_facts(model)
        lab = self._draft.add_lab(name, dict.fromkeys(TIERS, targets))
        for target, model in zip(targets, models, strict=True):
            self._draft.add_alias(f"{name},{model}", target.model, path)
        self._draft.add_note(
            "kept", path, f"The lab {lab} lists all models of {name} ({len(models)})."
        )

    def _describe_endpoint(self, url: str, transformer_names: list[str]) -> Part:
        """Return the base URL of a provider and its dialect, with the way it takes a key if known.

        The end of the URL tells these, else the `anthropic` transformer. Any other provider is
        taken to speak openai-chat.
        """
        for suffix, (dialect, auth) in _DIALECT_BY_SUFFIX.items():
            if url.endswith(suffix):
                base = url.removesuffix(suffix) + ("/v1beta" if dialect == "gemini" else "")
                endpoint_path = "" if dialect == "gemini" else suffix
                if dialect == "gemini":
                    base, endpoint_path = url.removesuffix("/v1beta/models"), "/v1beta"
                return {"base_url": base, "dialects": {dialect: endpoint_path}, "auth": auth}
        if any(name.lower() == "anthropic" for name in transformer_names):
            return {
                "base_url": url,
                "dialects": {"anthropic-messages": "/v1/messages"},
                "auth": "x-api-key",
            }
        url_path = urlsplit(url).path
        return {
            "base_url": url,
            "dialects": {
                "openai-chat": "/chat/completions" if url_path else "/v1/chat/completions"
            },
        }

    def _apply_transformers(
        self, transformer: Part, model: str, path: Path
    ) -> tuple[int | None, Part]:
        """Return the most tokens of an answer and the parameters that the transformers set.

        These are the transformers of the provider and of the model.
        """
        max_output: int | None = None
        params: Part = {}
        transformer_path: Path = (*path, "transformer")
        for name, options in [
            *_parse_transformers(transformer),
            *_parse_transformers(as_mapping(transformer.get(model))),
        ]:
            lower_name = name.lower()
            if lower_name == "maxtoken":
                max_output = parse_count(options.get("max_tokens")) or max_output
                if max_output:
                    self._draft.add_note(
                        "kept",
                        transformer_path,
                        f"maxtoken: an answer has at most {max_output} tokens.",
                    )
            elif lower_name == "openrouter" and isinstance(options.get("provider"), dict):
                params["provider"] = sanitize_param(options["provider"])
                self._draft.add_note(
                    "kept",
                    transformer_path,
                    "openrouter: the gateway sends the list of hosts with each call.",
                )
            elif lower_name in _TRANSFORMER_NOTES:
                self._draft.add_note(
                    "changed", transformer_path, f"{name}: {_TRANSFORMER_NOTES[lower_name]}"
                )
            elif lower_name in _HOST_TRANSFORMERS:
                self._draft.add_note(
                    "kept",
                    transformer_path,
                    f"{name}: the provider in the new file says how the gateway calls it.",
                )
            else:
                self._draft.add_note(
                    "dropped", transformer_path, f"{name}: the gateway has no such transformer."
                )
        return max_output, params

    def _convert_routes(self, router: Part, path: Path) -> None:
        target_by_route = {
            name: self._find_route_target(router, name, path)
            for name in (
                "default",
                "background",
                "think",
                "longContext",
                "webSearch",
                "image",
                "fallback",
            )
        }
        default_target = target_by_route["default"] or next(iter(self._targets.values()), None)
        if default_target is None:
            return
        fallbacks = [target for target in (target_by_route["fallback"],) if target is not None]
        tiers: dict[Tier, list[DraftTarget]] = {
            "fast": [target_by_route["background"] or default_target, *fallbacks],
            "smart": [default_target, *fallbacks],
            "reasoning": [target_by_route["think"] or default_target, *fallbacks],
        }
        about = "The routes: background is fast, default is smart, think is reasoning."
        self._draft.default = {"lab": self._draft.add_lab("main", tiers, about), "tier": "smart"}
        if target_by_route["default"]:
            self._draft.add_note(
                "kept", (*path, "default"), "It is the tier smart, and the default."
            )
        if target_by_route["background"]:
            self._draft.add_note(
                "kept",
                (*path, "background"),
                "It is the tier fast. Calls that name a haiku model go there.",
            )
        if target_by_route["think"]:
            effect = (
                "It is the tier reasoning. Calls that name an opus model, or are hard, go there."
            )
            self._draft.add_note("changed", (*path, "think"), effect)
        if target_by_route["fallback"]:
            self._draft.add_note("kept", (*path, "fallback"), "It is the last target of each tier.")
        self._add_rules(router, target_by_route, path)
        known_names = {*target_by_route, "longContextThreshold"}
        for name in router:
            if name not in known_names:
                self._draft.add_note("dropped", (*path, name), "The gateway has no such route.")

    def _add_rules(
        self, router: Part, target_by_route: dict[str, DraftTarget | None], path: Path
    ) -> None:
        threshold = parse_count(router.get("longContextThreshold")) or _LONG_CONTEXT_TOKENS
        conditions: dict[str, tuple[str, Part]] = {
            "longContext": ("long contexts", {"prompt_tokens": {"min": threshold + 1}}),
            "webSearch": ("web searches", {"tool_names": ["web_search*"]}),
            "image": ("images", {"images": True}),
        }
        for route, (name, condition) in conditions.items():
            if (target := target_by_route[route]) is None:
                continue
            self._draft.choices.append({"name": name, "when": condition, "model": target.model})
            threshold_note = f", above {threshold:,} tokens" if route == "longContext" else ""
            effect = (
                f"It is the rule {name!r}{threshold_note}, for clients that ask for claude-auto. "
                f"{_PIN_NOTE}"
            )
            self._draft.add_note("changed", (*path, route), effect)

    def _find_route_target(self, router: Part, name: str, path: Path) -> DraftTarget | None:
        route = router.get(name)
        if route is None or route == "":
            return None
        target = self._targets.get(as_text(route)) or self._targets.get(
            re.sub(r"\s*,\s*", ",", as_text(route), count=1)
        )
        if target is None:
            self._draft.add_note(
                "dropped", (*path, name), f"No imported provider has the model {route!r}."
            )
        return target

    def _convert_server(self) -> None:
        host = as_text(self._config.get("HOST"))
        port = parse_count(self._config.get("PORT"), 65_535)
        key = self._config.get("APIKEY")
        if isinstance(key, str) and key.strip() and _parse_reference(key) is None:
            digest = hashlib.sha256(key.strip().encode("utf-8", "replace")).hexdigest()
            self._draft.environ["TIERGATE_KEYS"] = f"claude-code={digest}"
            self._draft.add_note(
                "changed", ("APIKEY",), "Clients can keep this key: its hash is in TIERGATE_KEYS."
            )
        elif key:
            self._draft.add_note(
                "changed", ("APIKEY",), "Set TIERGATE_KEYS to claude-code=<SHA-256 of the key>."
            )
        has_keys = "TIERGATE_KEYS" in self._draft.environ
        if (
            host
            and re.fullmatch(r"[A-Za-z0-9.:-]+", host)
            and (has_keys or host in ("127.0.0.1", "localhost"))
        ):
            self._draft.server["host"] = host
            self._draft.add_note("kept", ("HOST",), host)
        elif host:
            self._draft.add_note(
                "dropped",
                ("HOST",),
                "Clients on other machines need keys. Create one, then set server.host.",
            )
        if port is not None:
            self._draft.server["port"] = port
            self._draft.add_note("kept", ("PORT",), str(port))


def _parse_reference(value: object) -> str | None:
    match = _VARIABLE_PATTERN.fullmatch(value.strip()) if isinstance(value, str) else None
    return match[1] if match else None


def _parse_transformers(transformer: Part) -> list[tuple[str, Part]]:
    """Return the transformers in `use` with their options: names, or names with options."""
    transformers: list[tuple[str, Part]] = []
    for item in as_list(transformer.get("use")):
        if isinstance(item, str):
            transformers.append((item, {}))
        elif isinstance(item, list) and item and isinstance(item[0], str):
            transformers.append((item[0], as_mapping(item[1]) if len(item) > 1 else {}))
    return transformers


def _list_transformer_names(transformer: Part) -> list[str]:
    return [name for name, _ in _parse_transformers(transformer)]
