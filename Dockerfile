# Elusive, for a CPU:    docker build --tag elusive .
# for NVIDIA GPUs:       docker build --tag elusive --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130 .
# with extras:           docker build --tag elusive --build-arg EXTRAS='[datasets,gguf]' .
#
# Runs are written to /runs, and models of the hub are kept in the cache:
#   docker run --rm --volume "$PWD:/runs" --volume elusive-hub:/home/elusive/.cache/huggingface elusive demo
# Tokens of the hub are given when it runs (--env HF_TOKEN), never when it is built. For GPUs add --gpus all.
ARG PYTHON=3.11

FROM python:${PYTHON}-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:${PYTHON}-slim
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG EXTRAS=
# torch first, from its own index: that of PyPI brings gigabytes of CUDA libraries. Versions are those that are tested.
COPY constraints.txt /tmp/constraints.txt
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --index-url "$TORCH_INDEX" "$(grep '^torch==' /tmp/constraints.txt)" \
    && pip install --no-cache-dir --constraint /tmp/constraints.txt "$(echo /wheels/*.whl)$EXTRAS" \
    && useradd --create-home --uid 1000 elusive \
    && mkdir --parents /runs /home/elusive/.cache/huggingface \
    && chown --recursive elusive /runs /home/elusive/.cache
USER 1000
WORKDIR /runs
ENTRYPOINT ["elusive"]
CMD ["--help"]
