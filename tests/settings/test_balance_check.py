"""Replicas and groups in a configuration: what they become, and what is wrong with them."""

from pathlib import Path

import pytest

from gateway.core.target import Account, TargetGroup
from tests.settings import world

REPLICAS = """\
version: 1
providers:
  vllm:
    replicas: [http://a:8000/v1, "http://b:8000/v1/"]
    dialects: {openai-chat: /chat/completions}
    auth: none
labs:
  vllm:
    smart: [{model: qwen}]
models:
  qwen: {context: 1000, price: {input: 0, output: 0}}
"""
"""Line 4 has the replicas, 5 the dialects; new keys of the provider come before line 7."""

GROUP = """\
version: 1
providers:
  x: {base_url: "http://x", dialects: {openai-chat: /chat}, auth: none}
  y: {base_url: "http://y", dialects: {openai-chat: /chat}, auth: none}
labs:
  mine:
    smart:
      - {provider: x, model: qwen, group: qwens}
      - {provider: y, model: qwen, group: qwens, weight: 2}
      - {provider: y, model: other}
models:
  qwen: {context: 1000, price: {input: 0, output: 0}}
  other: {context: 1000, price: {input: 0, output: 0}}
"""
"""Lines 8 to 10 have the targets."""


def with_provider(*lines: str) -> str:
    return REPLICAS.replace("labs:\n", "".join(f"    {line}\n" for line in lines) + "labs:\n")


def test_each_replica_becomes_an_account_with_an_address(tmp_path: Path) -> None:
    provider = world.built(tmp_path, REPLICAS).providers["vllm"]
    assert provider.accounts == (
        Account("a:8000", "", "http://a:8000/v1"),
        Account("b:8000", "", "http://b:8000/v1"),
    )
    assert (provider.balance, provider.auth) == ("hash", "none")
    assert provider.urls == {"openai-chat": "/chat/completions"}
    assert world.warnings(tmp_path, REPLICAS) == []


def test_replicas_share_one_credential_and_may_be_chosen_otherwise(tmp_path: Path) -> None:
    text = with_provider("accounts: {main: sk-1}", "balance: p2c").replace("    auth: none\n", "")
    provider = world.built(tmp_path, text).providers["vllm"]
    assert [item.secret for item in provider.accounts] == ["sk-1", "sk-1"]
    assert (provider.balance, provider.auth) == ("p2c", "bearer")


def test_replicas_replace_the_base_url(tmp_path: Path) -> None:
    """So a variable of the environment alone gives replicas to a provider that ships."""
    provider = world.built(tmp_path, with_provider("base_url: http://c:8000/v1")).providers["vllm"]
    assert provider.urls == {"openai-chat": "/chat/completions"}
    text = world.BASE.replace("acme.example", "127.0.0.1:8484")
    environ = {**world.ON, "TIERGATE_PROVIDERS__ACME__REPLICAS": "[https://a, https://b]"}
    provider = world.built(tmp_path, text, environ).providers["acme"]
    assert [item.base_url for item in provider.accounts] == ["https://a", "https://b"]
    assert world.warnings(tmp_path, text, environ) == []


def test_replicas_behind_one_host_have_its_paths_in_their_names(tmp_path: Path) -> None:
    urls = "[https://user:word@h/one/v1, https://h/two/v1]"
    text = REPLICAS.replace('[http://a:8000/v1, "http://b:8000/v1/"]', urls)
    accounts = world.built(tmp_path, text).providers["vllm"].accounts
    assert [item.name for item in accounts] == ["h/one/v1", "h/two/v1"]


def test_embeddings_and_other_endpoints_are_paths_of_each_replica(tmp_path: Path) -> None:
    text = with_provider('endpoints: {rerank: "", openai-audio: /audio}').replace(
        "smart: [{model: qwen}]", "smart: [{model: qwen}]\n    embeddings: [{model: vectors}]"
    )
    built = world.built(tmp_path, text)
    assert built.providers["vllm"].endpoint_urls == {"", "/audio"}
    (target,) = built.catalogue.labs["vllm"].embeddings
    assert target.provider.urls == {"openai-chat": "/embeddings"}
    assert len(target.provider.accounts) == 2


WRONG_REPLICAS = [
    (
        with_provider("command: [vllm]", "realtime: {openai: /realtime}"),
        [
            "c.yaml:4: error: providers.vllm.replicas: does not go with `command`. Leave out `command`.",
            "c.yaml:4: error: providers.vllm.replicas: does not go with `realtime`. Leave out `realtime`.",
        ],
    ),
    (
        with_provider("accounts: {one: k, two: l}"),
        [
            (
                "c.yaml:4: error: providers.vllm.replicas: goes with one account: each replica takes the same "
                "credential."
            )
        ],
    ),
    (
        REPLICAS.replace("/chat/completions", '"http://c/v1/chat/completions"'),
        [
            (
                "c.yaml:5: error: providers.vllm.dialects.openai-chat: must be a path: each replica has its "
                "own address."
            )
        ],
    ),
    (
        REPLICAS.replace("http://a:8000/v1", "a:8000, 'http://[::1', http://b:8000/v1"),
        [
            "c.yaml:4: error: providers.vllm.replicas[0]: must be a URL of http:// or https://.",
            "c.yaml:4: error: providers.vllm.replicas[1]: must be a URL of http:// or https://.",
            "c.yaml:4: error: providers.vllm.replicas[3]: is given twice.",
        ],
    ),
]


@pytest.mark.parametrize(("text", "mistakes"), WRONG_REPLICAS)
def test_replicas_that_cannot_be_are_errors(tmp_path: Path, text: str, mistakes: list[str]) -> None:
    assert world.mistakes(tmp_path, text) == mistakes


def test_equal_targets_have_a_group_of_their_lab_and_tier(tmp_path: Path) -> None:
    targets = world.built(tmp_path, GROUP).catalogue.labs["mine"].tiers["smart"]
    group = TargetGroup(lab="mine", tier="smart", label="qwens")
    assert [(item.group, item.weight) for item in targets] == [(group, 1), (group, 2), (None, 1)]
    assert group.name == "mine/smart/qwens"
    text = GROUP.replace("models:\n", "    groups: {qwens: {balance: p2c}}\nmodels:\n")
    (first, *_) = world.built(tmp_path, text).catalogue.labs["mine"].tiers["smart"]
    assert first.group is not None
    assert first.group.balance == "p2c"
    assert world.warnings(tmp_path, text) == []


def test_a_group_must_exist_and_stand_together(tmp_path: Path) -> None:
    text = GROUP.replace("models:\n", "    groups: {qwen: {}}\nmodels:\n")
    assert world.mistakes(tmp_path, text) == [
        "c.yaml:11: error: labs.mine.groups.qwen: no target has the group 'qwen'. Did you mean 'qwens'?"
    ]
    text = GROUP.replace("group: qwens, weight: 2", "weight: 2").replace(
        "model: other", "model: other, group: qwens"
    )
    assert world.mistakes(tmp_path, text) == [
        (
            "c.yaml:10: error: labs.mine.smart[2].group: stands apart from the other targets of the group "
            "'qwens'. Put equal targets one after another."
        )
    ]


SUSPECT = [
    (
        GROUP.replace("group: qwens, weight", "weight"),
        [
            "c.yaml:8: warning: labs.mine.smart[0].group: is the only target of the group 'qwens'.",
            (
                "c.yaml:9: warning: labs.mine.smart[1].weight: has no effect: the target has no "
                "`group`."
            ),
        ],
    ),
    (
        GROUP.replace("qwens, weight: 2", "qwens, effort: low").replace(
            "context: 1000,", "context: 1000, effort: {style: reasoning_effort, accepts: [low]},"
        ),
        [
            (
                "c.yaml:9: warning: labs.mine.smart[1].group: its effort is not that of x/qwen. The "
                "gateway takes targets of a group for equal."
            )
        ],
    ),
    (
        GROUP + "  y/qwen: {context: 9, price: {input: 1, output: 1}}\n",
        [
            (
                "c.yaml:9: warning: labs.mine.smart[1].group: its `context` is not that of x/qwen. The "
                "gateway takes targets of a group for equal."
            )
        ],
    ),
    (
        GROUP.replace("{provider: y, model: qwen,", "{provider: y, model: other,"),
        [],
    ),
    (
        GROUP.replace("{context: 1000, ", "{").replace("y, model: qwen", "y, model: other"),
        [
            (
                "c.yaml:9: warning: labs.mine.smart[1].group: nothing says that other is qwen. The "
                "gateway takes targets of a group for equal."
            )
        ],
    ),
    (
        with_provider("balance: p2c").replace(', "http://b:8000/v1/"', ""),
        ["c.yaml:7: warning: providers.vllm.balance: has no effect: there is one account."],
    ),
]


@pytest.mark.parametrize(("text", "warnings"), SUSPECT)
def test_equals_that_are_none_are_warnings(tmp_path: Path, text: str, warnings: list[str]) -> None:
    assert world.warnings(tmp_path, text) == warnings


def test_equals_without_facts_are_equal_by_their_names_alone(tmp_path: Path) -> None:
    text = GROUP.partition("models:")[0]
    assert "nothing says" not in "".join(world.warnings(tmp_path, text))
    text = text.replace("y, model: qwen", "y, model: else")
    assert "nothing says that else is qwen." in "".join(world.warnings(tmp_path, text))


def test_replicas_may_be_the_gateway_itself_by_mistake(tmp_path: Path) -> None:
    text = REPLICAS.replace("http://a:8000/v1", "http://127.0.0.1:8484/v1")
    (warning,) = world.warnings(tmp_path, text)
    assert warning.split(": ")[2] == "providers.vllm.replicas[0]"
