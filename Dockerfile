# Two images of the explorer with a finished demo study inside, nothing to fetch at run time:
#   docker build -t featdyn .                               full: splices can be evaluated live
#   docker build -t featdyn:explorer --target explorer .    no torch: what is stored is shown
# docs/hosting.md says how to run them, with a snapshot of your own too.

# Debian with Python 3.11 or newer: pin it by digest where builds must repeat to the byte.
ARG BASE=python:3.12.12-slim-bookworm

FROM ${BASE} AS base
RUN groupadd --gid 10001 featdyn \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /bin/false featdyn

FROM base AS engine-packages
# PyTorch's own index: its CPU build leaves gigabytes of CUDA out. For CUDA name another one, such
# as https://download.pytorch.org/whl/cu130; empty takes PyPI's build.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY requirements.txt /tmp/requirements.txt
RUN python3 -m venv /venv \
    && /venv/bin/python -m pip install --no-cache-dir ${TORCH_INDEX:+--index-url ${TORCH_INDEX}} \
        $(grep -E '^(torch|torchvision)==' /tmp/requirements.txt) \
    && /venv/bin/python -m pip install --no-cache-dir -r /tmp/requirements.txt \
    && /venv/bin/python -m pip uninstall --yes --quiet pip \
    && rm /tmp/requirements.txt

FROM base AS explorer-packages
COPY requirements-explorer.txt /tmp/requirements.txt
# What the explorer never loads goes: libraries' own tests (a tenth of this image), Arrow's remote
# procedure calls and C headers, a Jupyter extension, and what installed all this. Compiled modules
# stay: under a read-only root each start would compile them anew.
RUN python3 -m venv /venv \
    && /venv/bin/python -m pip install --no-cache-dir -r /tmp/requirements.txt \
    && /venv/bin/python -m pip uninstall --yes --quiet setuptools pip \
    && cd /venv/lib/python3*/site-packages \
    && find . -type d -name tests -prune -exec rm -r {} + \
    && rm -r pyarrow/*flight* pyarrow/include pydeck/nbextension/static \
    && rm /tmp/requirements.txt

FROM engine-packages AS snapshot
# A study file of this folder in place of the embedded one; it must need no download.
ARG STUDY=
WORKDIR /src
COPY . .
ENV FEATDYN_HOME=/var/featdyn OMP_NUM_THREADS=1
RUN if [ -n "${STUDY}" ]; then /venv/bin/python -m featdyn_engine run "${STUDY}"; \
    else /venv/bin/python -m featdyn_engine demo; fi \
    && /venv/bin/python -m featdyn_engine snapshot /snapshot/full \
    && /venv/bin/python -m featdyn_engine snapshot /snapshot/explorer --checkpoints none

FROM base AS app
WORKDIR /app
COPY .streamlit .streamlit
COPY store store
COPY featdyn_engine featdyn_engine
COPY app app
# All that anything writes goes to /tmp, so that the rest may be read-only.
ENV FEATDYN_HOME=/snapshot FEATDYN_READONLY=1 \
    HOME=/tmp TMPDIR=/tmp NUMBA_CACHE_DIR=/tmp/numba MPLCONFIGDIR=/tmp/matplotlib \
    PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 OMP_NUM_THREADS=1 MALLOC_ARENA_MAX=2 \
    STREAMLIT_SERVER_FILE_WATCHER_TYPE=none
EXPOSE 8501
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["/venv/bin/python", "/app/app/health.py"]
USER 10001:10001
STOPSIGNAL SIGTERM
# No shell between: the signal arrives, and serve.py ends Streamlit within 3 s.
ENTRYPOINT ["/venv/bin/python", "/app/app/serve.py"]
CMD ["--server.address=0.0.0.0", "--server.port=8501"]

FROM app AS explorer
COPY --from=explorer-packages /venv /venv
COPY --from=snapshot /snapshot/explorer /snapshot

# Last, and so the one that `docker build` makes.
FROM app AS full
COPY --from=engine-packages /venv /venv
COPY --from=snapshot /snapshot/full /snapshot
