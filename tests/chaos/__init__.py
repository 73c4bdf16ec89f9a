"""The fault matrix, played on loopback against `tiergate serve`: `make chaos`, `python -m tests.chaos --help`.

    row, matrix   what a row is; all of them
    stage         a provider and gateways before it, and the audit after every act
    provider      a provider that says what a row tells it to, byte for byte
    gateway       the process: what it has open, what it wrote down
    client        requests of all dialects; verdict: what the client was told
    run           plays cells; upstream/ and its siblings hold the rows

A row plays on the gateway of its act (`stage.gateway`, what `prepare` put into the configuration),
or, where it is `own`, starts gateways with `stage.start(stage.config([cell]), **environ)`, as many
as it likes. It tells what it saw as `Seen`, and `wrong` for what no column has. Every gateway that
is started is audited when its act ends, or before, by `stage.audit`.
"""
