"""The shipped files: they parse, agree with the schema and each other, and stay short."""

import re
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from gateway.core.target import TIERS
from gateway.dialects import DIALECTS
from gateway.routing.rules.compile import compile_rules
from gateway.runtime.build import EFFORT_STYLES
from gateway.settings import validate, yaml
from gateway.settings.catalogue import build_catalogue
from gateway.settings.loader import ConfigSource
from gateway.settings.pricing import build_price
from tests.config import shipped

CHECKED = date(2026, 11, 24)


def off(source: ConfigSource) -> set[str]:
    """Return the providers that are off, about which nothing is warned."""
    providers = build_catalogue(source, lambda _provider, _model: None).providers
    return {name for name, provider in providers.items() if not provider.enabled}


@pytest.mark.parametrize("file", shipped.FILES, ids=lambda file: file.name)
def test_every_file_parses_and_fits_a_screen_width(file: Path) -> None:
    text = file.read_text("utf-8")
    assert isinstance(yaml.read(text, file.name).value, dict)
    assert [line for line in text.splitlines() if len(line) > 100] == []


@pytest.mark.parametrize("file", shipped.LABS, ids=lambda file: file.name)
def test_a_lab_file_has_at_most_120_lines(file: Path) -> None:
    assert len(file.read_text("utf-8").splitlines()) <= 120


@pytest.mark.parametrize("file", [shipped.MAIN, shipped.MATRIX], ids=lambda file: file.name)
def test_the_shipped_configurations_have_no_mistake(file: Path) -> None:
    source = shipped.source(shipped.ALL_SET, file)
    assert validate.find_errors(source, DIALECTS, EFFORT_STYLES) == []
    messages = [
        item.message for item in validate.find_warnings(source, CHECKED, EFFORT_STYLES, off(source))
    ]
    due = [message for message in messages if not message.startswith("the price changes on ")]
    retiring = {message.partition(" retires on ")[0] for message in due}
    assert retiring == (RETIRING if file == shipped.MAIN else set())


RETIRING = {"MAI-Code-1.1-Flash"}
"""The only fast model that its lab makes; the next target of the tier takes over from it."""


def test_the_matrix_is_four_labs_by_three_tiers_in_sixty_lines() -> None:
    assert len(shipped.MATRIX.read_text("utf-8").splitlines()) <= 60
    labs = shipped.built(shipped.ALL_SET, shipped.MATRIX).catalogue.labs
    cells = [(lab, tier) for lab, part in labs.items() for tier in TIERS if part.tiers[tier]]
    assert len(labs) == 4
    assert len(cells) == 12


def test_the_shipped_rules_compile() -> None:
    config = shipped.source({}).config
    rules = compile_rules(config.guards, config.choices)
    assert len(rules.guards) == len(config.guards) > 0
    assert len(rules.choices) == len(config.choices) > 0


def test_credentials_come_from_the_environment_only() -> None:
    for name, provider in shipped.source({}).config.providers.items():
        assert set(provider.accounts.values()) <= {""}, name


def test_without_variables_only_the_local_model_is_on() -> None:
    built = shipped.built({})
    assert [name for name, lab in built.catalogue.labs.items() if lab.enabled] == ["local"]
    assert built.catalogue.default_lab == "local"


KEYS: dict[str, tuple[str, ...]] = {
    "OPENAI_API_KEY": ("openai",),
    "ANTHROPIC_API_KEY": ("anthropic",),
    "GEMINI_API_KEY": ("google",),
    "GOOGLE_API_KEY": ("google",),
    "MODEL_API_KEY": ("meta",),
    "META_API_KEY": ("meta",),
    "DEEPSEEK_API_KEY": ("deepseek",),
    "MISTRAL_API_KEY": ("mistral",),
    "XAI_API_KEY": ("xai",),
    "DASHSCOPE_API_KEY": ("qwen",),
    "ALIBABA_API_KEY": ("qwen",),
    "MOONSHOT_API_KEY": ("moonshot",),
    "MOONSHOTAI_API_KEY": ("moonshot",),
    "ZAI_API_KEY": ("zai",),
    "MINIMAX_API_KEY": ("minimax",),
    "CO_API_KEY": ("cohere",),
    "COHERE_API_KEY": ("cohere",),
    "NOVA_API_KEY": ("amazon-nova",),
    "AMAZON_NOVA_API_KEY": ("amazon-nova",),
    "OPENROUTER_API_KEY": (
        "openai", "anthropic", "meta", "google", "llama", "xai", "cohere", "qwen", "amazon-nova",
    ),
    "HF_TOKEN": ("llama",),
    "FIREWORKS_API_KEY": ("llama",),
    "TOGETHER_API_KEY": ("llama",),
    "GROQ_API_KEY": ("llama",),
    "CEREBRAS_API_KEY": ("llama",),
    "AWS_BEARER_TOKEN_BEDROCK": ("anthropic", "llama", "amazon-nova"),
    "GOOGLE_GENAI_USE_ENTERPRISE": ("anthropic", "google"),
    "GOOGLE_GENAI_USE_VERTEXAI": ("anthropic", "google"),
    "AZURE_OPENAI_API_KEY": ("openai",),
    "AZURE_AI_API_KEY": ("anthropic", "microsoft"),
    "VLLM_BASE_URL": ("llama",),
    "OLLAMA_BASE_URL": ("llama",),
    "LLAMACPP_BASE_URL": ("llama",),
}  # fmt: skip
"""Every variable that turns labs on, and which labs; alone, it makes the first one the default."""

ADDRESS_OF_KEY = {
    "AZURE_OPENAI_API_KEY": "AZURE_OPENAI_ENDPOINT",
    "AZURE_AI_API_KEY": "AZURE_AI_ENDPOINT",
}
"""Keys that need an address too, because every customer has a resource of their own."""


def environment_with(variable: str) -> dict[str, str]:
    """Return an environment with this variable and what it needs, and nothing else."""
    return dict.fromkeys(
        filter(None, (variable, ADDRESS_OF_KEY.get(variable))), "https://set.example/v1"
    )


def test_every_variable_of_the_files_is_tested() -> None:
    optional = {"VLLM_API_KEY", "OLLAMA_API_KEY", "LLAMACPP_API_KEY"}
    assert set(shipped.VARIABLES) == set(KEYS) | set(ADDRESS_OF_KEY.values()) | optional


@pytest.mark.parametrize(("variable", "labs"), KEYS.items())
def test_one_variable_turns_its_labs_on_and_the_local_model_off(
    variable: str, labs: tuple[str, ...]
) -> None:
    built = shipped.built(environment_with(variable))
    assert {name for name, part in built.catalogue.labs.items() if part.enabled} == set(labs)
    assert built.catalogue.default_lab == labs[0]
    assert not built.providers["local"].enabled


@pytest.mark.parametrize(("key", "address"), ADDRESS_OF_KEY.items())
def test_azure_with_a_key_or_an_address_alone_is_off_and_names_the_other(
    key: str, address: str
) -> None:
    for variable, missing in ((key, address), (address, key)):
        built = shipped.built({variable: "https://set.example"})
        assert [name for name, part in built.catalogue.labs.items() if part.enabled] == ["local"]
        reasons = {
            part.disabled_reason
            for name, part in built.providers.items()
            if name.startswith("azure")
        }
        assert f"set {missing}" in reasons


INCOMPLETE_LABS = {
    "HF_TOKEN": "no reasoning model of this lab is known to be routed there",
    "VLLM_BASE_URL": "one engine serves one model; VLLM_MODEL names it in fast and smart",
    "OLLAMA_BASE_URL": "no reasoning model of this lab is listed for it",
    "LLAMACPP_BASE_URL": "one engine serves one model, taken for a small one",
}
"""Variables that do not fill all three tiers, and why; an empty tier uses the nearest one."""


@pytest.mark.parametrize(
    ("variable", "lab"), [(variable, lab) for variable, labs in KEYS.items() for lab in labs]
)
def test_one_variable_fills_every_tier(variable: str, lab: str) -> None:
    tiers = shipped.built(environment_with(variable)).catalogue.labs[lab].tiers
    empty = [tier for tier in TIERS if not any(target.provider.enabled for target in tiers[tier])]
    assert bool(empty) == (variable in INCOMPLETE_LABS), empty


def test_the_region_of_bedrock_can_be_chosen() -> None:
    providers = shipped.built({"AWS_REGION": "eu-west-1"}).providers
    url = providers["bedrock"].urls["openai-chat"]
    assert url == "https://bedrock-runtime.eu-west-1.amazonaws.com/openai/v1/chat/completions"
    url = providers["bedrock-claude"].urls["anthropic-messages"]
    assert url == "https://bedrock-mantle.eu-west-1.api.aws/anthropic/v1/messages"
    url = providers["bedrock-converse"].urls["bedrock-converse"]
    assert url == "https://bedrock-runtime.eu-west-1.amazonaws.com"


def test_vllm_serves_the_model_that_the_variable_names() -> None:
    environ = {"VLLM_BASE_URL": "http://gpu:8000/v1", "VLLM_MODEL": "org/own"}
    tiers = shipped.built(environ).catalogue.labs["llama"].tiers
    assert [tiers["fast"][0].model, tiers["smart"][0].model] == ["org/own", "org/own"]
    url = tiers["fast"][0].provider.urls["openai-chat"]
    assert url == "http://gpu:8000/v1/chat/completions"


def test_provider_urls_are_complete_and_encrypted_except_for_own_engines() -> None:
    own = {"vllm", "ollama", "llamacpp", "local"}
    for name, provider in shipped.built({}).providers.items():
        for dialect, url in provider.urls.items():
            path = (
                "" if dialect == "bedrock-converse" else r"(/[\w.-]+)+"
            )  # whose path begins /model
            assert name in own or re.fullmatch(rf"https://[a-z0-9.-]+{path}", url), name
        assert provider.auth != "x-goog-api-key" or set(provider.urls) == {"gemini"}


def test_the_examples_in_the_overlay_work_as_its_comment_says(tmp_path: Path) -> None:
    text = (shipped.FOLDER / "models.yaml").read_text("utf-8")
    examples = re.findall(r"^#   (\S+: \{.*\})$", text, re.MULTILINE)
    assert len(examples) == 2
    for file in shipped.FILES:
        copy = tmp_path / file.relative_to(shipped.FOLDER)
        copy.parent.mkdir(exist_ok=True)
        copy.write_bytes(file.read_bytes())
    lines = "".join(f"  {example}\n" for example in examples)
    (tmp_path / "models.yaml").write_text(text + lines, "utf-8")
    models = shipped.source({}, tmp_path / "gateway.yaml").config.models
    luna, sol = models["gpt-6-luna"].price, models["gpt-6-sol"].price
    assert luna is not None
    assert sol is not None
    assert (luna.input, luna.cache_read, len(luna.above)) == (Decimal("0.08"), Decimal("0.01"), 1)
    assert (sol.input, len(sol.above)) == (Decimal(2), 1)
    later = build_price(sol).find_in_force(datetime(2026, 12, 1, tzinfo=UTC).timestamp())
    assert (later.rates.input, later.rates.output, later.steps) == (Decimal("1.5"), Decimal(8), ())
    assert later.version == "config 2026-11-24 from 2026-12-01"
