"""Text that a careless reader runs as a program: SQL, templates, shells. The same every time."""

import functools
import itertools
import random

_BEFORE = (
    "",
    "'",
    '"',
    "`",
    "')",
    "'))",
    '")',
    "\\'",
    "%27",
    "%2527",
    "'||'",
    "0 ",
    "-1 ",
    "\u02bc",
    "\uff07",
    "';",
    "}'",
)
_SQL = (
    "OR 1=1", "OR '1'='1", "OR 1=1 LIMIT 1", "AND 1=0", "AND SLEEP(5)", "OR pg_sleep(5)", "; SELECT pg_sleep(5)",
    "UNION SELECT NULL", "UNION ALL SELECT id,key,cost FROM entries", "UNION SELECT name FROM sqlite_master",
    "; DROP TABLE entries", "; DELETE FROM entries", "; UPDATE entries SET cost='0'", "; ATTACH DATABASE '/tmp/x' AS x",
    "; PRAGMA writable_schema=1", "AND load_extension('x')", "AND randomblob(1000000000)", "WAITFOR DELAY '0:0:5'",
    "; COPY entries TO PROGRAM 'id'", "AND 1=CAST((SELECT version()) AS int)", "AND extractvalue(1,concat(0x7e,user()))",
    "HAVING 1=1", "GROUP BY 1 HAVING 1=1", "ORDER BY 99", "PROCEDURE ANALYSE()", "INTO OUTFILE '/tmp/x'",
    "LIKE '%", "GLOB '*'", "RLIKE SLEEP(5)", "BETWEEN 0 AND 1", "IN (SELECT key FROM entries)", "AND BENCHMARK(9e9,MD5(1))",
    "; EXEC xp_cmdshell('id')", "; INSERT INTO entries(id) VALUES('x')", "RETURNING *", "|| (SELECT 1)",
)  # fmt: skip
_AFTER = ("", " --", " -- ", "--+", " #", "/*", ";", ";%00", " AND '1'='1", ' AND "1"="1', ")--")
_TEMPLATES = (
    "{{7*7}}", "${7*7}", "#{7*7}", "<%= 7*7 %>", "{%raw%}", "{% for x in ().__class__.__base__.__subclasses__() %}",
    "{0.__class__}", "{x!r}", "{}", "{0}", "%(x)s", "%s", "%n", "%d", "%x%x%x", "$(id)", "`id`", ";id", "|id", "&&id",
    "__import__('os').system('id')", "eval(1)", "!!python/object/apply:os.system [id]", "*a", "&a [*a]",
    "cos\nsystem\n(S'id'\ntR.", "\x80\x04.", "<!DOCTYPE x [<!ENTITY y SYSTEM 'file:///etc/passwd'>]>", "<?php ?>",
    "${jndi:ldap://127.0.0.1:1/x}", "${env:HOME}", "${file:/etc/passwd}", "${ACME_API_KEY}", "$ACME_API_KEY", "%TIERGATE_SECRET%",
)  # fmt: skip


@functools.cache
def injected(number: int) -> tuple[str, ...]:
    """Return `number` texts, wildcards and templates first."""
    first = ["%" * 1000, "_" * 1000, "*" * 1000, "%_%_" * 250, *_TEMPLATES]
    texts = [f"{a}{' ' * bool(a)}{b}{c}" for a, b, c in itertools.product(_BEFORE, _SQL, _AFTER)]
    random.Random(89).shuffle(texts)
    return tuple(dict.fromkeys([*first, *texts]))[:number]
