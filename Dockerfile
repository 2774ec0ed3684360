# One image for the Prefect server, its services, the worker and the reports: the command says which.
#   docker build -t tempering:0.1.0-cpu .
#   docker build -t tempering:0.1.0-cuda --build-arg TORCH_INDEX_URL=https://download.pytorch.org/whl/cu130 .
# Base images are pinned by version; pin them by digest as well where your registry is at hand.

FROM python:3.11.17-slim-bookworm AS build
ARG TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu
ARG EXTRAS=redis
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PATH=/opt/tempering/bin:$PATH
RUN python -m venv /opt/tempering
WORKDIR /build
# torch first and by itself: it is most of the image, and changes least. The local version of the index,
# such as 2.13.0+cpu, goes before the same one of PyPI.
COPY constraints.txt ./
RUN pip install -c constraints.txt --extra-index-url "$TORCH_INDEX_URL" torch==2.13.0
COPY pyproject.toml README.md LICENSE ./
COPY tempering tempering
COPY tasks tasks
COPY flows flows
RUN pip install -c constraints.txt --extra-index-url "$TORCH_INDEX_URL" ".[$EXTRAS]"
# An empty Prefect database, migrated once, for runs that bring their own server.
RUN python -m flows.process.prefect_server_main --prepare

FROM python:3.11.17-slim-bookworm
ARG UID=1000
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Tempering" \
      org.opencontainers.image.description="From raw text to an aligned language model, as one Prefect pipeline" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.licenses="Apache-2.0"
# The user's number is the one that may read the secrets' files. New volumes take over the owner of these folders.
RUN useradd --uid "$UID" --create-home --shell /usr/sbin/nologin tempering \
    && install -d -o tempering -g tempering /store /cache
COPY --from=build /opt/tempering /opt/tempering
WORKDIR /app
COPY configs configs
ENV PATH=/opt/tempering/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    TEMPER_STORE=/store \
    HF_HOME=/cache/huggingface \
    XDG_CACHE_HOME=/cache \
    PREFECT_HOME=/tmp/prefect \
    DO_NOT_TRACK=1
USER tempering
STOPSIGNAL SIGTERM
# What healthy means depends on the command: docker-compose.yml says it for each.
HEALTHCHECK NONE
ENTRYPOINT ["python", "-m", "flows.service.secret_files"]
CMD ["temper", "--help"]
