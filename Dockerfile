# tiergate in a container.
#
#   docker build -t tiergate .                                        with PostgreSQL, traces and list prices
#   docker build -t tiergate:local-model --build-arg EXTRAS=local .   with a small local model in their place
#
# In a container the gateway listens on 127.0.0.1 too, and `keys: open` refuses any other address.
# With a client key that the first start creates and prints once, as in docker-compose.yml:
#
#   docker run -p 127.0.0.1:8484:8484 -v tiergate:/data -e OPENAI_API_KEY \
#     -e TIERGATE_SERVER__HOST=0.0.0.0 -e TIERGATE_KEY_FILE=/data/keys.yaml tiergate serve --first-key
#
# With keys of your own: -e TIERGATE_KEYS="me=<sha256 of the key>", without --first-key.
#
# The shipped configuration is /app/config. Mount your own with -v ./config:/app/config:ro.
# Other commands: docker run --rm tiergate explain "Prove that 2 is prime."

# Where that image cannot be pulled, build on one of your own: --build-arg BASE=python:3.13-slim. `make pins` adds
# the digest of the tag, as python:3.13-slim@sha256:..., and brings it up to date.
ARG BASE=python:3.13-slim

FROM ${BASE} AS base
ARG EXTRAS="postgres otel prices"
# llama.cpp needs libgomp, which is not in its wheel.
RUN if [ "${EXTRAS#*local}" != "$EXTRAS" ]; then \
        apt-get update -qq && \
        apt-get install -qq --no-install-recommends libgomp1 && \
        rm -rf /var/lib/apt/lists/*; \
    fi

FROM base AS build
ARG EXTRAS="postgres otel prices"
# Use the certificates of the base image, with those that you added, and only its Python.
ENV UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_NO_CACHE=1 \
    UV_PYTHON_DOWNLOADS=never \
    UV_SYSTEM_CERTS=1
WORKDIR /app
# uv by its hashes. uv then installs the locked packages and the build back end by theirs.
COPY scripts/uv.txt scripts/uv.txt
RUN python3 -m venv /uv && /uv/bin/python -m pip install --quiet --no-cache-dir --require-hashes --only-binary :all: --requirement scripts/uv.txt
# Dependencies first: a change of the gateway's code then reuses this layer.
COPY pyproject.toml uv.lock ./
RUN /uv/bin/uv sync --frozen --quiet --no-default-groups $(for one in $EXTRAS; do printf -- '--extra %s ' "$one"; done) --no-install-project
COPY LICENSE README.md ./
COPY docs/row.schema.json docs/row.schema.json
COPY config config
COPY gateway gateway
RUN /uv/bin/uv sync --frozen --quiet --no-default-groups $(for one in $EXTRAS; do printf -- '--extra %s ' "$one"; done) --no-editable
# The list of contents, as CycloneDX, with the packages of the base: /app/sbom.cdx.json.
RUN /uv/bin/uv export --frozen --quiet --no-default-groups $(for one in $EXTRAS; do printf -- '--extra %s ' "$one"; done) --format cyclonedx1.5 --output-file sbom.cdx.json
COPY scripts/sbom.py scripts/sbom.py
RUN python3 scripts/sbom.py sbom.cdx.json --image

FROM base
RUN groupadd --gid 8484 tiergate && \
    useradd --uid 8484 --gid 8484 --no-create-home --home-dir /data --shell /usr/sbin/nologin tiergate && \
    install -d -o 8484 -g 8484 -m 0700 /data
COPY --from=build /app/.venv /app/.venv
COPY --from=build /app/config /app/config
COPY --from=build /app/sbom.cdx.json /app/sbom.cdx.json
ENV PATH=/app/.venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    TIERGATE_DATA=/data
# Sums by day need time zones: the build fails here if the base image has no zone data.
RUN python -c "import zoneinfo; zoneinfo.ZoneInfo('Europe/Berlin')" && tiergate --help >/dev/null
WORKDIR /app
# By number, so that a runtime can see that it is not root.
USER 8484:8484
VOLUME ["/data"]
EXPOSE 8484
# Calls the address directly, without HTTP_PROXY. If your configuration or --port names another
# port, set TIERGATE_SERVER__PORT instead.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import http.client, os, sys; probe = http.client.HTTPConnection('127.0.0.1', int(os.environ.get('TIERGATE_SERVER__PORT') or 8484), timeout=2); probe.request('GET', '/health'); sys.exit(probe.getresponse().status != 200)"]
# The gateway finishes running calls for up to 25 s: use `docker stop --time 30`.
STOPSIGNAL SIGTERM
ENTRYPOINT ["tiergate"]
CMD ["serve"]
