"""LiteLLM's proxy configuration (config.yaml): groups of deployments become labs and aliases."""

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
    slug,
    span,
    text,
)
from gateway.importers.litellm_format import price, reference
from gateway.importers.litellm_settings import DROPS, RETRIES, LiteLLMSettings
from gateway.importers.providers import ShippedProviders
from gateway.settings.errors import Path

_PARAMS = frozenset(
    {
        "temperature", "top_p", "top_k", "seed", "stop", "presence_penalty", "frequency_penalty",
        "reasoning_effort", "verbosity", "service_tier", "response_format", "logit_bias",
        "parallel_tool_calls", "thinking", "user",
    }
)  # fmt: skip
_USED = frozenset(
    {
        "model", "api_key", "api_base", "base_url", "timeout", "stream_timeout", "extra_headers",
        "max_tokens", "max_completion_tokens", "organization", "extra_body", "order", "weight",
    }
)  # fmt: skip
_WHY = {
    "rpm": "limits here count keys, tags and tiers, not deployments; a provider's 429 is heeded.",
    "tpm": "limits here count keys, tags and tiers, not deployments; a provider's 429 is heeded.",
    "max_parallel_requests": "limits here count keys, tags and tiers, not deployments.",
    "api_version": "is not needed: the provider's v1 door has none.",
    "aws_access_key_id": "requests are not signed: set AWS_BEARER_TOKEN_BEDROCK.",
    "aws_secret_access_key": "requests are not signed: set AWS_BEARER_TOKEN_BEDROCK.",
    "drop_params": DROPS,
    "num_retries": RETRIES,
    "mock_response": "is for tests.",
    "vertex_project": "Vertex AI needs Google's sign-in, which is missing; Gemini has keys.",
}
_MODES = ("", "chat", "completion", "responses")


class LiteLLMConfig:
    """One such configuration."""

    def __init__(self, config: Part, draft: ConfigDraft, shipped: ShippedProviders) -> None:
        self._config = config
        self._draft = draft
        self._shipped = shipped
        self._groups: dict[str, list[DraftTarget]] = {}
        self._embeddings: dict[str, list[DraftTarget]] = {}

    def convert(self) -> None:
        """Fill the draft."""
        for at, row in enumerate(rows(self._config.get("model_list"))):
            self._deployment(mapping(row), ("model_list", at))
        places = {
            name: self._draft.lab(name, dict.fromkeys(TIERS, targets))
            for name, targets in self._groups.items()
        }
        for name, lab in places.items():
            self._draft.alias(name, f"{lab}/smart", ("model_list",))
        self._tiers()
        settings = LiteLLMSettings(self._config, self._draft, places)
        settings.library()
        settings.router()
        settings.general()
        known = {
            "model_list",
            "credential_list",
            "litellm_settings",
            "router_settings",
            "general_settings",
        }
        settings.variables()
        self._draft.rest(self._config, (), known | {"environment_variables"})

    # Deployments.

    def _deployment(self, row: Part, path: Path) -> None:
        params, info = mapping(row.get("litellm_params")), mapping(row.get("model_info"))
        params = self._credential(params, path)
        name, model = text(row.get("model_name")), text(params.get("model"))
        mode = text(info.get("mode"))
        if not name or not model:
            self._draft.note("dropped", path, "has no model_name or no litellm_params.model.")
            return
        if mode not in (*_MODES, "embedding"):
            self._draft.note("dropped", path, f"{name}: mode {mode!r} has no endpoint here.")
            return
        prefix, sign, rest = model.partition("/")
        prefix, rest = (prefix, rest) if sign or model == "*" else (self._guess(model), model)
        base = text(params.get("api_base") or params.get("base_url"))
        host = providers.NAMES.get(prefix) or ("openai" if base else "")
        if host == "bedrock" and "claude" in rest:
            host = "bedrock-claude"
        if model == "*":
            why = "models must be named: add those that are asked for to a lab."
            self._draft.note("dropped", path, f"{name}: {why}")
            return
        if not host:
            why = _WHY["vertex_project"] if prefix.startswith("vertex") else "no such host ships."
            self._draft.note("dropped", path, f"{name}: provider {prefix!r}: {why}")
            return
        if "*" in model:
            self._wildcard(name, host, self._provider(host, prefix, params, path), path)
            return
        target = self._target(host, rest, params, path)
        target.provider = self._provider(host, prefix, params, path)
        self._facts(target, info, (*path, "model_info"))
        embeds = mode == "embedding" or "embed" in model
        (self._embeddings if embeds else self._groups).setdefault(name, []).append(target)
        more = len((self._embeddings if embeds else self._groups)[name]) > 1
        told = "is tried after the one before it" if more else f"is the name {name!r}"
        self._draft.note("kept", path, f"{name}: {target.provider}/{target.model} {told}.")

    def _credential(self, params: Part, path: Path) -> Part:
        """With what stands under a name in the list of credentials."""
        name = params.pop("litellm_credential_name", None)
        if name is None:
            return params
        here: Path = (*path, "litellm_params", "litellm_credential_name")
        for row in rows(self._config.get("credential_list")):
            part = mapping(row)
            if part.get("credential_name") == name:
                self._draft.note("kept", here, f"{name}: its values stand at the provider.")
                return {**mapping(part.get("credential_values")), **params}
        self._draft.note("dropped", here, f"{name!r} is in no list of credentials.")
        return params

    def _guess(self, model: str) -> str:
        """The host of a model without a prefix, as LiteLLM knows it by its name."""
        signs = {
            "claude": "anthropic",
            "gemini": "gemini",
            "command": "cohere",
            "mistral": "mistral",
        }
        return next((host for sign, host in signs.items() if model.startswith(sign)), "openai")

    def _provider(self, host: str, prefix: str, params: Part, path: Path) -> str:
        here: Path = (*path, "litellm_params")
        base, url = params.get("api_base") or params.get("base_url"), None
        part = self._shipped.provider(host)
        variable = reference(base)
        if variable is not None:
            url, part["enable"] = f"${{{variable}:-https://unset.invalid}}", f"${{{variable}:-}}"
        elif base is not None:
            url = self._base(host, text(base), here)
        if url is not None and host == "openai" and "openai.com" not in url:
            part = {"dialects": {"openai-chat": "/chat/completions"}, "refuses": ["store"]}
            part |= {"enable": f"${{{variable}:-}}"} if variable else {}
        credential = self._draft.variable(
            params.get("api_key"),
            prefix,
            (*here, "api_key"),
            refers=reference(params.get("api_key")),
        )
        if credential is None and (own := self._shipped.account(host)) and url is None:
            credential = self._draft.variable(None, prefix, here, refers=own)
        if credential is None and host not in providers.LOCAL:
            part["auth"] = "none"
            part.pop("optional_key", None)
        account = providers.account(host, credential)
        total = seconds(params.get("timeout"))
        headers = self._headers(params, here)
        timers = {"timeouts": {"total": span(total)}} if total else {}
        made = providers.merged(part, {"base_url": url}, account, headers, timers)
        self._region(host, made, params, here)
        self._leftover(params, here)
        return self._draft.provider(host if prefix in providers.NAMES else slug(prefix), made)

    def _base(self, host: str, base: str, path: Path) -> str | None:
        url = plain(base).rstrip("/")
        for end in ("/chat/completions", "/v1/messages", "/v1" if host == "anthropic" else "//"):
            url = url.removesuffix(end)
        if host == "azure-openai":
            url = (
                url.removesuffix("/v1").removesuffix("/openai").partition("/openai/deployments")[0]
            )
        if host == "ollama" and not url.endswith("/v1"):
            url = f"{url}/v1"
        if not providers.is_url(url):
            self._draft.note("dropped", (*path, "api_base"), "is no URL of HTTP: write one there.")
            return "https://unset.invalid"
        return url

    def _region(self, host: str, made: Part, params: Part, path: Path) -> None:
        region = params.get("aws_region_name")
        if not host.startswith("bedrock") or region is None:
            return
        if isinstance(region, str) and re.fullmatch(r"[a-z0-9-]+", region):
            made["base_url"] = re.sub(r"\$\{AWS_REGION[^}]*\}", region, str(made["base_url"]))
            self._draft.note("kept", (*path, "aws_region_name"), f"the region {region}.")
        else:
            self._draft.note("changed", (*path, "aws_region_name"), "is read from AWS_REGION.")

    def _headers(self, params: Part, path: Path) -> Part:
        found: Part = {}
        for name, value in mapping(params.get("extra_headers")).items():
            if not re.fullmatch(r"[A-Za-z0-9-]+", name):
                self._draft.note(
                    "dropped", (*path, "extra_headers", name), "is no name of a header."
                )
                continue
            here = (*path, "extra_headers", name)
            if re.search("auth|key|token|secret|cookie", name, re.IGNORECASE):
                said = self._draft.variable(text(value), name, here, refers=reference(value))
                found |= {name: said} if said else {}
            elif isinstance(value, str) and value.isprintable():
                found[name] = plain(value)
        if isinstance(organization := params.get("organization"), str):
            refers = reference(organization)
            found["OpenAI-Organization"] = f"${{{refers}}}" if refers else plain(organization)
        return {"headers": found} if found else {}

    def _target(self, host: str, model: str, params: Part, path: Path) -> DraftTarget:
        here: Path = (*path, "litellm_params")
        given = {name: safe(params[name]) for name in params if name in _PARAMS}
        given |= mapping(safe(params.get("extra_body")))
        if given:
            text_ = "is sent with every call of this target, in place of what a client says."
            self._draft.note("changed", here, f"{', '.join(given)} {text_}")
        most = count(params.get("max_tokens")) or count(params.get("max_completion_tokens"))
        return DraftTarget(host, plain(model), most, given)

    def _leftover(self, params: Part, path: Path) -> None:
        for name in params:
            if name in _USED or name in _PARAMS or name == "aws_region_name":
                continue
            why = _WHY.get(name, "is not carried over: this gateway has nothing of that name.")
            self._draft.note("dropped", (*path, name), why)
        if params.get("weight") is not None or params.get("order") is not None:
            self._draft.note(
                "changed", path, "targets are tried in the order of the list; weights are not kept."
            )

    def _facts(self, target: DraftTarget, info: Part, path: Path) -> None:
        facts: Part = {}
        for name, ours in (("max_input_tokens", "context"), ("max_output_tokens", "max_output")):
            if (found := count(info.get(name))) is not None:
                facts[ours] = found
        for name, ours in (("supports_vision", "vision"), ("supports_function_calling", "tools")):
            if isinstance(info.get(name), bool):
                facts[ours] = info[name]
        prices = {
            "input": price(info.get("input_cost_per_token")),
            "output": price(info.get("output_cost_per_token")),
            "cache_read": price(info.get("cache_read_input_token_cost")),
        }
        if prices["input"] is not None and prices["output"] is not None:
            facts["price"] = {name: one for name, one in prices.items() if one is not None}
            self._draft.note("kept", path, "the prices, per million tokens.")
        base = text(info.get("base_model")).rpartition("/")[2]
        if base and (shipped := self._shipped.facts(base)):
            self._draft.models |= shipped
            facts = {"like": base, **facts}
            self._draft.note("kept", (*path, "base_model"), f"what is known of {base}.")
        if facts:
            self._draft.models[f"{target.provider}/{target.model}"] = facts
        else:
            self._draft.models |= self._shipped.facts(target.model)

    def _wildcard(self, name: str, host: str, provider: str, path: Path) -> None:
        models = list(dict.fromkeys(model for _, model in self._shipped.targets(host)))
        if not models:
            why = "models must be named: add those that are asked for to a lab."
            self._draft.note("dropped", path, f"{name}: {why}")
            return
        for model in models:
            asked = name.replace("*", model)
            self._groups.setdefault(asked, []).append(DraftTarget(provider, model))
            self._draft.models |= self._shipped.facts(model)
        self._draft.note(
            "changed", path, f"{name} becomes the {len(models)} models that ship of {host}."
        )

    # Tiers, which LiteLLM does not have.

    def _tiers(self) -> None:
        """The groups by what their first target costs: least is fast, most is reasoning."""
        firsts = [targets[0] for targets in self._groups.values()]
        if not firsts and not self._embeddings:
            return
        known = {id(one): _cost(self._draft, one) for one in firsts}
        ranked = sorted(
            (one for one in firsts if known[id(one)] is not None),
            key=lambda one: known[id(one)] or 0,
        )
        row = ranked or firsts
        tiers: dict[Tier, list[DraftTarget]] = {}
        if row:
            tiers = {"fast": [row[0]], "smart": [row[len(row) // 2]], "reasoning": [row[-1]]}
            told = ", ".join(f"{tier} {one[0].model}" for tier, one in tiers.items())
            how = "by price" if ranked else "in the order of the file, as no price is known"
            told = f"tiers are new, {how}: {told}. Look whether that is right."
            self._draft.note("changed", ("model_list",), told)
        about = "What `auto` and bare tiers go to; chosen as it was imported."
        lab = self._draft.lab("main", tiers, about)
        self._draft.default = {"lab": lab, "tier": "smart"}
        embeddings = []
        for name, targets in self._embeddings.items():
            embeddings += [{"provider": one.provider, "model": one.model} for one in targets]
            if name != targets[0].model:
                self._draft.alias(name, targets[0].model, ("model_list",))
        if embeddings:
            self._draft.labs[lab]["embeddings"] = embeddings


def _cost(draft: ConfigDraft, target: DraftTarget) -> float | None:
    """What a target's output costs, as far as the draft knows."""
    part, seen = draft.models.get(f"{target.provider}/{target.model}"), set[str]()
    name = target.model
    part = draft.models.get(name) if part is None else part
    while part is not None and "price" not in part and name not in seen:
        seen.add(name)
        name = part.get("like", "")
        part = draft.models.get(name)
    output = ((part or {}).get("price") or {}).get("output")
    return float(output) if output is not None else None
