# A server on a CPU, with the encoder of the default reader; see docs/server.md.
FROM python:3.12-slim AS build
WORKDIR /build
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src src
ARG TORCH_INDEX=""
# TORCH_INDEX: a package index with CPU builds of torch, where the default ones are too large.
RUN python -m venv /opt/spanqa \
    && /opt/spanqa/bin/pip install --no-cache-dir ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} \
        --constraint constraints.txt '.[serve,offline,onnx]'

FROM python:3.12-slim
COPY --from=build /opt/spanqa /opt/spanqa
RUN useradd --create-home --uid 10001 spanqa
USER spanqa
ENV PATH=/opt/spanqa/bin:$PATH HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/ready', timeout=4)"]
# 0.0.0.0 is inside the container; what may reach it is up to the ports that are published.
ENTRYPOINT ["spanqa", "serve", "--host", "0.0.0.0"]
CMD ["default"]
