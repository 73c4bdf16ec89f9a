"""Play the fault matrix on loopback against `tiergate serve`.

Run it with `make chaos`; `python -m tests.chaos --help` lists the options.

row, matrix   what a row is; all rows
environment   a provider, the gateways before it, and the audit after each act
provider      a provider that answers as a row instructs it, byte for byte
gateway       the gateway process: its open resources, and the rows and log it wrote
client        requests of all dialects; verdict: how the client judges an answer
all_clients   clients of every dialect and mode at once, for rows that are played once
run           plays cells; upstream/ and its siblings hold the rows

A row plays on the gateway of its act: `environment.gateway`, with what `prepare` put into the
configuration. A row that is `own` starts any number of gateways itself, with
`environment.start(environment.config([cell]), **environ)`. A row returns its observations as
`Seen`, and puts faults that no column has into `wrong`. The environment audits every gateway when
its act ends; a row may do it earlier with `environment.audit`.
"""
