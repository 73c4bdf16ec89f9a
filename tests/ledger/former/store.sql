BEGIN TRANSACTION;
CREATE TABLE entries (
        id TEXT PRIMARY KEY,
        at REAL NOT NULL,          -- seconds since the epoch
        key TEXT NOT NULL,
        tenant TEXT NOT NULL,
        tags TEXT NOT NULL,        -- a JSON list
        dialect TEXT NOT NULL,
        asked TEXT,
        stream INTEGER NOT NULL,
        state TEXT NOT NULL,
        status INTEGER,
        problem TEXT,
        aborted_by TEXT,
        lab TEXT,
        tier TEXT,
        source TEXT,
        rule TEXT,
        confidence REAL,
        provider TEXT,
        account TEXT,
        model TEXT,
        effort TEXT,
        served TEXT,
        attempts INTEGER NOT NULL,
        cache TEXT NOT NULL,
        dropped TEXT NOT NULL,     -- a JSON list
        input INTEGER,
        cache_read INTEGER,
        cache_write INTEGER,
        output INTEGER,
        reasoning INTEGER,
        cost TEXT,                 -- USD, exact
        price TEXT,
        first_content REAL,
        duration REAL,
        upstream_id TEXT,
        config TEXT NOT NULL
    , v INTEGER NOT NULL DEFAULT 1, service TEXT, usage TEXT, cache_write_by TEXT NOT NULL DEFAULT '{}', tools TEXT NOT NULL DEFAULT '{}', wasted TEXT, estimate TEXT, billed TEXT, reserved TEXT, baseline TEXT, seq INTEGER NOT NULL DEFAULT 0, basis TEXT, conversation TEXT, switch_cost TEXT, near REAL, media TEXT NOT NULL DEFAULT '{}', response_id TEXT, arm TEXT, guards TEXT NOT NULL DEFAULT '[]');
INSERT INTO "entries" VALUES('plain',1790000000.0,'alice','default','[]','openai-chat',NULL,0,'settled',200,NULL,NULL,'openai','fast',NULL,NULL,NULL,'openai',NULL,'gpt-5-nano',NULL,NULL,1,'off','[]',12,NULL,NULL,30,NULL,'0.0000126','catalogue',NULL,0.75,NULL,'c0ffee',3,NULL,NULL,'{}','{}','0','0',NULL,NULL,NULL,1,NULL,NULL,NULL,NULL,'{}',NULL,NULL,'[]');
INSERT INTO "entries" VALUES('billed',1790000001.0,'alice','default','[]','openai-chat',NULL,0,'settled',200,NULL,NULL,'openai','fast',NULL,NULL,NULL,'openrouter',NULL,'m',NULL,NULL,1,'off','[]',12,NULL,NULL,30,NULL,'0.004','catalogue',NULL,0.75,NULL,'c0ffee',3,NULL,NULL,'{}','{}','0','0','0.0042',NULL,NULL,2,NULL,NULL,NULL,NULL,'{}',NULL,NULL,'[]');
INSERT INTO "entries" VALUES('billed-alone',1790000002.0,'alice','default','[]','openai-chat',NULL,0,'settled',200,NULL,NULL,'openai','fast',NULL,NULL,NULL,'openrouter',NULL,'n',NULL,NULL,1,'off','[]',12,NULL,NULL,30,NULL,'0.01','provider',NULL,0.75,NULL,'c0ffee',3,NULL,NULL,'{}','{}','0','0','0.01',NULL,NULL,3,NULL,NULL,NULL,NULL,'{}',NULL,NULL,'[]');
INSERT INTO "entries" VALUES('audio',1790000003.0,'alice','default','[]','openai-chat',NULL,0,'settled',200,NULL,NULL,'openai','fast',NULL,NULL,NULL,'openai',NULL,'gpt-5-nano',NULL,NULL,1,'off','[]',100,50,NULL,30,NULL,NULL,NULL,NULL,0.75,NULL,'c0ffee',3,NULL,NULL,'{}','{}','0',NULL,NULL,'0.5',NULL,4,NULL,NULL,NULL,NULL,'{"input_audio":60}',NULL,NULL,'[]');
INSERT INTO "entries" VALUES('retried',1790000004.0,'alice','default','["x"]','openai-chat',NULL,0,'settled',200,NULL,NULL,'openai','fast',NULL,NULL,NULL,'openai',NULL,'gpt-5-nano',NULL,NULL,2,'off','[]',12,NULL,NULL,30,NULL,'0.003',NULL,NULL,0.75,NULL,'c0ffee',3,NULL,NULL,'{}','{}','0.001','0.001',NULL,NULL,'0.01',5,NULL,NULL,NULL,NULL,'{}',NULL,NULL,'[]');
INSERT INTO "entries" VALUES('repriced',1790000005.0,'alice','default','[]','openai-chat',NULL,0,'settled',200,NULL,NULL,'openai','fast',NULL,NULL,NULL,'openai',NULL,'gpt-5-nano',NULL,NULL,1,'off','[]',12,NULL,NULL,30,NULL,NULL,NULL,NULL,0.75,NULL,'c0ffee',3,NULL,NULL,'{}','{}','0',NULL,NULL,NULL,NULL,8,NULL,NULL,NULL,NULL,'{}',NULL,NULL,'[]');
INSERT INTO "entries" VALUES('hit',1790000006.0,'alice','default','[]','openai-chat',NULL,0,'cache_hit',200,NULL,NULL,'openai','fast',NULL,NULL,NULL,'openai',NULL,'gpt-5-nano',NULL,NULL,0,'hit','[]',12,NULL,NULL,30,NULL,'0',NULL,NULL,0.75,NULL,'c0ffee',3,NULL,'recording','{}','{}','0',NULL,NULL,NULL,NULL,7,NULL,NULL,NULL,NULL,'{}',NULL,NULL,'[]');
CREATE TABLE failures (
        v INTEGER NOT NULL,
        id TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        at REAL NOT NULL,
        provider TEXT NOT NULL,
        account TEXT,
        model TEXT NOT NULL,
        status INTEGER,
        problem TEXT NOT NULL,
        duration REAL,
        input INTEGER,
        output INTEGER,
        cost TEXT,
        estimate TEXT,
        reserved TEXT,
        PRIMARY KEY (id, attempt)
    ) WITHOUT ROWID
    ;
INSERT INTO "failures" VALUES(3,'retried',1,1790000003.5,'openai',NULL,'gpt-5-nano',500,'upstream_error',NULL,NULL,NULL,'0.001','0.001',NULL);
CREATE TABLE ledger (id TEXT NOT NULL, seq INTEGER NOT NULL);
INSERT INTO "ledger" VALUES('218ee29e8dbf3c4d',8);
CREATE TABLE rebuilds (
        at REAL NOT NULL,
        reason TEXT NOT NULL,
        aside TEXT,           -- the name that the damaged file has now
        done REAL,            -- when all that the journals have was in it
        missing_until REAL    -- rows of earlier calls may be missing: their segments are gone
    );
INSERT INTO "rebuilds" VALUES(1.79602962502344417e+09,'',NULL,1.79602962508764433e+09,NULL);
CREATE TABLE reprices (
        v INTEGER NOT NULL,
        id TEXT PRIMARY KEY,
        at REAL NOT NULL,
        cost TEXT,
        estimate TEXT,
        baseline TEXT,
        price TEXT
    ) WITHOUT ROWID
    ;
INSERT INTO "reprices" VALUES(3,'repriced',1790000900.0,'0.02','0','0.03','p2');
CREATE TABLE segments (
        folder TEXT NOT NULL,      -- the name that the folder has given itself
        name TEXT NOT NULL,
        bytes INTEGER NOT NULL,    -- that have been read
        skipped INTEGER NOT NULL,  -- lines of these that were no row
        PRIMARY KEY (folder, name)
    ) WITHOUT ROWID
    ;
INSERT INTO "segments" VALUES('7f004aeb4d29c80a','20261130T090704-15000-c11806bd.jsonl',6461,0);
CREATE TABLE verdicts (
        v INTEGER NOT NULL,
        id TEXT PRIMARY KEY,
        at REAL NOT NULL,
        key TEXT NOT NULL,
        tenant TEXT NOT NULL,
        verdict TEXT,
        tier TEXT,
        score REAL
    );
INSERT INTO "verdicts" VALUES(3,'plain',1793000090.0,'alice','default','bad',NULL,NULL);
CREATE INDEX entries_at ON entries (at);
CREATE UNIQUE INDEX entries_seq ON entries (seq);
CREATE VIEW attempts AS SELECT
        v, id, attempt, at, provider, account, model, status, problem, duration, input, output, cost, estimate, reserved, datetime(at, 'unixepoch') AS time, date(at, 'unixepoch') AS day, CAST(cost AS REAL) AS cost_usd
    FROM failures;
CREATE VIEW days AS SELECT
        day, lab, tier, model, count(*) AS calls,
        count(*) FILTER (WHERE state = 'cache_hit') AS cached,
        count(*) FILTER (WHERE state IN ('failed', 'refused', 'unknown_crash')) AS failed,
        count(*) FILTER (WHERE unknown) AS unknown,
        sum(input) AS input, sum(cache_read) AS cache_read, sum(cache_write) AS cache_write, sum(output) AS output, sum(reasoning) AS reasoning,
        sum(CAST(cost AS REAL)) AS cost, sum(CAST(wasted AS REAL)) AS wasted, sum(CAST(estimate AS REAL)) AS estimate,
        sum(baseline_usd) FILTER (WHERE cost IS NOT NULL) AS baseline, sum(saved) AS saved
    FROM costs GROUP BY day, lab, tier, model;
CREATE VIEW feedback AS SELECT *, datetime(at, 'unixepoch') AS time, date(at, 'unixepoch') AS day FROM (SELECT
        f.v, f.id, f.at, f.key, f.tenant, f.verdict, f.tier, f.score, e.lab, e.tier AS given, e.model, e.source,
        e.rule, e.confidence
    FROM verdicts AS f JOIN entries AS e ON e.id = f.id AND e.tenant = f.tenant) AS said;
CREATE VIEW priced AS SELECT
        e.seq, e.v, e.id, e.at, e.key, e.tenant, e.tags, e.dialect, e.asked, e.stream, e.state, e.status, e.problem, e.aborted_by, e.lab, e.tier, e.source, e.rule, e.confidence, e.provider, e.account, e.model, e.effort, e.service, e.served, e.attempts, e.cache, e.dropped, e.usage, e.input, e.cache_read, e.cache_write, e.cache_write_by, e.output, e.reasoning, e.tools, e.wasted, e.billed, e.reserved, e.first_content, e.duration, e.upstream_id, e.config, r.at AS repriced,
        CASE WHEN r.id IS NULL THEN e.cost ELSE r.cost END AS cost, CASE WHEN r.id IS NULL THEN e.estimate ELSE r.estimate END AS estimate, CASE WHEN r.id IS NULL THEN e.baseline ELSE r.baseline END AS baseline, CASE WHEN r.id IS NULL THEN e.price ELSE r.price END AS price
        , e.basis, e.conversation, e.switch_cost, e.near, e.media, e.response_id, e.arm, e.guards
    FROM entries AS e LEFT JOIN reprices AS r ON r.id = e.id;
CREATE VIEW costs AS SELECT
        v, id, at, key, tenant, tags, dialect, asked, stream, state, status, problem, aborted_by, lab, tier, source, rule, confidence, provider, account, model, effort, service, served, attempts, cache, dropped, usage, wasted, estimate, billed, baseline, price, first_content, duration, upstream_id, config, repriced, time, day, input, cache_read, cache_write, output, reasoning, cache_write_by, tools, cost, reserved, unknown,
        CAST(cost AS REAL) AS cost_usd, CAST(baseline AS REAL) AS baseline_usd,
        CAST(baseline AS REAL) - CAST(cost AS REAL) AS saved
        , conversation, switch_cost, near, media, response_id, arm, guards
    FROM (SELECT
        v, id, at, key, tenant, tags, dialect, asked, stream, state, status, problem, aborted_by, lab, tier, source, rule, confidence, provider, account, model, effort, service, served, attempts, cache, dropped, usage, wasted, estimate, billed, baseline, price, first_content, duration, upstream_id, config, repriced,
        datetime(at, 'unixepoch') AS time, date(at, 'unixepoch') AS day,
        CASE WHEN state <> 'cache_hit' AND cache <> 'hit' THEN input END AS input, CASE WHEN state <> 'cache_hit' AND cache <> 'hit' THEN cache_read END AS cache_read, CASE WHEN state <> 'cache_hit' AND cache <> 'hit' THEN cache_write END AS cache_write, CASE WHEN state <> 'cache_hit' AND cache <> 'hit' THEN output END AS output, CASE WHEN state <> 'cache_hit' AND cache <> 'hit' THEN reasoning END AS reasoning,
        CASE WHEN state <> 'cache_hit' AND cache <> 'hit' THEN cache_write_by ELSE '{}' END AS cache_write_by,
        CASE WHEN state <> 'cache_hit' AND cache <> 'hit' THEN tools ELSE '{}' END AS tools,
        CASE WHEN state = 'cache_hit' THEN coalesce(cost, '0') ELSE cost END AS cost,
        CASE WHEN (
    cost IS NULL AND (
        state IN ('settled', 'estimated', 'aborted', 'unknown_crash')
        OR state = 'failed' AND coalesce(input, 0) + coalesce(cache_read, 0) + coalesce(cache_write, 0) + coalesce(output, 0) + coalesce(reasoning, 0) > 0
    )
    OR wasted IS NULL AND v > 1 AND state NOT IN ('cache_hit', 'refused') AND attempts
        > CASE WHEN state IN ('settled', 'estimated', 'aborted') THEN 1 ELSE 0 END
) THEN reserved END AS reserved,
        (
    cost IS NULL AND (
        state IN ('settled', 'estimated', 'aborted', 'unknown_crash')
        OR state = 'failed' AND coalesce(input, 0) + coalesce(cache_read, 0) + coalesce(cache_write, 0) + coalesce(output, 0) + coalesce(reasoning, 0) > 0
    )
    OR wasted IS NULL AND v > 1 AND state NOT IN ('cache_hit', 'refused') AND attempts
        > CASE WHEN state IN ('settled', 'estimated', 'aborted') THEN 1 ELSE 0 END
) AS unknown, conversation, switch_cost, near, CASE WHEN state <> 'cache_hit' AND cache <> 'hit' THEN media ELSE '{}' END AS media, response_id, arm, guards
    FROM priced) AS calls;
COMMIT;
PRAGMA user_version = 11;
