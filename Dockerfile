# Holdfast in an image that holds an interpreter, Holdfast, and nothing to build, fetch or shell with.
#
#   docker build -t holdfast .
#   docker run --read-only -p 127.0.0.1:8080:8080 -v holdfast:/var/lib/holdfast holdfast
#
# BASE: any image of Debian's kind with Python 3.11 or newer, its venv and ca-certificates.
ARG BASE=python:3.11-slim

FROM ${BASE} AS build
WORKDIR /src
# --only-binary: nothing is compiled here. pip works on the other environment from outside of it, so
# that it never gets there itself.
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
COPY requirements.lock requirements-build.lock ./
RUN python3 -m venv /opt/build \
 && python3 -m venv --without-pip /opt/holdfast \
 && /opt/build/bin/pip install --require-hashes --only-binary :all: -r requirements-build.lock \
 && /opt/build/bin/pip --python /opt/holdfast/bin/python install --no-compile --require-hashes \
        --only-binary :all: -r requirements.lock
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY proxy proxy
RUN /opt/build/bin/pip wheel --no-deps --no-index --no-build-isolation --wheel-dir /dist . \
 && /opt/build/bin/pip --python /opt/holdfast/bin/python install --no-compile --no-deps --no-index \
        /dist/*.whl
COPY scripts/image_root.py ./
RUN python3 image_root.py /root-of-image /opt/holdfast sleep \
 && install -d -m 0700 -o 65532 -g 65532 /root-of-image/var/lib/holdfast

# From scratch: a layer over BASE would hide its pip and its shell, and still carry them.
FROM scratch
COPY --from=build /root-of-image /
ENV PATH=/opt/holdfast/bin:/usr/bin \
    SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt \
    HOLDFAST_HOST=0.0.0.0 \
    HOLDFAST_ADMIN_HOST=0.0.0.0 \
    HOLDFAST_STORE=sqlite:////var/lib/holdfast/holdfast.db \
    HOLDFAST_STATE_DIR=/var/lib/holdfast \
    TMPDIR=/var/lib/holdfast
USER 65532:65532
# Not the ledger's folder: some runtimes could not enter it as another user.
WORKDIR /
VOLUME /var/lib/holdfast
EXPOSE 8080 9090
# Of use to Docker alone; Kubernetes has probes of its own. -I -S: a third of the start that -m takes.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["python3", "-ISc", "\
import http.client, os, sys\n\
door = http.client.HTTPConnection('localhost', int(os.environ.get('HOLDFAST_ADMIN_PORT', 9090)), 4)\n\
door.request('GET', '/healthz')\n\
sys.exit(door.getresponse().status != 200)"]
ENTRYPOINT ["/opt/holdfast/bin/holdfast"]
CMD ["serve"]
LABEL org.opencontainers.image.title="holdfast" \
      org.opencontainers.image.description="A reverse proxy that keeps an agent's model calls inside hard limits" \
      org.opencontainers.image.licenses="Apache-2.0"
