"""`tiergate import`: the result for other gateways' configurations, and that it serves."""

import hashlib
import json
import re
import stat
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import Result
from hypothesis import given
from hypothesis import strategies as st

from gateway.core import jsonio
from gateway.core.cloud_auth import AwsAuth, AzureAuth, CloudAuth, GoogleAuth
from gateway.importers import reader, writer
from gateway.importers.providers import SHIPPED_NAMES
from gateway.importers.reader import convert_config
from gateway.runtime.build import BuiltConfig, build_config
from gateway.settings import yaml
from gateway.settings.errors import ConfigError
from gateway.settings.loader import load
from tests.cli.run import run
from tests.e2e.child import Child, until
from tests.e2e.upstream import Upstream, answering, failing
from tests.e2e.world import Loop
from tests.importers.expected_results import FILES, SAMPLES, SHIPPED, draft, golden

SECRETS = (
    "sk-live-0123456789abcdef",
    "sk-master-1234",
    "my-secret-key-123",
    "sk-abcdef",
    "sk-clear-123456",
    "u:p@h",
)


def import_value(kind: str, value: object, environ: dict[str, str] | None = None) -> Any:
    return convert_config(kind, json.dumps(value), "f.json", SHIPPED, environ or {})


def notes(imported: Any, fate: str) -> dict[str, str]:
    return {item.path: item.text for item in imported.notes if item.fate == fate}


def build_draft(imported: Any, folder: Path, **environ: str) -> BuiltConfig:
    file = folder / "gateway.yaml"
    file.write_text(writer.format_config(imported, "a test"), "utf-8")
    required = dict.fromkeys(imported.required_variables, "https://set.example")
    return build_config(load(file, {**required, **environ}), datetime.now(UTC))


@pytest.mark.parametrize("kind", FILES)
def test_a_sample_becomes_the_expected_configuration(kind: str) -> None:
    """Each line of the result is compared, and the report.

    The report says what was kept, changed and dropped, and why.
    """
    file = SAMPLES / f"{kind}.golden.yaml"
    assert golden(kind) == file.read_text("utf-8"), (
        "look at it, then: python -m tests.importers.expected_results"
    )


@pytest.mark.parametrize("kind", FILES)
def test_an_imported_sample_is_a_configuration_whose_labs_are_on(kind: str, tmp_path: Path) -> None:
    config = build_draft(draft(kind), tmp_path)
    assert all(
        lab.enabled
        for lab in config.built_catalogue.catalogue.labs.values()
        if lab.name != "gpt-4o"
    )
    assert config.built_catalogue.catalogue.default_lab == "main"


@pytest.mark.parametrize("kind", FILES)
def test_no_secret_is_in_the_configuration_or_the_report(kind: str) -> None:
    imported = draft(kind)
    text = writer.format_config(imported, "a test") + "".join(
        item.text + item.path for item in imported.notes
    )
    assert not any(secret in text for secret in SECRETS)
    assert set(imported.secret_names) <= set(imported.environ)


@pytest.mark.parametrize("kind", FILES)
def test_the_report_mentions_every_part_of_a_sample(kind: str) -> None:
    """Each key below the top has a note, or one above it or below it has."""
    source = (SAMPLES / FILES[kind]).read_text("utf-8")
    document = yaml.read(reader._blank_comments(source) if kind != "litellm" else source, "f")
    paths = [item.path for item in draft(kind).notes]
    for path in document.lines:
        if not 0 < len(path) <= 2 or not isinstance(path[-1], str):
            continue
        name = str(path[0]) if len(path) == 1 else f"{path[0]}.{path[1]}"
        name = name.replace("budget_duration", "max_budget")  # one note covers both
        assert any(item.startswith(name) or name.startswith(item) for item in paths if item), name


def test_a_key_in_clear_text_becomes_a_variable_with_a_free_name() -> None:
    """A new variable has no name that the file reads or the environment sets.

    A variable that already has the key's value is used again.
    """
    rows = [
        {"model_name": "a", "litellm_params": {"model": "openai/a", "api_key": "sk-1"}},
        {
            "model_name": "b",
            "litellm_params": {"model": "openai/b", "api_key": "os.environ/OPENAI_API_KEY"},
        },
        {"model_name": "c", "litellm_params": {"model": "openai/c", "api_key": "sk-1"}},
        {"model_name": "d", "litellm_params": {"model": "openai/d", "api_key": "sk-2"}},
    ]
    imported = import_value("litellm", {"model_list": rows}, {"OPENAI_API_KEY_2": "other"})
    assert imported.environ == {"OPENAI_API_KEY_3": "sk-1", "OPENAI_API_KEY_4": "sk-2"}
    assert [item["accounts"]["main"] for item in imported.providers.values()] == [
        "${OPENAI_API_KEY_3}", "${OPENAI_API_KEY}", "${OPENAI_API_KEY_4}",
    ]  # fmt: skip
    reused = import_value("litellm", {"model_list": rows[:1]}, {"OPENAI_API_KEY": "sk-1"})
    assert reused.environ == {"OPENAI_API_KEY": "sk-1"}


def test_a_litellm_group_becomes_a_lab_with_its_deployments_in_order(tmp_path: Path) -> None:
    imported = draft("litellm")
    config = build_draft(imported, tmp_path)
    lab = config.built_catalogue.catalogue.labs["gpt-4o"]
    assert [item.name for item in lab.tiers["smart"]] == [
        "azure-openai/prod-gpt-4o", "openai/gpt-4o",
        "anthropic/claude-haiku-5-5", "anthropic/claude-opus-5-5",  # its fallbacks
    ]  # fmt: skip
    assert config.source.config.aliases["gpt-4"] == "gpt-4o/smart"
    assert config.source.config.budgets[0].usd == 100
    assert config.source.config.budgets[1].tag == ["batch"]
    assert imported.environ["REDIS_URL"] == "redis://cache.internal:6380"
    digest = hashlib.sha256(b"sk-master-1234").hexdigest()
    assert imported.environ["TIERGATE_KEYS"] == f"litellm-master={digest}"


@pytest.mark.parametrize(
    ("period", "every", "fate"),
    [
        ("30s", "minute", "changed"), ("1m", "minute", "kept"), ("1h", "hour", "kept"), ("2d", "day", "changed"),
        ("7d", "week", "kept"), ("14d", "week", "changed"), ("30d", "month", "kept"), ("1mo", "month", "kept"),
        ("", "total", "changed"), ("soon", "total", "changed"),
    ],
)  # fmt: skip
def test_a_litellm_budget_becomes_one_of_the_nearest_window(
    period: str, every: str, fate: str
) -> None:
    model = {"model_name": "x", "litellm_params": {"model": "openai/gpt-5"}}
    settings = {"max_budget": 5, "budget_duration": period}
    imported = import_value("litellm", {"model_list": [model], "litellm_settings": settings})
    assert [(item["usd"], item["every"]) for item in imported.budgets] == [(5, every)]
    assert f"5 USD a {every}" in notes(imported, fate)["litellm_settings.max_budget"]


@pytest.mark.parametrize(
    ("model", "params", "reason"),
    [
        ("vertex_ai/mistral-large", {}, "does not ship it"),
        ("sagemaker/x", {}, "does not ship it"),
        ("*", {}, "must name its models"),
    ],
)
def test_a_litellm_model_that_cannot_be_called_is_dropped_with_a_reason(
    model: str, params: dict[str, str], reason: str
) -> None:
    imported = import_value(
        "litellm",
        {"model_list": [{"model_name": "x", "litellm_params": {"model": model, **params}}]},
    )
    assert reason in notes(imported, "dropped")["model_list[0]"]
    assert "x" not in imported.aliases


@pytest.mark.parametrize(
    ("model", "base", "url"),
    [
        ("azure/d", "https://r.openai.azure.com/openai/deployments/d", "https://r.openai.azure.com"),
        ("azure/d", "https://r.openai.azure.com/", "https://r.openai.azure.com"),
        ("ollama/m", "http://localhost:11434", "http://localhost:11434/v1"),
        ("anthropic/m", "https://proxy.example/v1/messages", "https://proxy.example"),
        ("openai/m", "https://box.example/v1/chat/completions", "https://box.example/v1"),
        ("openai/m", "nowhere", "https://unset.invalid"),
    ],
)  # fmt: skip
def test_litellm_addresses_become_the_base_url_of_the_provider(
    model: str, base: str, url: str
) -> None:
    params = {"model": model, "api_base": base, "api_key": "os.environ/K"}
    imported = import_value(
        "litellm", {"model_list": [{"model_name": "x", "litellm_params": params}]}
    )
    (part,) = imported.providers.values()
    assert part["base_url"] == url


@pytest.mark.parametrize(
    ("model", "provider", "name"),
    [
        ("bedrock/us.amazon.nova-pro-v1:0", "bedrock-converse", "us.amazon.nova-pro-v1:0"),
        ("bedrock/converse/us.amazon.nova-2-lite-v1:0", "bedrock-converse", "us.amazon.nova-2-lite-v1:0"),
        ("bedrock/meta.llama3-70b-instruct-v1:0", "bedrock-converse", "meta.llama3-70b-instruct-v1:0"),
        ("bedrock/invoke/anthropic.claude-haiku-5-5", "bedrock-claude", "anthropic.claude-haiku-5-5"),
        ("bedrock/openai.gpt-oss-120b-1:0", "bedrock", "openai.gpt-oss-120b-1:0"),
    ],
)  # fmt: skip
def test_a_litellm_model_on_bedrock_goes_to_the_api_that_serves_it(
    model: str, provider: str, name: str, tmp_path: Path
) -> None:
    params = {"model": model, "aws_region_name": "eu-west-1"}
    imported = import_value(
        "litellm", {"model_list": [{"model_name": "x", "litellm_params": params}]}
    )
    target = build_draft(imported, tmp_path).built_catalogue.catalogue.labs["x"].tiers["smart"][0]
    assert target.name == f"{provider}/{name}"
    assert ".eu-west-1." in next(iter(target.provider.urls.values()))


@pytest.mark.parametrize(
    ("params", "auth", "url"),
    [
        ({"model": "vertex_ai/gemini-3.8-flash", "vertex_project": "p", "vertex_location": "europe-west4"},
         GoogleAuth(), "https://europe-west4-aiplatform.googleapis.com/v1beta1/projects/p/locations/europe-west4/publishers/google"),
        ({"model": "vertex_ai/claude-haiku-5-5", "vertex_project": "os.environ/PROJECT", "vertex_credentials": "/run/key.json"},
         GoogleAuth(file="/run/key.json"), "https://aiplatform.googleapis.com/v1/projects/own/locations/global/publishers/anthropic/models"),
        ({"model": "vertex_ai/gemini-3.8-flash", "vertex_credentials": '{"type": "service_account"}'},
         GoogleAuth(), "https://aiplatform.googleapis.com/v1beta1/projects/your-project/locations/global/publishers/google"),
        ({"model": "bedrock/anthropic.claude-haiku-5-5", "aws_role_name": "arn:aws:iam::1:role/r", "aws_region_name": "eu-west-1",
          "aws_secret_access_key": "never-shown"},
         AwsAuth(service="bedrock-mantle", region="eu-west-1", role="arn:aws:iam::1:role/r"),
         "https://bedrock-mantle.eu-west-1.api.aws/anthropic/v1/messages"),
        ({"model": "azure/d", "api_base": "https://r.openai.azure.com", "tenant_id": "t", "client_id": "c", "client_secret": "never-shown"},
         AzureAuth(scope="https://ai.azure.com/.default", tenant="t", client="c"), "https://r.openai.azure.com/openai/v1/responses"),
        ({"model": "azure/d", "api_base": "https://r.openai.azure.com", "azure_ad_token": "never-shown"},
         AzureAuth(scope="https://ai.azure.com/.default"), "https://r.openai.azure.com/openai/v1/responses"),
        ({"model": "bedrock/anthropic.claude-haiku-5-5", "aws_profile_name": "x", "api_key": "os.environ/K"},
         None, "https://bedrock-mantle.us-east-1.api.aws/anthropic/v1/messages"),
    ],
)  # fmt: skip
def test_a_litellm_deployment_without_a_key_gets_the_identity_of_its_cloud(
    params: dict[str, str], auth: CloudAuth | None, url: str, tmp_path: Path
) -> None:
    imported = import_value(
        "litellm", {"model_list": [{"model_name": "x", "litellm_params": params}]}
    )
    text = f"{imported.providers}{imported.notes}"
    assert "never-shown" not in text
    built = build_draft(imported, tmp_path, PROJECT="own")
    (target,) = built.built_catalogue.catalogue.labs["x"].tiers["smart"]
    assert target.provider.cloud_auth == auth
    assert next(iter(target.provider.urls.values())) == url


def test_litellm_credentials_by_name_and_base_models_are_imported(tmp_path: Path) -> None:
    value = {
        "model_list": [
            {
                "model_name": "x",
                "litellm_params": {"model": "azure/mine", "litellm_credential_name": "c"},
                "model_info": {"base_model": "azure/gpt-6-sol", "max_input_tokens": 9},
            },
            {
                "model_name": "y",
                "litellm_params": {"model": "azure/other", "litellm_credential_name": "d"},
            },
        ],
        "credential_list": [
            {
                "credential_name": "c",
                "credential_values": {"api_base": "https://r.example", "api_key": "os.environ/K"},
            }
        ],
    }
    imported = import_value("litellm", value)
    assert imported.providers["azure-openai"]["base_url"] == "https://r.example"
    assert imported.providers["azure-openai"]["accounts"] == {"main": "${K}"}
    assert imported.models["azure-openai/mine"] == {"like": "gpt-6-sol", "context": 9}
    assert notes(imported, "dropped")["model_list[1].litellm_params.litellm_credential_name"]
    target = build_draft(imported, tmp_path).built_catalogue.catalogue.labs["x"].tiers["smart"][0]
    assert (target.facts.context, target.facts.vision) == (9, True)


def test_headers_that_hold_secrets_become_variables() -> None:
    params = {
        "model": "openai/m", "api_base": "https://box.example/v1", "api_key": "none", "organization": "org-1",
        "extra_headers": {"X-Team": "a", "Authorization": "Bearer abc", "no header": "x"},
    }  # fmt: skip
    imported = import_value(
        "litellm", {"model_list": [{"model_name": "x", "litellm_params": params}]}
    )
    (part,) = imported.providers.values()
    assert part["headers"] == {
        "X-Team": "a",
        "Authorization": "${AUTHORIZATION_API_KEY}",
        "OpenAI-Organization": "org-1",
    }
    assert imported.environ == {"AUTHORIZATION_API_KEY": "Bearer abc"}


def test_ccr_routes_become_tiers_and_rules(tmp_path: Path) -> None:
    config = build_draft(draft("ccr"), tmp_path)
    main = config.built_catalogue.catalogue.labs["main"]
    assert [main.tiers[tier][0].name for tier in ("fast", "smart", "reasoning")] == [
        "ollama/qwen3:4b", "deepseek/deepseek-chat", "deepseek/deepseek-reasoner",
    ]  # fmt: skip
    assert main.tiers["smart"][0].max_output == 8192
    rules = {item.name: item for item in config.source.config.choices}
    assert rules["long contexts"].when.prompt_tokens.min == 80_001  # type: ignore[union-attr]
    assert rules["web searches"].model == "gemini-2.5-flash"
    assert config.source.config.aliases["deepseek,deepseek-chat"] == "deepseek-chat"
    digest = hashlib.sha256(b"my-secret-key-123").hexdigest()
    assert draft("ccr").environ["TIERGATE_KEYS"] == f"claude-code={digest}"


def test_ccr_rules_apply_to_calls_for_claude_auto(tmp_path: Path) -> None:
    """A request that names a model is a pin, by the model's family, as the report says."""
    file = tmp_path / "g.yaml"
    file.write_text(writer.format_config(draft("ccr"), "a test"), "utf-8")
    environ = dict.fromkeys(draft("ccr").required_variables, "set")
    for model, words, target in (
        ("claude-auto", 90_000, "openrouter/google/gemini-4"),
        ("claude-sonnet-4-6", 90_000, "deepseek/deepseek-chat"),
        ("claude-haiku-4-5", 9, "ollama/qwen3:4b"),
        ("claude-opus-5-5", 9, "deepseek/deepseek-reasoner"),
    ):
        body = {"model": model, "messages": [{"role": "user", "content": "word " * words}]}
        result = run(
            "--config", file, "explain", "-", "--json", environ=environ, stdin=json.dumps(body)
        )
        assert json.loads(result.stdout)["plan"][0]["target"] == target, result.output


@pytest.mark.parametrize(
    ("url", "use", "dialect", "base"),
    [
        ("https://h.example/v1/chat/completions", "openrouter", "openai-chat", "https://h.example/v1"),
        ("https://h.example/v1/messages", "Anthropic", "anthropic-messages", "https://h.example/v1"),
        ("https://h.example", "Anthropic", "anthropic-messages", "https://h.example"),
        ("https://h.example/v1/responses", "", "openai-responses", "https://h.example/v1"),
        ("https://h.example/v1beta/models/", "gemini", "gemini", "https://h.example"),
        ("https://h.example/api", "", "openai-chat", "https://h.example/api"),
    ],
)  # fmt: skip
def test_ccr_addresses_determine_the_dialect(url: str, use: str, dialect: str, base: str) -> None:
    row = {
        "name": "p",
        "api_base_url": url,
        "api_key": "$K",
        "models": ["m"],
        "transformer": {"use": [use]},
    }
    imported = import_value("ccr", {"Providers": [row], "Router": {"default": "p,m"}})
    assert [*imported.providers["p"]["dialects"]] == [dialect]
    assert imported.providers["p"]["base_url"] == base


def test_ccr_programs_and_unknown_routes_are_reported_as_dropped() -> None:
    row = {
        "name": "p",
        "api_base_url": "https://h.example/v1/messages",
        "api_key": "$K",
        "models": ["m"],
    }
    value = {
        "Providers": [row, {"name": "q"}], "CUSTOM_ROUTER_PATH": "x.js", "transformers": [{"path": "y.js"}],
        "Router": {"default": "p,m", "think": "p,none", "other": "p,m", "fallback": "p,m"}, "HOST": "0.0.0.0",
    }  # fmt: skip
    dropped = notes(import_value("ccr", value), "dropped")
    assert set(dropped) == {
        "Providers[1]", "CUSTOM_ROUTER_PATH", "transformers", "Router.think", "Router.other", "HOST",
    }  # fmt: skip


def test_portkey_strategies_become_orders_rules_and_aliases(tmp_path: Path) -> None:
    config = build_draft(draft("portkey"), tmp_path)
    labs = config.built_catalogue.catalogue.labs
    assert [item.name for item in labs["good"].tiers["smart"]] == [
        "openai/gpt-6-sol",
        "anthropic/claude-opus-5-5",
    ]
    assert [item.model for item in labs["main"].tiers["smart"]] == ["m", "openai/gpt-oss-20b"]
    (rule,) = config.source.config.choices
    assert (rule.lab, rule.when.tag) == ("good", ["plan=paid"])
    assert config.source.config.aliases == {"fastest": "cheap/smart"}
    assert config.source.config.cache.ttl == 600


def test_a_portkey_target_without_a_model_gets_the_shipped_models(tmp_path: Path) -> None:
    imported = import_value(
        "portkey", {"provider": "anthropic", "api_key": "sk-ant-1", "strategy": {"mode": "single"}}
    )
    config = build_draft(imported, tmp_path)
    assert [config.built_catalogue.catalogue.labs["main"].tiers[t][0].model for t in ("fast", "reasoning")] == [
        "claude-haiku-5-5", "claude-opus-5-5",
    ]  # fmt: skip
    assert "The target names no model" in notes(imported, "changed")[""]


@pytest.mark.parametrize(
    ("query", "when"),
    [
        ({"metadata.a": "x"}, {"tag": ["a=x"]}),
        ({"metadata.a": {"$in": ["x", "y"]}}, {"tag": ["a=x", "a=y"]}),
        (
            {"$and": [{"metadata.a": "x"}, {"metadata.b": "y"}]},
            {"all": [{"tag": ["a=x"]}, {"tag": ["b=y"]}]},
        ),
        ({"$or": [{"metadata.a": "x"}, {"params.model": "y"}]}, None),
        ({"metadata.a": {"$regex": "x"}}, None),
        ({}, None),
    ],
)
def test_portkey_conditions_become_tag_conditions_or_are_dropped(
    query: object, when: object
) -> None:
    value = {
        "strategy": {
            "mode": "conditional",
            "conditions": [{"query": query, "then": "t"}],
            "default": "t",
        },
        "targets": [
            {"name": "t", "provider": "openai", "api_key": "$K", "override_params": {"model": "m"}}
        ],
    }
    imported = import_value("portkey", value)
    assert [item["when"] for item in imported.choices] == ([] if when is None else [when])


def test_portkey_members_can_be_in_camel_case() -> None:
    value = {
        "provider": "openai",
        "apiKey": "$K",
        "overrideParams": {"model": "m", "max_tokens": 5},
    }
    imported = import_value("portkey", value)
    assert imported.labs["main"]["smart"] == [{"provider": "openai", "model": "m", "max_output": 5}]


def test_every_host_that_imports_name_is_a_shipped_provider() -> None:
    assert set(SHIPPED_NAMES.values()) <= set(SHIPPED.providers)


words = st.sampled_from(
    [
        "model_list", "litellm_params", "model_name", "model", "api_base", "api_key", "openai/m", "anthropic/claude-opus-5-5",
        "fallbacks", "router_settings", "litellm_settings", "general_settings", "master_key", "cache", "cache_params", "ttl",
        "Providers", "name", "api_base_url", "https://h.example/v1/chat/completions", "models", "Router", "default", "p,m", "think",
        "transformer", "use", "maxtoken", "strategy", "mode", "conditional", "loadbalance", "targets", "provider", "openai",
        "override_params", "conditions", "query", "then", "metadata.a", "$eq", "os.environ/X", "${X}", "http://[", "*", "m/*",
        "auto", "fast", "weight", "model_info", "input_cost_per_token", "max_budget", "budget_duration", "1d", "extra_headers",
    ]
) | st.text(max_size=8)  # fmt: skip
values = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 10**12) | st.floats() | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=5),
    max_leaves=25,
)


@pytest.mark.parametrize("kind", FILES)
@given(value=values)
def test_any_file_becomes_a_draft_or_is_refused(kind: str, value: object) -> None:
    """The command shows no traceback, and a terminal can show all notes."""
    try:
        imported = convert_config(kind, json.dumps(value, allow_nan=True), "f", SHIPPED, {})
    except ConfigError:
        return
    written = yaml.read(writer.format_config(imported, "f"), "out").value
    assert isinstance(written, dict)
    assert all(item.text for item in imported.notes)


deployments = st.lists(
    st.fixed_dictionaries(
        {
            "model_name": words,
            "litellm_params": st.fixed_dictionaries(
                {"model": st.sampled_from(["openai/m", "anthropic/claude-opus-5-5", "ollama/q", "azure/d", "gemini/*"]) | words},
                optional={"api_key": words, "api_base": words, "temperature": values, "max_tokens": values, "timeout": values,
                          "extra_headers": values, "extra_body": values},
            ),
        },
        optional={"model_info": values},
    ),
    max_size=4,
)  # fmt: skip
settings_ = st.fixed_dictionaries(
    {}, optional={"fallbacks": values, "cache": values, "cache_params": values, "max_budget": values, "model_group_alias": values,
                  "timeout": values, "redis_host": values, "tag_budget_config": values}
)  # fmt: skip


@given(rows=deployments, litellm_settings=settings_, router_settings=settings_)
def test_any_litellm_deployments_become_a_valid_configuration(
    rows: list[Any],
    litellm_settings: Any,
    router_settings: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    value = {
        "model_list": rows,
        "litellm_settings": litellm_settings,
        "router_settings": router_settings,
    }
    try:
        imported = convert_config("litellm", json.dumps(value), "f", SHIPPED, {})
    except ConfigError:
        return
    if any(lab.keys() - {"about"} for lab in imported.labs.values()):
        build_draft(imported, tmp_path_factory.mktemp("made"))


leaves = st.fixed_dictionaries(
    {"provider": st.sampled_from(["openai", "anthropic", "@groq-main", "ollama"]) | words},
    optional={"name": words, "api_key": words, "custom_host": words, "override_params": values, "weight": values,
              "request_timeout": values, "cache": values, "virtual_key": words},
)  # fmt: skip
nodes = st.fixed_dictionaries(
    {"targets": st.lists(leaves, min_size=1, max_size=3)},
    optional={
        "strategy": st.fixed_dictionaries(
            {"mode": st.sampled_from(["fallback", "loadbalance", "conditional", "x"])},
            optional={"default": words, "conditions": st.lists(st.fixed_dictionaries({"query": values, "then": words}), max_size=2)},
        ),
        "cache": values,
    },
)  # fmt: skip
routers = st.fixed_dictionaries(
    {
        "Providers": st.lists(
            st.fixed_dictionaries(
                {"name": st.just("p") | words, "api_base_url": st.just("https://h.example/v1/messages") | words,
                 "models": st.lists(st.just("m") | words, min_size=1, max_size=3)},
                optional={"api_key": words, "transformer": values},
            ),
            max_size=3,
        ),
        "Router": st.dictionaries(
            st.sampled_from(["default", "think", "background", "longContext", "webSearch", "image", "fallback"]),
            st.just("p,m") | values, max_size=5,
        ),
    },
    optional={"PORT": values, "HOST": values, "APIKEY": values, "PROXY_URL": values, "API_TIMEOUT_MS": values},
)  # fmt: skip


@pytest.mark.parametrize(("kind", "shape"), [("portkey", nodes), ("ccr", routers)])
@given(data=st.data())
def test_any_portkey_targets_and_ccr_providers_become_a_valid_configuration(
    kind: str,
    shape: st.SearchStrategy[Any],
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
) -> None:
    try:
        imported = convert_config(kind, json.dumps(data.draw(shape)), "f", SHIPPED, {})
    except ConfigError:
        return
    if any(lab.keys() - {"about"} for lab in imported.labs.values()):
        build_draft(imported, tmp_path_factory.mktemp("made"))


@pytest.mark.parametrize("models", [["m", "p,m"], ["p,m", "m"]])
def test_a_model_named_like_the_alias_of_another_gets_no_alias(
    models: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    provider = {"name": "p", "api_base_url": "https://h.example/v1/messages", "models": models}
    imported = convert_config("ccr", json.dumps({"Providers": [provider]}), "f", SHIPPED, {})
    build_draft(imported, tmp_path_factory.mktemp("made"))
    assert any("Another model has the name" in str(note) for note in imported.notes)


def imports(folder: Path, kind: str, source: str, *words: str) -> Result:
    file = folder / "source"
    file.write_text(source, "utf-8")
    return run("import", kind, file, *words, environ={})


@pytest.fixture
def work_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_import_writes_the_configuration_and_puts_secrets_into_env(work_folder: Path) -> None:
    (work_folder / ".env").write_text("A=1", "utf-8")
    (work_folder / ".env").chmod(0o644)
    source = (SAMPLES / "ccr.json").read_text("utf-8")
    result = imports(work_folder, "ccr", source, "--output", "config/gateway.yaml")
    assert result.exit_code == 0
    assert "Secrets are in .env now (DEEPSEEK_API_KEY)" in result.stderr
    assert "Other users may read .env, which has secrets now: chmod 600 .env" in result.stderr
    assert (
        (work_folder / ".env")
        .read_text("utf-8")
        .startswith("A=1\nDEEPSEEK_API_KEY=sk-abcdef\nTIERGATE_KEYS=claude-code=")
    )
    assert (
        "sk-abcdef" not in (work_folder / "config/gateway.yaml").read_text("utf-8") + result.output
    )
    assert result.stdout.endswith("  tiergate check\n  tiergate serve\n")
    repeated = imports(work_folder, "ccr", source, "--output", "config/gateway.yaml")
    assert (repeated.exit_code, repeated.stdout) == (1, "")
    assert repeated.stderr.endswith("exists already. Overwrite it with --force.\n")
    forced = imports(work_folder, "ccr", source, "--output", "config/gateway.yaml", "--force")
    assert forced.exit_code == 0
    assert (work_folder / ".env").read_text("utf-8").count("DEEPSEEK_API_KEY") == 1


def test_only_the_owner_can_read_a_new_env_file(work_folder: Path) -> None:
    imports(work_folder, "ccr", (SAMPLES / "ccr.json").read_text("utf-8"), "--output", "g.yaml")
    assert stat.S_IMODE(Path(".env").stat().st_mode) == 0o600


def test_without_output_the_configuration_is_printed_and_nothing_is_written(
    work_folder: Path,
) -> None:
    result = imports(work_folder, "litellm", (SAMPLES / "litellm.yaml").read_text("utf-8"))
    assert result.exit_code == 0
    assert yaml.read(result.stdout, "out").value
    assert (
        "Nothing was written: set LANGFUSE_HOST, OPENAI_API_KEY_2, TIERGATE_ADMIN_KEY"
        in result.stderr
    )
    assert sorted(item.name for item in work_folder.iterdir()) == ["source"]


def test_import_prints_its_report_as_json(work_folder: Path) -> None:
    result = imports(
        work_folder, "portkey", (SAMPLES / "portkey.json").read_text("utf-8"), "--json", "--strict"
    )
    report = json.loads(result.stdout)
    assert (result.exit_code, report["ok"], report["check"], report["files"]) == (1, False, [], [])
    assert {item["fate"] for item in report["notes"]} == {"kept", "changed", "dropped"}
    assert report["environ"] == ["ANTHROPIC_PROD_API_KEY", "GROQ_MAIN_API_KEY", "OPENAI_API_KEY"]
    assert "sk-clear" not in result.output


@pytest.mark.parametrize(
    ("kind", "source", "message"),
    [
        ("litellm", "model_list: [", "not valid YAML"),
        ("litellm", 'model_list: [{a: 1, b: ["x\\0"]}]', "contains a NUL character"),
        ("portkey", '{"a\\u0000": 1}', "contains a NUL character"),
        ("litellm", "model_list: []\n", "has no model that could be imported as LiteLLM's"),
        ("portkey", "[]", "has no model that could be imported as Portkey's"),
        ("ccr", '{"a": 1, "a": 2}', "error"),
        ("ccr", "\0", "error"),
    ],
)
def test_a_file_that_cannot_be_imported_is_refused_with_the_reason(
    work_folder: Path, kind: str, source: str, message: str
) -> None:
    result = imports(work_folder, kind, source, "--output", "g.yaml")
    assert (result.exit_code, result.stdout) == (1, "")
    assert message in result.stderr
    assert not (work_folder / "g.yaml").exists()


def test_a_missing_file_is_reported(work_folder: Path) -> None:
    result = run("import", "litellm", "none.yaml")
    assert (result.exit_code, result.stderr) == (
        1,
        "none.yaml: error: cannot be read: no such file or directory.\n",
    )


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    loop, upstream = Loop(), Upstream()
    loop.run(upstream.start())
    upstream.on("/v1/chat", answering)
    upstream.on("/bad", failing(503))
    yield upstream
    loop.run(upstream.stop())
    loop.close()


SOURCES: dict[str, Callable[[str], Any]] = {
    "litellm": lambda url: {
        "model_list": [
            {"model_name": "ask", "litellm_params": {"model": "openai/a", "api_base": f"{url}/bad", "api_key": "sk-1"}},
            {"model_name": "other", "litellm_params": {"model": "openai/b", "api_base": f"{url}/v1", "api_key": "sk-2"}},
        ],
        "router_settings": {"fallbacks": [{"ask": ["other"]}]},
    },
    "portkey": lambda url: {
        "strategy": {"mode": "fallback"},
        "targets": [
            {"provider": "openai", "custom_host": f"{url}/bad", "api_key": "sk-1", "override_params": {"model": "a"}},
            {"provider": "openai", "custom_host": f"{url}/v1", "api_key": "sk-2", "override_params": {"model": "b"}},
        ],
    },
    "ccr": lambda url: {
        "Providers": [
            {"name": "one", "api_base_url": f"{url}/bad/chat/completions", "api_key": "sk-1", "models": ["a"]},
            {"name": "two", "api_base_url": f"{url}/v1/chat/completions", "api_key": "sk-2", "models": ["b"]},
        ],
        "Router": {"default": "one,a", "fallback": "two,b"},
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "model"), [("litellm", "ask"), ("portkey", "auto"), ("ccr", "smart")]
)
def test_an_imported_configuration_serves_calls(
    work_folder: Path, upstream: Upstream, kind: str, model: str
) -> None:
    """A call falls back as in the old gateway, with the key that the file had in clear text."""
    result = imports(
        work_folder,
        kind,
        json.dumps(SOURCES[kind](upstream.url)),
        "--output",
        "config/gateway.yaml",
    )
    assert result.exit_code == 0, result.output
    lines = dict(
        line.split("=", 1) for line in (work_folder / ".env").read_text("utf-8").splitlines()
    )
    environ = {
        "TIERGATE_DATA": str(work_folder / "data"),
        "PYTHONPATH": str(Path(__file__).parents[2]),
        **lines,
    }
    command = [
        sys.executable,
        "-m",
        "gateway",
        "--config",
        str(work_folder / "config/gateway.yaml"),
        "serve",
        "--port",
        "0",
    ]
    child = Child(command, work_folder / "gateway", PYTHONUNBUFFERED="1", **environ)
    try:
        match = until(lambda: re.search(r"on (http://127\.0\.0\.1:\d+)", child.out), f"{child.err}")
        assert match is not None
        body = {"model": model, "messages": [{"role": "user", "content": "one two"}]}
        answer = httpx.post(f"{match[1]}/v1/chat/completions", json=body, timeout=30)
        assert answer.json()["choices"][0]["message"]["content"] == "word0 word1 ", answer.text
    finally:
        child.stop()
    assert [request.json["model"] for request in upstream.requests][-1] == "b"
    assert upstream.requests[-1].header("authorization") == "Bearer sk-2"
    assert jsonio.loads(upstream.requests[0].body)["model"] == "a"
