"""The importer of LiteLLM's proxy configuration (config.yaml).

Groups of deployments become labs and aliases.
"""

import re

from gateway.core.target import TIERS, Tier
from gateway.importers import providers
from gateway.importers.cloud_identity import find_cloud_identity
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
from gateway.importers.litellm_format import parse_price, parse_reference
from gateway.importers.litellm_settings import DROP_PARAMS_REASON, RETRIES_REASON, LiteLLMSettings
from gateway.importers.providers import ShippedProviders
from gateway.settings.errors import Path

_SENT_PARAMS = frozenset(
    {
        "temperature", "top_p", "top_k", "seed", "stop", "presence_penalty", "frequency_penalty",
        "reasoning_effort", "verbosity", "service_tier", "response_format", "logit_bias",
        "parallel_tool_calls", "thinking", "user",
    }
)  # fmt: skip
_CONVERTED_PARAMS = frozenset(
    {
        "model", "api_key", "api_base", "base_url", "timeout", "stream_timeout", "extra_headers",
        "max_tokens", "max_completion_tokens", "organization", "extra_body", "order", "weight",
    }
)  # fmt: skip
_BEDROCK_APIS = {
    "claude": "bedrock-claude", "amazon.nova": "bedrock-converse", "meta.llama": "bedrock-converse",
}  # fmt: skip
"""The providers of Bedrock beside its OpenAI API, by a word in the names of their models."""
_VERTEX_PREFIX = "vertex_ai"
_VERTEX_APIS = {"claude": "vertex-claude", "gemini": "vertex"}
"""The providers of Google Cloud, by a word in the names of their models."""
_DROP_REASONS = {
    "rpm": "The gateway limits keys, tags and tiers, not deployments. It obeys a provider's 429.",
    "tpm": "The gateway limits keys, tags and tiers, not deployments. It obeys a provider's 429.",
    "max_parallel_requests": "The gateway limits keys, tags and tiers, not deployments.",
    "api_version": "Not needed: the provider's v1 endpoint has no version.",
    "drop_params": DROP_PARAMS_REASON,
    "num_retries": RETRIES_REASON,
    "mock_response": "The gateway sends no mock answers.",
}
_CHAT_MODES = ("", "chat", "completion", "responses")


class LiteLLMConfig:
    """A LiteLLM configuration that is converted into a draft."""

    def __init__(self, config: Part, draft: ConfigDraft, shipped: ShippedProviders) -> None:
        self._config = config
        self._draft = draft
        self._shipped = shipped
        self._groups: dict[str, list[DraftTarget]] = {}
        self._embeddings: dict[str, list[DraftTarget]] = {}

    def convert(self) -> None:
        """Fill the draft."""
        for index, row in enumerate(as_list(self._config.get("model_list"))):
            self._convert_deployment(as_mapping(row), ("model_list", index))
        lab_by_group = {
            name: self._draft.add_lab(name, dict.fromkeys(TIERS, targets))
            for name, targets in self._groups.items()
        }
        for name, lab in lab_by_group.items():
            self._draft.add_alias(name, f"{lab}/smart", ("model_list",))
        self._build_tiers()
        settings = LiteLLMSettings(self._config, self._draft, lab_by_group)
        settings.convert_library()
        settings.convert_router()
        settings.convert_general()
        known_sections = {
            "model_list",
            "credential_list",
            "litellm_settings",
            "router_settings",
            "general_settings",
        }
        settings.convert_variables()
        self._draft.drop_unknown_parts(self._config, (), known_sections | {"environment_variables"})

    # Deployments

    def _convert_deployment(self, row: Part, path: Path) -> None:
        params, info = as_mapping(row.get("litellm_params")), as_mapping(row.get("model_info"))
        params = self._resolve_credential(params, path)
        name, model = as_text(row.get("model_name")), as_text(params.get("model"))
        mode = as_text(info.get("mode"))
        if not name or not model:
            self._draft.add_note(
                "dropped", path, "A model needs model_name and litellm_params.model. Add them."
            )
            return
        if mode not in (*_CHAT_MODES, "embedding"):
            self._draft.add_note(
                "dropped", path, f"{name}: the gateway has no endpoint for mode {mode!r}."
            )
            return
        prefix, separator, bare_name = model.partition("/")
        prefix, bare_name = (
            (prefix, bare_name) if separator or model == "*" else (self._guess_host(model), model)
        )
        base = as_text(params.get("api_base") or params.get("base_url"))
        host = providers.SHIPPED_NAMES.get(prefix) or ("openai" if base else "")
        if prefix == _VERTEX_PREFIX:
            host = next((name for word, name in _VERTEX_APIS.items() if word in bare_name), "")
        if host == "bedrock":
            bare_name = bare_name.removeprefix("converse/").removeprefix("invoke/")
            host = next((api for word, api in _BEDROCK_APIS.items() if word in bare_name), host)
        if model == "*":
            reason = "A lab must name its models. Add the models that clients ask for."
            self._draft.add_note("dropped", path, f"{name}: {reason}")
            return
        if not host:
            reason = "tiergate does not ship it. Add it under `providers`."
            self._draft.add_note("dropped", path, f"{name}: provider {prefix!r}: {reason}")
            return
        if "*" in model:
            self._expand_wildcard(name, host, self._add_provider(host, prefix, params, path), path)
            return
        target = self._make_target(host, bare_name, params, path)
        target.provider = self._add_provider(host, prefix, params, path)
        self._add_model_facts(target, info, (*path, "model_info"))
        is_embedding = mode == "embedding" or "embed" in model
        (self._embeddings if is_embedding else self._groups).setdefault(name, []).append(target)
        is_fallback = len((self._embeddings if is_embedding else self._groups)[name]) > 1
        effect = (
            "after the targets before it" if is_fallback else f"for clients that ask for {name!r}"
        )
        self._draft.add_note(
            "kept", path, f"{name}: the gateway calls {target.provider}/{target.model} {effect}."
        )

    def _resolve_credential(self, params: Part, path: Path) -> Part:
        """Return the parameters with the values of the credential that they name, if any.

        The parameters win over the values of the credential.
        """
        name = params.pop("litellm_credential_name", None)
        if name is None:
            return params
        name_path: Path = (*path, "litellm_params", "litellm_credential_name")
        for row in as_list(self._config.get("credential_list")):
            part = as_mapping(row)
            if part.get("credential_name") == name:
                self._draft.add_note(
                    "kept", name_path, f"{name}: the provider has the values of this credential."
                )
                return {**as_mapping(part.get("credential_values")), **params}
        self._draft.add_note("dropped", name_path, f"The credential list has no {name!r}. Add it.")
        return params

    def _guess_host(self, model: str) -> str:
        """Return the host of a model without a prefix, which LiteLLM tells by the name."""
        host_by_prefix = {
            "claude": "anthropic",
            "gemini": "gemini",
            "command": "cohere",
            "mistral": "mistral",
        }
        return next(
            (host for prefix, host in host_by_prefix.items() if model.startswith(prefix)), "openai"
        )

    def _add_provider(self, host: str, prefix: str, params: Part, path: Path) -> str:
        params_path: Path = (*path, "litellm_params")
        base, url = params.get("api_base") or params.get("base_url"), None
        part = self._shipped.copy_provider(host)
        variable = parse_reference(base)
        if variable is not None:
            url, part["enable"] = f"${{{variable}:-https://unset.invalid}}", f"${{{variable}:-}}"
        elif base is not None:
            url = self._clean_base_url(host, as_text(base), params_path)
        if url is not None and host == "openai" and "openai.com" not in url:
            part = {"dialects": {"openai-chat": "/chat/completions"}, "refuses": ["store"]}
            part |= {"enable": f"${{{variable}:-}}"} if variable else {}
        identity = find_cloud_identity(host, self._shipped.providers.get(host, {}), params)
        credential = self._draft.add_credential(
            params.get("api_key"),
            prefix,
            (*params_path, "api_key"),
            named_variable=parse_reference(params.get("api_key")),
        )
        if (
            credential is None
            and identity is None
            and (own_variable := self._shipped.find_variable(host))
            and url is None
        ):
            credential = self._draft.add_credential(
                None, prefix, params_path, named_variable=own_variable
            )
        if identity is not None:
            self._draft.add_note("changed", params_path, identity.note)
        elif credential is None and host not in providers.LOCAL_PROVIDERS:
            part["auth"] = "none"
            part.pop("optional_key", None)
        account = providers.make_account(host, credential)
        timeout_seconds = parse_seconds(params.get("timeout"))
        headers = self._convert_headers(params, params_path)
        timeouts = (
            {"timeouts": {"total": format_duration(timeout_seconds)}} if timeout_seconds else {}
        )
        identity_part = {} if identity is None else identity.part
        provider_part = providers.merge_parts(
            part, {"base_url": url}, account, headers, timeouts, identity_part
        )
        self._apply_region(host, provider_part, params, params_path)
        self._note_leftover_params(
            params, params_path, frozenset() if identity is None else identity.params
        )
        is_shipped = prefix in providers.SHIPPED_NAMES or prefix == _VERTEX_PREFIX
        return self._draft.add_provider(host if is_shipped else make_slug(prefix), provider_part)

    def _clean_base_url(self, host: str, base: str, path: Path) -> str | None:
        url = strip_variables(base).rstrip("/")
        for suffix in ("/chat/completions", "/v1/messages", "/v1" if host == "anthropic" else "//"):
            url = url.removesuffix(suffix)
        if host == "azure-openai":
            url = (
                url.removesuffix("/v1").removesuffix("/openai").partition("/openai/deployments")[0]
            )
        if host == "ollama" and not url.endswith("/v1"):
            url = f"{url}/v1"
        if not providers.is_url(url):
            self._draft.add_note(
                "dropped",
                (*path, "api_base"),
                "This is not an http(s) URL. Set base_url in the new file.",
            )
            return "https://unset.invalid"
        return url

    def _apply_region(self, host: str, provider_part: Part, params: Part, path: Path) -> None:
        region = params.get("aws_region_name")
        if not host.startswith("bedrock") or region is None:
            return
        if isinstance(region, str) and re.fullmatch(r"[a-z0-9-]+", region):
            provider_part["base_url"] = re.sub(
                r"\$\{AWS_REGION[^}]*\}", region, str(provider_part["base_url"])
            )
            if "aws" in provider_part:
                provider_part["aws"] = {**provider_part["aws"], "region": region}
            self._draft.add_note(
                "kept", (*path, "aws_region_name"), f"The gateway calls the region {region}."
            )
        else:
            self._draft.add_note(
                "changed", (*path, "aws_region_name"), "Set the variable AWS_REGION."
            )

    def _convert_headers(self, params: Part, path: Path) -> Part:
        headers: Part = {}
        for name, value in as_mapping(params.get("extra_headers")).items():
            if not re.fullmatch(r"[A-Za-z0-9-]+", name):
                self._draft.add_note(
                    "dropped", (*path, "extra_headers", name), "This is not the name of a header."
                )
                continue
            header_path = (*path, "extra_headers", name)
            if re.search("auth|key|token|secret|cookie", name, re.IGNORECASE):
                credential = self._draft.add_credential(
                    as_text(value), name, header_path, named_variable=parse_reference(value)
                )
                headers |= {name: credential} if credential else {}
            elif isinstance(value, str) and value.isprintable():
                headers[name] = strip_variables(value)
        if isinstance(organization := params.get("organization"), str):
            variable = parse_reference(organization)
            headers["OpenAI-Organization"] = (
                f"${{{variable}}}" if variable else strip_variables(organization)
            )
        return {"headers": headers} if headers else {}

    def _make_target(self, host: str, model: str, params: Part, path: Path) -> DraftTarget:
        params_path: Path = (*path, "litellm_params")
        sent_params = {
            name: sanitize_param(params[name]) for name in params if name in _SENT_PARAMS
        }
        sent_params |= as_mapping(sanitize_param(params.get("extra_body")))
        if sent_params:
            effect = "with every call of this target, in place of the client's values."
            self._draft.add_note(
                "changed", params_path, f"The gateway sends {', '.join(sent_params)} {effect}"
            )
        max_output = parse_count(params.get("max_tokens")) or parse_count(
            params.get("max_completion_tokens")
        )
        return DraftTarget(host, strip_variables(model), max_output, sent_params)

    def _note_leftover_params(self, params: Part, path: Path, identity: frozenset[str]) -> None:
        converted = _CONVERTED_PARAMS | _SENT_PARAMS | identity | {"aws_region_name"}
        for name in params:
            if name in converted:
                continue
            reason = _DROP_REASONS.get(name, "The gateway has no such setting.")
            self._draft.add_note("dropped", (*path, name), reason)
        if params.get("weight") is not None or params.get("order") is not None:
            self._draft.add_note(
                "changed",
                path,
                "The gateway tries targets in order, unless equal ones have a `group` and weights.",
            )

    def _add_model_facts(self, target: DraftTarget, info: Part, path: Path) -> None:
        facts: Part = {}
        for name, fact in (("max_input_tokens", "context"), ("max_output_tokens", "max_output")):
            if (tokens := parse_count(info.get(name))) is not None:
                facts[fact] = tokens
        for name, fact in (("supports_vision", "vision"), ("supports_function_calling", "tools")):
            if isinstance(info.get(name), bool):
                facts[fact] = info[name]
        prices = {
            "input": parse_price(info.get("input_cost_per_token")),
            "output": parse_price(info.get("output_cost_per_token")),
            "cache_read": parse_price(info.get("cache_read_input_token_cost")),
        }
        if prices["input"] is not None and prices["output"] is not None:
            facts["price"] = {name: rate for name, rate in prices.items() if rate is not None}
            self._draft.add_note("kept", path, "The new file has these prices per million tokens.")
        base = as_text(info.get("base_model")).rpartition("/")[2]
        if base and (shipped_facts := self._shipped.collect_facts(base)):
            self._draft.models |= shipped_facts
            facts = {"like": base, **facts}
            self._draft.add_note(
                "kept", (*path, "base_model"), f"The model has the limits and abilities of {base}."
            )
        if facts:
            self._draft.models[f"{target.provider}/{target.model}"] = facts
        else:
            self._draft.models |= self._shipped.collect_facts(target.model)

    def _expand_wildcard(self, name: str, host: str, provider: str, path: Path) -> None:
        models = list(dict.fromkeys(model for _, model in self._shipped.iter_targets(host)))
        if not models:
            reason = "A lab must name its models. Add the models that clients ask for."
            self._draft.add_note("dropped", path, f"{name}: {reason}")
            return
        for model in models:
            group_name = name.replace("*", model)
            self._groups.setdefault(group_name, []).append(DraftTarget(provider, model))
            self._draft.models |= self._shipped.collect_facts(model)
        self._draft.add_note(
            "changed", path, f"{name} becomes the shipped models of {host} ({len(models)})."
        )

    # Tiers, which LiteLLM does not have

    def _build_tiers(self) -> None:
        """Build the lab `main`, with tiers by the output price of each group's first target.

        The cheapest is fast, the middle one smart, the dearest reasoning. If no price is known,
        the order of the file counts. Embedding models go to the same lab.
        """
        first_targets = [targets[0] for targets in self._groups.values()]
        if not first_targets and not self._embeddings:
            return
        costs = {id(item): _find_output_cost(self._draft, item) for item in first_targets}
        by_price = sorted(
            (item for item in first_targets if costs[id(item)] is not None),
            key=lambda item: costs[id(item)] or 0,
        )
        ordered = by_price or first_targets
        tiers: dict[Tier, list[DraftTarget]] = {}
        if ordered:
            tiers = {
                "fast": [ordered[0]],
                "smart": [ordered[len(ordered) // 2]],
                "reasoning": [ordered[-1]],
            }
            summary = ", ".join(f"{tier} {item[0].model}" for tier, item in tiers.items())
            method = "by price" if by_price else "by their order, since no price is known"
            summary = f"The import chose tiers {method}: {summary}. Check them."
            self._draft.add_note("changed", ("model_list",), summary)
        about = "The lab for `auto` and bare tier names; the import chose its tiers."
        lab = self._draft.add_lab("main", tiers, about)
        self._draft.default = {"lab": lab, "tier": "smart"}
        embeddings = []
        for name, targets in self._embeddings.items():
            embeddings += [{"provider": item.provider, "model": item.model} for item in targets]
            if name != targets[0].model:
                self._draft.add_alias(name, targets[0].model, ("model_list",))
        if embeddings:
            self._draft.labs[lab]["embeddings"] = embeddings


def _find_output_cost(draft: ConfigDraft, target: DraftTarget) -> float | None:
    """Return the output price of a target, in USD per million tokens; None if it is unknown."""
    part, visited = draft.models.get(f"{target.provider}/{target.model}"), set[str]()
    name = target.model
    part = draft.models.get(name) if part is None else part
    while part is not None and "price" not in part and name not in visited:
        visited.add(name)
        name = part.get("like", "")
        part = draft.models.get(name)
    output = ((part or {}).get("price") or {}).get("output")
    return float(output) if output is not None else None
