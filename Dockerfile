# docker build -t ml-pipeline-thing .
# docker run --rm -p 127.0.0.1:9095:9095 -e MLP_API_TOKEN=... -v mlp:/var/lib/ml-pipeline-thing ml-pipeline-thing
#
# The server runs commands that its clients send. In a container it listens on all interfaces, so it refuses to start
# without MLP_API_TOKEN (32 characters or more: openssl rand -hex 32). Host names other than localhost belong in
# MLP_ALLOWED_HOSTS. Without DATABASE_URL the server runs its own PostgreSQL, whose data is in the volume. Stages run in
# this container: derive an image with the libraries they need.
#
# .ci/debian13 executes these instructions without Docker. It knows those used here and stops at any other.

FROM python:3.13-slim AS build
RUN python -m venv /opt/mlp
WORKDIR /src
COPY requirements.txt .
RUN /opt/mlp/bin/pip install --no-cache-dir --require-hashes -r requirements.txt
COPY . .
RUN /opt/mlp/bin/pip install --no-cache-dir --no-deps .

FROM python:3.13-slim
# tini reaps the orphaned processes of stages and forwards signals, as `docker run --init` does.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends tini \
    && rm -rf /var/lib/apt/lists/*
# PostgreSQL needs a user that has a name and owns the folders of its data.
RUN useradd --uid 10001 --create-home --shell /usr/sbin/nologin mlp \
    && install --directory --owner=mlp --group=mlp --mode=0700 /var/lib/ml-pipeline-thing
COPY --from=build /opt/mlp /opt/mlp
ENV PATH=/opt/mlp/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HOST=0.0.0.0 \
    PORT=9095 \
    MLP_HOME=/var/lib/ml-pipeline-thing
USER 10001:10001
WORKDIR /home/mlp
VOLUME /var/lib/ml-pipeline-thing
EXPOSE 9095
# The first start creates a database, which takes some seconds.
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as web; web.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/health', timeout=2)"]
# On SIGTERM the server shuts down in order. Allow it more than Docker's ten seconds (--stop-timeout).
STOPSIGNAL SIGTERM
ENTRYPOINT ["tini", "--", "mlp"]
CMD ["serve"]
