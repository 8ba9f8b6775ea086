# StructXLIP in a container, for a processor:
#   docker build -t structxlip .
#   docker run --rm --shm-size=2g structxlip make demo
# and for an NVIDIA GPU, on a machine with its container toolkit:
#   docker build -t structxlip:cuda \
#     --build-arg BASE=nvidia/cuda:13.0.1-base-ubuntu24.04 \
#     --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130 .
#   docker run --rm --gpus all --shm-size=8g structxlip:cuda structxlip doctor
ARG BASE=ubuntu:24.04
# hadolint ignore=DL3006
FROM ${BASE}

# Of Ubuntu's packages the newest patch is wanted, so no version is pinned.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends git make python3 python3-dev python3-venv g++ \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10001 structxlip \
    && install --directory --owner structxlip /project
WORKDIR /project
USER 10001

# torch goes first: it is large, and changes less often than the code.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV VENV=/home/structxlip/venv PIP_EXTRA_INDEX_URL=$TORCH_INDEX PIP_NO_CACHE_DIR=1
COPY --chown=structxlip requirements.lock ./
RUN python3 -m venv "$VENV" \
    && "$VENV/bin/pip" install --constraint requirements.lock torch torchvision

COPY --chown=structxlip . .
RUN make "$VENV/.ready"
ENV PATH=$VENV/bin:$PATH

# `make demo` and `make test` as in the README; `structxlip …` for all else.
CMD ["make", "demo"]
