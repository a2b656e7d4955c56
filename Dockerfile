# Lantern in a container: `docker compose up -d` (docs/running.md).
# Two stages, so that the image holds no build tool and no source it does not run.
FROM python:3.13-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/lantern
WORKDIR /src
# The pinned packages first: this layer is made again only when the lock changes.
COPY requirements.lock ./
RUN /opt/lantern/bin/pip install --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY bot ./bot
COPY cogs ./cogs
RUN /opt/lantern/bin/pip install --no-deps . && /opt/lantern/bin/python -m compileall -q /opt/lantern

FROM python:3.13-slim
# A number, so that Kubernetes can see by itself that it is not root.
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin lantern \
 && mkdir /data /config && chown 10001:10001 /data
COPY --from=build /opt/lantern /opt/lantern
ENV PATH=/opt/lantern/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    LANTERN_STORAGE__URL=sqlite:////data/lantern.db
# config.yaml and personas/ are looked for here; both are optional.
WORKDIR /config
VOLUME /data
# The gateway, where it is enabled.
EXPOSE 8400
USER 10001
# Drains on SIGTERM, eighteen seconds at most.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s CMD ["lantern", "health"]
CMD ["lantern", "run"]
