"""Broken configurations: each mistake with its file, line, path and what was probably meant."""

from pathlib import Path

import pytest

from gateway.settings.errors import Mistake, format_path, suggest_name
from gateway.settings.loader import EMBEDDING_MODEL_HINT
from tests.settings import world

# Text appended to a sound configuration of fifteen lines, and the mistake that it makes.
APPENDED: list[tuple[str, str]] = [
    # unknown keys
    ("sever: {port: 1}", "16: error: sever: no such key. Did you mean 'server'?"),
    ("server: {prot: 1}", "16: error: server.prot: no such key. Did you mean 'port'?"),
    ("routing:\n  clasifier: off",
     "17: error: routing.clasifier: no such key. Did you mean 'classifier'?"),
    ("xyz: true", "16: error: xyz: no such key."),
    ("choices:\n- name: a\n  tier: fast\n  then: x",
     "19: error: choices[0].then (rule 'a'): no such key. Did you mean 'when'?"),
    ("choices:\n- {name: a, tier: fast, when: {keyword: x}}",
     "17: error: choices[0].when.keyword (rule 'a'): no such key. Did you mean 'keywords'?"),
    ("choices:\n- name: a\n  tier: fast\n  when:\n    any:\n    - tools: true\n    - not: {imges: true}",
     "22: error: choices[0].when.any[1].not.imges (rule 'a'): no such key. Did you mean 'images'?"),
    ("choices:\n- {name: a, tier: fast, when: {user_tokens: {maximum: 3}}}",
     "17: error: choices[0].when.user_tokens.maximum (rule 'a'): no such key. Did you mean 'max'?"),
    ("choices:\n- {name: a, tier: fast, when: {need: {}}}",
     "17: error: choices[0].when.need (rule 'a'): needs `min`, `max` or both."),
    ("choices:\n- {name: a, tier: fast, when: {need: {mini: 1}}}",
     "17: error: choices[0].when.need.mini (rule 'a'): no such key. Did you mean 'min'?"),
    ("choices:\n- {name: a, tier: fast, when: {effort: hihg}}",
     "17: error: choices[0].when.effort[0] (rule 'a'): 'hihg' is not allowed. Did you mean 'high'?"),
    ("choices:\n- {name: a, tier: fast, when: {metadata: {team: []}}}",
     "17: error: choices[0].when.metadata.team (rule 'a'): must not be empty."),
    ("choices:\n- {name: a, tier: fast, when: {metadata: {}}}",
     "17: error: choices[0].when.metadata (rule 'a'): must not be empty."),
    ("choices:\n- {name: a, tier: fast, when: {traffic: 5}}",
     "17: error: choices[0].when.traffic (rule 'a'): must be at most 1."),
    ("choices:\n- {name: a, tier: fast, when: {traffic: a few}}",
     "17: error: choices[0].when.traffic (rule 'a'): must be a part of the traffic, as 5% or 0.05."),
    ("choices:\n- {name: a, tier: fast, when: {any: [{traffic: 5%}]}}",
     "17: error: choices[0].when (rule 'a'): `traffic` stands beside `any`, `all` and `not`, never inside them."),
    ("choices:\n- {name: a, tier: fast, when: {traffic: 5%, not: {traffic: 5%}}}",
     "17: error: choices[0].when (rule 'a'): `traffic` stands beside `any`, `all` and `not`, never inside them."),
    ("choices:\n- {name: a, tier: fast, when: {turn: side, kind: side}}",
     "17: error: choices[0].when.turn (rule 'a'): no such key. Did you mean 'turns'?"),
    ("choices:\n- {name: a, tier: fast, when: {share: 5%}}",
     "17: error: choices[0].when.share (rule 'a'): no such key. Did you mean 'traffic'?"),
    # words that are not allowed
    ("routing: {classifier: of}",
     "16: error: routing.classifier: 'of' is not allowed. Did you mean 'off'?"),
    ("routing: {on_loss: tell}",
     "16: error: routing.on_loss: 'tell' is not allowed. Known: drop-and-tell, refuse."),
    ("routing: {judge: {model: auto}}",
     "16: error: routing.judge.model: 'auto' cannot judge: the gateway would have to judge the judge's own call. Use a tier or a model."),
    ("aliases: {x: acme/auto}\nrouting: {judge: {model: x}}",
     "17: error: routing.judge.model: 'acme/auto' cannot judge: the gateway would have to judge the judge's own call. Use a tier or a model."),
    ("routing: {judge: {model: smal}}",
     "16: error: routing.judge.model: no model or alias is called 'smal'. Did you mean 'small'?"),
    ("routing: {judge: {timeout: 0s}}",
     "16: error: routing.judge.timeout: must be above 0."),
    ("routing: {meaning: {embed: a-model}}",
     f"16: error: routing.meaning.embed: no embedding model 'a-model'. {EMBEDDING_MODEL_HINT} Or take `local`."),
    ("routing: {meaning: {embed: local, near: 0}}",
     "16: error: routing.meaning.near: must be above 0.0."),
    ("cache: {near: {embed: a-model}}",
     f"16: error: cache.near.embed: no embedding model 'a-model'. {EMBEDDING_MODEL_HINT}"),
    ("cache: {near: {embed: words}}",
     f"16: error: cache.near.embed: near questions are no longer found by words. {EMBEDDING_MODEL_HINT}"),
    ("cache: {near: {}}",
     f"16: error: cache.near: the key 'embed' is missing. {EMBEDDING_MODEL_HINT}"),
    ("cache: {near: {embed: a-model, threshold: 0}}",
     "16: error: cache.near.threshold: must be above 0.0."),
    ("routing: {max_share: {reasoning: 10}}",
     "16: error: routing.max_share.reasoning: must be at most 1.0."),
    ("routing: {max_share: {fast: 0.5}}",
     "16: error: routing.max_share.fast: no such key. Known: reasoning, smart."),
    ("routing: {complete: yes}",
     "16: error: routing.complete: 'yes' is not allowed. Known: hold, off."),
    ("routing: {quality: best}",
     "16: error: routing.quality: a number from 0 (always fast) to 10, or a share as `keep: 0.97`."),
    ("routing: {quality: -1}",
     "16: error: routing.quality: a number from 0 (always fast) to 10, or a share as `keep: 0.97`."),
    ("routing: {quality: true}",
     "16: error: routing.quality: a number from 0 (always fast) to 10, or a share as `keep: 0.97`."),
    ("routing: {quality: {keep: 97}}",
     "16: error: routing.quality: `keep` is the fraction of the quality that is kept, 0 to 1."),
    ("routing: {complete: live}",
     "16: error: routing.complete: 'live' is no longer served: take `hold`, or leave it out."),
    ("default: {tier: medium}",
     "16: error: default.tier: 'medium' is not allowed. Known: fast, reasoning, smart."),
    ("guards:\n- {name: g, max_tier: reasonning}",
     "17: error: guards[0].max_tier (rule 'g'): 'reasonning' is not allowed. Did you mean 'reasoning'?"),
    ("cache: {default: always}", "16: error: cache.default: 'always' is not allowed. Known: deterministic, embeddings, off, on."),
    ("cache: {default: determinstic}", "16: error: cache.default: 'determinstic' is not allowed. Did you mean 'deterministic'?"),
    ("cache: {scope: keys}", "16: error: cache.scope: 'keys' is not allowed. Did you mean 'key'?"),
    # kinds of values
    ("server: {port: http}", "16: error: server.port: must be a whole number."),
    ("server: {port: 1.5}", "16: error: server.port: must be a whole number."),
    ("server: {port: [1]}", "16: error: server.port: must be a whole number."),
    ("server: {port: 70000}", "16: error: server.port: must be at most 65535."),
    ("server: {in_flight: 0}", "16: error: server.in_flight: must be at least 1."),
    ("server: {max_body: 32 megabytes}",
     "16: error: server.max_body: must be a size, as 500KB, 32MB or 1GB."),
    ("server: {max_body: 32mb}",
     "16: error: server.max_body: must be a size, as 500KB, 32MB or 1GB."),
    ("server: {open: maybe}", "16: error: server.open: must be true or false."),
    ("server: 8484", "16: error: server: must be a mapping."),
    ("cache: {ttl: an hour}",
     "16: error: cache.ttl: must be a duration, as 500ms, 90s, 15m, 1h or 7d."),
    ("cache: {ttl: 1 week}",
     "16: error: cache.ttl: must be a duration, as 500ms, 90s, 15m, 1h or 7d."),
    ("cache: {ttl: .inf}", "16: error: cache.ttl: must be a finite number."),
    ("cache: {ttl: -1}", "16: error: cache.ttl: must be at least 0."),
    ("default: {lab: 7}", "16: error: default.lab: must be a text. Put it in quotes."),
    ("default: {lab: [acme]}", "16: error: default.lab: must be a text."),
    ("aliases: [a, b]", "16: error: aliases: must be a mapping."),
    ("guards: {name: g}", "16: error: guards: must be a list."),
    ("choices:\n- {name: a, tier: fast, when: {user_tokens: 30}}",
     "17: error: choices[0].when.user_tokens (rule 'a'): must be a mapping. Write it as {min: 1, max: 30}."),
    ("choices:\n- {name: a, tier: fast, when: {turns: {min: two}}}",
     "17: error: choices[0].when.turns.min (rule 'a'): must be a number."),
    ("choices:\n- {name: a, tier: fast, when: {keywords: 5}}",
     "17: error: choices[0].when.keywords (rule 'a'): must be a list."),
    ("choices:\n- {name: a, tier: fast, when: {keywords: [a, 404]}}",
     "17: error: choices[0].when.keywords[1] (rule 'a'): must be a text. Put it in quotes."),
    ("choices:\n- {name: a, tier: fast, when: {keywords: []}}",
     "17: error: choices[0].when.keywords (rule 'a'): must not be empty."),
    ("choices:\n- {name: a, tier: fast, when: {keywords: [' ']}}",
     "17: error: choices[0].when.keywords[0] (rule 'a'): must not be empty."),
    ("choices:\n- {name: a, tier: fast, when: {any: []}}",
     "17: error: choices[0].when.any (rule 'a'): must not be empty."),
    ("choices:\n- {tier: fast}", "17: error: choices[0]: the key 'name' is missing."),
    # rules
    ("choices:\n- {name: a}",
     "17: error: choices[0] (rule 'a'): decides nothing. Give it a `tier`, `lab` or `model`."),
    ("choices:\n- {name: a, lab: acmee}",
     "17: error: choices[0].lab (rule 'a'): no lab 'acmee'. Did you mean 'acme'?"),
    ("choices:\n- {name: a, model: smal}",
     "17: error: choices[0].model (rule 'a'): no target has the model 'smal'. Did you mean 'small'?"),
    ("choices:\n- {name: a, model: fast}",
     "17: error: choices[0].model (rule 'a'): no target has the model 'fast'. Known: large, small."),
    ("choices:\n- {name: a, tier: fast, when: {matches: '('}}",
     "17: error: choices[0].when.matches (rule 'a'): '(' is not a regular expression: missing ): (."),
    ("choices:\n- {name: a, tier: fast, when: {turns: {min: 3, max: 2}}}",
     "17: error: choices[0].when.turns (rule 'a'): min is above max: it never holds."),
    ("choices:\n- {name: a, tier: fast, when: {all: [{not: {dialect: openai_chat}}]}}",
     ("17: error: choices[0].when.all[0].not.dialect (rule 'a'): no dialect 'openai_chat'. "
      "Did you mean 'openai-chat'?")),
    ("choices:\n- {name: a, tier: fast}\n- {name: a, lab: acme}",
     "18: error: choices[1].name (rule 'a'): 'a' is given twice."),
    ("guards:\n- {name: g}", "17: error: guards[0] (rule 'g'): has no effect. Give it one, as `max_tier: smart`."),
    ("guards:\n- {name: g, allow: [acme, x]}", "17: error: guards[0].allow (rule 'g'): no lab 'x'. Known: acme."),
    ("guards:\n- {name: g, deny: amce}",
     "17: error: guards[0].deny (rule 'g'): no lab 'amce'. Did you mean 'acme'?"),
    ("guards:\n- {name: g, min_tier: smart, max_tier: fast}",
     "17: error: guards[0].min_tier (rule 'g'): is above max_tier: no tier is left."),
    ("guards:\n- {name: g, allow: acme, deny: [acme]}",
     "17: error: guards[0].allow (rule 'g'): is all denied: no lab is left."),
    ("guards:\n- {name: g, no_cache: true}\n- {name: g, no_cache: true}",
     "18: error: guards[1].name (rule 'g'): 'g' is given twice."),
    ("choices:\n- {name: a, tier: fast, when: {language: german}}",
     ("17: error: choices[0].when.language[0] (rule 'a'): 'german' is not allowed. "
      "Write 'de': languages have their codes of ISO 639-1.")),
    ("choices:\n- {name: a, tier: fast, when: {language: klingon}}",
     ("17: error: choices[0].when.language[0] (rule 'a'): 'klingon' is not allowed. Known: en, de, "
      "fr, es, pt, it, nl, pl, ru, uk, zh, ja, ko, ar, hi, tr, unknown.")),
    ("choices:\n- {name: a, tier: fast, max_tier: smart}",
     ("17: error: choices[0].max_tier (rule 'a'): no such key. "
      "`max_tier` belongs to guards: choices have none.")),
    ("guards:\n- {name: g, tier: smart}",
     "17: error: guards[0].tier (rule 'g'): no such key. `tier` belongs to choices: guards have none."),
    ("choices:\n- {name: a, tier: fast, keywords: [x]}",
     ("17: error: choices[0].keywords (rule 'a'): no such key. "
      "`keywords` is a condition: write it below `when`.")),
    ("choices:\n- {name: a, tier: fast, when: {regex: x}}",
     "17: error: choices[0].when.regex (rule 'a'): no such key. Did you mean 'matches'?"),
    ("choices:\n- {name: a, tier: fast, when: {keywords: prove, derive}}",
     ("17: error: choices[0].when.derive (rule 'a'): no such key. "
      "A list needs brackets: keywords: [prove, derive].")),
    ("guards:\n- {name: g, no_cache: true, tag: a, b}",
     "17: error: guards[0].b (rule 'g'): no such key. A list needs brackets: tag: [a, b]."),
    ("choices:\n- {name: a, tier: fast, when: {stream: true, derive: }}",
     "17: error: choices[0].when.derive (rule 'a'): no such key."),
    ("choices:\n- {name: a, tier: fast, when: {code: {min: 30}}}",
     ("17: error: choices[0].when.code (rule 'a'): never holds: the rule never matches. "
      "It goes from 0 to 1: write {min: 0.3}.")),
    ("choices:\n- {tier: fast, name: 5}",
     "17: error: choices[0].name: must be a text. Put it in quotes."),
    # names
    ("default: {lab: amce}", "16: error: default.lab: no lab 'amce'. Did you mean 'acme'?"),
    ("aliases: {gpt: smalll}", "16: error: aliases.gpt: no model or alias is called 'smalll'. Did you mean 'small'?"),
    ("aliases: {gpt: acme/fastest}",
     "16: error: aliases.gpt: no model or alias is called 'acme/fastest'. Did you mean 'acme/fast'?"),
    ("aliases: {auto: fast}",
     "16: error: aliases.auto: an alias must lead from a free name to one that is no alias."),
    ("aliases: {a: a}",
     "16: error: aliases.a: leads back to itself: a, a. Give one of them a model or a tier."),
    ("aliases: {a: fast, b: a}",
     "16: error: aliases.b: an alias must lead from a free name to one that is no alias."),
    ("ledger: {time_zone: Berlin}",
     "16: error: ledger.time_zone: no time zone 'Berlin'. Write it as Europe/Berlin."),
    ("keys: '${KEYS_FILE}'",
     ("16: error: keys: the environment variable KEYS_FILE is not set. "
      "Write ${NAME:-default} to give a default.")),
    ("keys: '${KEYS_FILE'", "16: error: keys: '${KEYS_FILE' lacks a closing brace."),
    ("include: [c.yaml]", "16: error: include: a file cannot include itself."),
    ("include: [more/*.yaml]", "16: error: include: no file matches 'more/*.yaml'."),
    ("include: ['']", "16: error: include: no file matches ''."),
    ("include: more.yaml", "16: error: include: must be a list."),
    ("models: {}", "16: error: models: this key is given twice, first in line 11"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), APPENDED)
def test_a_mistake_is_reported_with_its_line_and_a_suggestion(
    tmp_path: Path, text: str, expected: str
) -> None:
    assert world.mistakes(tmp_path, world.BASE + text + "\n") == [f"c.yaml:{expected}"]


def test_a_list_without_brackets_is_reported_with_all_its_words(tmp_path: Path) -> None:
    text = "choices:\n- {name: a, tier: fast, when: {keywords: prove, derive, show that}}\n"
    hint = "A list needs brackets: keywords: [prove, derive, show that]."
    assert world.mistakes(tmp_path, world.BASE + text) == [
        f"c.yaml:17: error: choices[0].when.derive (rule 'a'): no such key. {hint}",
        f"c.yaml:17: error: choices[0].when.show that (rule 'a'): no such key. {hint}",
    ]


NO_WORDS = "is looked for as it stands: keywords are words, no patterns."


@pytest.mark.parametrize(
    ("keywords", "expected"),
    [
        ("['prov.*']", f"'prov.*' {NO_WORDS} For a regular expression write `matches`: 'prov.*'."),
        ("[ok, 'a|b']", f"'a|b' {NO_WORDS} For a regular expression write `matches`: 'a|b'."),
        ("'deriv*'", f"'deriv*' {NO_WORDS} For a regular expression write `matches`: 'deriv*'."),
        (
            "'prove, derive'",
            "'prove, derive' is one keyword, with its comma. A list needs brackets: keywords: [prove, derive].",
        ),
        ("['ladies, gentlemen', C++, 'A* search', '[TODO]', U.S., 'why?', .NET]", ""),
        ("tell me", ""),
    ],
)
def test_keywords_that_look_like_patterns_are_a_warning(
    tmp_path: Path, keywords: str, expected: str
) -> None:
    """The gateway would look for these keywords as written, and never find them."""
    text = (
        f"{world.BASE}choices:\n- name: a\n  tier: fast\n  when: {{any: [keywords: {keywords}]}}\n"
    )
    place = "c.yaml:19: warning: choices[0].when.any[0].keywords (rule 'a'): "
    assert world.warnings(tmp_path, text) == ([place + expected] if expected else [])


# Text replaced in the sound configuration, and the mistake that it makes.
REPLACED: list[tuple[str, str, str]] = [
    ("version: 1", "version: 2", "1: error: version: 2 is not allowed. Known: 1."),
    ("version: 1", "version: '1'", "1: error: version: '1' is not allowed. Write it without quotes."),
    ("version: 1", "cache: {}", "1: error: the key 'version' is missing."),
    ("dialects: {openai-chat: /chat/completions}", "auth: bearer",
     "3: error: providers.acme: has neither `dialects` nor `endpoints`."),
    ("{openai-chat: /chat/completions}", "{openai_chat: /x}",
     "5: error: providers.acme.dialects.openai_chat: no such dialect. Did you mean 'openai-chat'?"),
    ("{openai-chat: /chat/completions}", "{bedrock_converse: ''}",
     "5: error: providers.acme.dialects.bedrock_converse: no such dialect. Did you mean 'bedrock-converse'?"),
    ("{openai-chat: /chat/completions}", "{openai-chat: /x}\n    endpoints: {openai-file: ''}",
     "6: error: providers.acme.endpoints.openai-file: no such table of endpoints. Did you mean 'openai-files'?"),
    ("https://acme.example/v1", "acme.example/v1",
     "4: error: providers.acme.base_url: must start with http:// or https://."),
    ("https://acme.example/v1", "''",
     "5: error: providers.acme.dialects.openai-chat: needs a `base_url`."),
    ("https://acme.example/v1", '"${ACME_URL}"',
     ("4: error: providers.acme.base_url: the environment variable ACME_URL is not set. "
      "Write ${NAME:-default} to give a default.")),
    ('accounts: {main: "${ACME_API_KEY}"}', "auth: api-key",
     "3: error: providers.acme: has no `accounts`. Without any, write `auth: none`."),
    ('accounts: {main: "${ACME_API_KEY}"}', 'accounts: "${ACME_API_KEY}"',
     "6: error: providers.acme.accounts: must be a mapping."),
    ('accounts: {main: "${ACME_API_KEY}"}', "accounts: {main: '${file:/no/such}'}",
     "6: error: providers.acme.accounts.main: the file /no/such cannot be read."),
    ('accounts: {main: "${ACME_API_KEY}"}', "accounts: {main: a}\n    auth: token",
     ("7: error: providers.acme.auth: 'token' is not allowed. "
      "Known: api-key, aws, azure, bearer, google, none, x-api-key, x-goog-api-key.")),
    ('accounts: {main: "${ACME_API_KEY}"}', "accounts: {main: a}\n    timeouts: {idle: soon}",
     ("7: error: providers.acme.timeouts.idle: "
      "must be a duration, as 500ms, 90s, 15m, 1h or 7d.")),
    ("version: 1", "version: 1\nrouting: {hedge: {fast: soon}}",
     "2: error: routing.hedge.fast: must be p95, or a duration above 0, as 800ms."),
    ("version: 1", "version: 1\nrouting: {hedge: {fast: 0s}}",
     "2: error: routing.hedge.fast: must be p95, or a duration above 0, as 800ms."),
    ("version: 1", "version: 1\nrouting: {hedge: {fast: null}}",
     "2: error: routing.hedge.fast: must be p95, or a duration above 0, as 800ms."),
    ("version: 1", "version: 1\ntimeouts: {quick: {idle: 1s}}",
     ("2: error: timeouts.quick: 'quick' is not allowed. "
      "Known: embeddings, fast, reasoning, smart.")),
    ("model: large", "model: large, effort: medium",
     "10: error: labs.acme.smart[0].effort: large has no effort setting."),
    ("effort: none}", "effort: medium}",
     ("9: error: labs.acme.fast[0].effort: small does not accept 'medium'. "
      "It accepts none, low, high.")),
    ("effort: none}", "effort: hgh}",
     "9: error: labs.acme.fast[0].effort: 'hgh' is not allowed. Did you mean 'high'?"),
    ("model: large", "model: large, provider: amce",
     "10: error: labs.acme.smart[0].provider: no provider 'amce'. Did you mean 'acme'?"),
    ("smart: [{model: large}]", "smart: {model: large}",
     "10: error: labs.acme.smart: must be a list."),
    ("smart: [{model: large}]", "slow: [{model: large}]",
     ("10: error: labs.acme.slow: no such key. "
      "Known: about, embeddings, fallback, fast, groups, quality, reasoning, smart.")),
    ("smart: [{model: large}]", "smart: [{model: large}]\n    fallback: acme",
     "11: error: labs.acme.fallback[0]: is this lab itself."),
    ("smart: [{model: large}]", "smart: [{model: large}]\n    fallback: [openai]",
     "11: error: labs.acme.fallback[0]: no lab 'openai'."),
    ("input: 3", "input: three", "15: error: models.large.price.input: must be a number."),
    ("input: 3", "input: -3", "15: error: models.large.price.input: must be at least 0."),
    ("input: 3", "input: 0.0000000001", "15: error: models.large.price.input: has too many digits."),
    ("large: {price: {input: 3, output: 4}}", "large: {like: smal}",
     "15: error: models.large.like: no model 'smal' is described. Did you mean 'small'?"),
    ("large: {price: {input: 3, output: 4}}", "large: {like: large}",
     "15: error: models.large.like: is like itself, in a circle."),
    ("large: {price: {input: 3, output: 4}}", "large: {retires: soon}",
     "15: error: models.large.retires: must be a date, as 2027-01-14."),
    ("large: {price: {input: 3, output: 4}}", "large: {vision: 3}",
     "15: error: models.large.vision: must be true or false."),
    ("large: {price: {input: 3, output: 4}}", "large:\n",
     "15: error: models.large: must be a mapping."),
    ("price: {input: 3, output: 4}", "price: {input: 3, output: 4, from: {2026-12-1: {}}}",
     "15: error: models.large.price.from.2026-12-1: must be a date, as 2027-01-14."),
    ("price: {input: 3, output: 4}", "price: {input: 3, output: 4, from: {2026-12-01: {as_of: x}}}",
     "15: error: models.large.price.from.2026-12-01.as_of: no such key."),
    ("price: {input: 3, output: 4}", "price: {hours: [{utc: noon, input: 1}]}",
     "15: error: models.large.price.hours[0].utc[0]: must be hours of a day, as 01:00-04:00."),
    ("price: {input: 3, output: 4}", "price: {hours: [{utc: '01:60-04:00', input: 1}]}",
     "15: error: models.large.price.hours[0].utc[0]: must be hours of a day, as 01:00-04:00."),
    ("price: {input: 3, output: 4}", "price: {hours: [{utc: '22:00-02:00', input: 1}]}",
     ("15: error: models.large.price.hours[0].utc[0]: must end after it begins and by 24:00; "
      "one over midnight is two, as 22:00-24:00 and 00:00-02:00.")),
    ("price: {input: 3, output: 4}", "price: {hours: [{utc: '22:00-24:30', input: 1}]}",
     ("15: error: models.large.price.hours[0].utc[0]: must end after it begins and by 24:00; "
      "one over midnight is two, as 22:00-24:00 and 00:00-02:00.")),
    ("price: {input: 3, output: 4}", "price: {hours: [{utc: [22:00-24:30], input: 1}]}",
     ("15: error: models.large.price.hours[0].utc[0]: must end after it begins and by 24:00; "
      "one over midnight is two, as 22:00-24:00 and 00:00-02:00.")),
    ("price: {input: 3, output: 4}", "price: {hours: [{utc: '01:00-02:00', days: tues}]}",
     ("15: error: models.large.price.hours[0].days[0]: 'tues' is not allowed. "
      "Did you mean 'tue'?")),
    ("style: reasoning_effort", "style: [reasoning_effort]",
     "13: error: models.small.effort.style: must be a style, or one for each dialect."),
    ("style: reasoning_effort", "style: {}", "13: error: models.small.effort.style: must not be empty."),
    ("style: reasoning_effort", "style: {openai-chat: anthropic}",
     ("13: error: models.small.effort.style.openai-chat: no style 'anthropic' on openai-chat. "
      "Known: enable_thinking, reasoning, reasoning_effort, template, thinking, "
      "thinking+reasoning_effort.")),
    ("style: reasoning_effort", "style: {openai_chat: reasoning_effort}",
     ("13: error: models.small.effort.style.openai_chat: no dialect 'openai_chat'. "
      "Did you mean 'openai-chat'?")),
    ("style: reasoning_effort", "style: reasoning_efort",
     ("13: error: models.small.effort.style: no style 'reasoning_efort'. "
      "Did you mean 'reasoning_effort'?")),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "expected"), REPLACED)
def test_a_mistake_in_an_existing_part_is_reported_with_its_line(
    tmp_path: Path, old: str, new: str, expected: str
) -> None:
    assert old in world.BASE
    assert world.mistakes(tmp_path, world.BASE.replace(old, new, 1)) == [f"c.yaml:{expected}"]


def test_a_misspelt_required_key_is_reported_as_missing_and_as_unknown(tmp_path: Path) -> None:
    assert world.mistakes(tmp_path, world.BASE.replace("model: large", "modle: large")) == [
        "c.yaml:10: error: labs.acme.smart[0]: the key 'model' is missing.",
        "c.yaml:10: error: labs.acme.smart[0].modle: no such key. Did you mean 'model'?",
    ]


def test_the_sound_configuration_has_no_mistake(tmp_path: Path) -> None:
    assert world.mistakes(tmp_path, world.BASE) == []
    assert world.warnings(tmp_path, world.BASE) == []


def test_a_lab_without_a_provider_of_its_name_must_name_one(tmp_path: Path) -> None:
    text = world.BASE.replace("labs:\n  acme:", "labs:\n  other:")
    assert world.mistakes(tmp_path, text) == [
        "c.yaml:9: error: labs.other.fast[0]: names no `provider`, and none is called 'other'.",
        "c.yaml:10: error: labs.other.smart[0]: names no `provider`, and none is called 'other'.",
    ]


def test_each_model_in_a_circle_of_like_is_reported_once(tmp_path: Path) -> None:
    text = f"{world.BASE}  a: {{like: b}}\n  b: {{like: a}}\n"
    assert world.mistakes(tmp_path, text) == [
        "c.yaml:16: error: models.a.like: is like itself, in a circle.",
        "c.yaml:17: error: models.b.like: is like itself, in a circle.",
    ]


def test_a_circle_of_aliases_is_reported_with_its_path(tmp_path: Path) -> None:
    """An alias that only leads into the circle is reported as an alias of an alias."""
    hint = "Give one of them a model or a tier."
    assert world.mistakes(tmp_path, world.BASE + "aliases: {a: b, b: a, c: a}\n") == [
        f"c.yaml:16: error: aliases.a: leads back to itself: a, b, a. {hint}",
        f"c.yaml:16: error: aliases.b: leads back to itself: b, a, b. {hint}",
        "c.yaml:16: error: aliases.c: an alias must lead from a free name to one that is no alias.",
    ]


def test_every_mistake_of_the_schema_is_reported_at_once_in_order(tmp_path: Path) -> None:
    text = world.BASE + "server: {port: x, host: 1}\ncache: {tll: 1h}\nkeys: '${NONE}'\n"
    assert world.mistakes(tmp_path, text) == [
        (
            "c.yaml:18: error: keys: the environment variable NONE is not set. "
            "Write ${NAME:-default} to give a default."
        ),
        "c.yaml:16: error: server.host: must be a text. Put it in quotes.",
        "c.yaml:16: error: server.port: must be a whole number.",
        "c.yaml:17: error: cache.tll: no such key. Did you mean 'ttl'?",
    ]


def test_every_mistake_between_parts_is_reported_at_once_in_order(tmp_path: Path) -> None:
    text = (
        world.BASE.replace("model: large", "model: large, effort: low")
        + "default: {lab: x}\nguards: [{name: g}]\nchoices: [{name: c, lab: y}]\n"
        + "ledger: {time_zone: Mars}\n"
    )
    assert [line.partition(": ")[0] for line in world.mistakes(tmp_path, text)] == [
        "c.yaml:10",
        "c.yaml:16",
        "c.yaml:17",
        "c.yaml:18",
        "c.yaml:19",
    ]


WARNINGS: list[tuple[str, str, str]] = [
    ("large: {price: {input: 3, output: 4}}", "other: {}",
     ("10: warning: labs.acme.smart[0].model: no facts of 'large' are known: "
      "the gateway drops no member that the model refuses.")),
    ("large: {price", "large: {retires: 2026-12-24, price",
     ("10: warning: labs.acme.smart[0].model: large retires on 2026-12-24, and no target of this "
      "tier stays. Replace it by then.")),
    ("large: {price", "large: {retires: 2026-11-24, price",
     ("10: warning: labs.acme.smart[0].model: large has retired on 2026-11-24, and no target of "
      "this tier stays. Replace it.")),
    ("large: {price: {input: 3, output: 4}}", "large: {price: {input: 3}}",
     ("15: warning: models.large.price: lacks `input` or `output`: "
      "calls have no cost where it is needed.")),
    ("large: {price: {input: 3, output: 4}}",
     "large: {price: {input: 3, output: 4, above: [{tokens: 9, input: 5}]}}",
     ("15: warning: models.large.price.above[0]: lacks `input` or `output`: "
      "calls have no cost where it is needed.")),
    ("models:", "guards:\n- {name: g, judge: off}\nmodels:",
     ("12: warning: guards[0].judge (rule 'g'): has no effect: `routing.judge` names no judge.")),
    ("style: reasoning_effort", "style: anthropic",
     ("9: warning: labs.acme.fast[0].effort: the gateway does not know how to send an effort "
      "to small on openai-chat. Give it `effort: {style: {openai-chat: ...}}`.")),
    ("style: reasoning_effort", "style: {anthropic-messages: anthropic}",
     ("9: warning: labs.acme.fast[0].effort: the gateway does not know how to send an effort "
      "to small on openai-chat. Give it `effort: {style: {openai-chat: ...}}`.")),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "expected"), WARNINGS)
def test_a_doubtful_setting_is_a_warning(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert world.warnings(tmp_path, world.BASE.replace(old, new, 1)) == [f"c.yaml:{expected}"]


SOUND = [
    ("models:",  # as far as is known, never of the same call; and in bounds
     ("guards:\n- {name: a, when: {tag: s}, max_tier: fast}\n"
      "- {name: b, when: {tag: t}, min_tier: smart, max_tier: smart}\n"
      "- {name: c, when: {tag: s}, min_tier: fast}\nmodels:")),
    ("style: reasoning_effort", "style: {openai-chat: reasoning_effort, anthropic-messages: anthropic}"),
    ("fast: [{model: small, effort: none}]", "fast: [{model: small}, {model: large}]"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new"), SOUND)
def test_a_reasonable_setting_is_no_warning(tmp_path: Path, old: str, new: str) -> None:
    assert old in world.BASE
    assert world.warnings(tmp_path, world.BASE.replace(old, new, 1)) == []


def test_missing_facts_at_a_provider_that_is_off_are_no_warning(tmp_path: Path) -> None:
    text = world.BASE.replace("model: large", "model: unknown")
    text = text.replace("style: reasoning_effort", "style: anthropic")
    assert len(world.warnings(tmp_path, text)) == 2
    assert world.warnings(tmp_path, text, off=frozenset({"acme"})) == []


def test_every_invalid_pattern_is_reported(tmp_path: Path) -> None:
    text = world.BASE + (
        "guards:\n- {name: g, when: {matches: '('}, max_tier: fast}\n"
        "choices:\n- {name: a, when: {keywords: fine}, tier: fast}\n"
        "- {name: b, when: {any: [{matches: '*x'}, {matches: fine}]}, tier: fast}\n"
    )
    assert world.mistakes(tmp_path, text) == [
        "c.yaml:17: error: guards[0].when.matches (rule 'g'): '(' is not a regular expression: missing ): (.",
        (
            "c.yaml:20: error: choices[1].when.any[0].matches (rule 'b'): '*x' is not a regular expression: "
            "no argument for repetition operator: *."
        ),
    ]


@pytest.mark.parametrize("day", ["2026-12-25", "2027-06-01"])
def test_a_retirement_after_more_than_thirty_days_is_no_warning(tmp_path: Path, day: str) -> None:
    text = world.BASE.replace("large: {price", f"large: {{retires: {day}, price")
    assert world.warnings(tmp_path, text) == []


def test_a_mistake_is_printed_as_one_line() -> None:
    bare = Mistake(message="m.")
    assert str(bare) == "error: m."
    full = Mistake(level="warning", file="f", line=3, path="a.b", message="m.", hint="h.")
    assert str(full) == "f:3: warning: a.b: m. h."
    assert format_path(()) == ""
    assert format_path(("a", 0, "b", 1, 2)) == "a[0].b[1][2]"


@pytest.mark.parametrize(
    ("name", "names", "hint"),
    [
        ("servr", ["server", "cache"], "Did you mean 'server'?"),
        ("zzz", ["b", "a"], "Known: a, b."),
        ("zzz", [], ""),
        ("zzz", [f"n{at}" for at in range(13)], ""),
    ],
)
def test_the_nearest_name_is_suggested(name: str, names: list[str], hint: str) -> None:
    assert suggest_name(name, names) == hint
