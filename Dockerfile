# syntax=docker/dockerfile:1
# docker build .                     the application image
# docker build --target test .       the same with the tests, see deploy/compose.yml

ARG PYTHON=3.12

# --- the extension is compiled here; none of the compilers reach the image that runs
FROM python:${PYTHON}-slim AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev libssl-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN pip wheel --no-cache-dir --wheel-dir /wheels '.[cli,prometheus]'

# --- the image that runs
FROM python:${PYTHON}-slim AS app
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir --no-index --find-links /wheels 'aiecs-redis[cli,prometheus]' \
    && rm -rf /wheels \
    && useradd --create-home --uid 10001 app
WORKDIR /app
USER app
ENV REDIS_HOST=redis \
    REDIS_PORT=6379 \
    REDIS_DB=0 \
    LISTEN=0.0.0.0 \
    PORT=8080 \
    PYTHONUNBUFFERED=1
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 \
    CMD ["python", "-m", "aiecs_redis", "health", "--timeout", "3"]
CMD ["python", "-m", "aiecs_redis", "serve"]

# --- the tests, against the server that REDIS_HOST names
FROM build AS test
RUN apt-get update \
    && apt-get install -y --no-install-recommends openssl redis-server \
    && rm -rf /var/lib/apt/lists/*
RUN pip install --no-cache-dir --editable '.[test]'
CMD ["python", "-m", "pytest", "-q"]

# --- the default target
FROM app
