# The toolchain itself as an image, for pipelines:
#
#     docker build -t deploy .
#     mkdir ../out && docker run --rm --user "$(id -u)" -v "$PWD:/app:ro" -v "$PWD/../out:/out" deploy build --to oci:/out
#
# It runs as any user, with a read-only root file system and without capabilities; give it a temporary folder that may
# hold programs (`--read-only --tmpfs /tmp:exec`) and, so that later builds find what earlier ones left, a folder for
# its store (`-v deploy-store:/store -e DEPLOY_HOME=/store`).
#
# BASE is any Debian image with Python 3.11 or later and pip. Behind a private certificate authority or index, hand in
# what pip needs as secrets, which no layer keeps:
#
#     docker build --secret id=ca,src=ca.pem --secret id=pip,src=pip.conf -t deploy .

ARG BASE=python:3.12-slim

FROM ${BASE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_WARN_SCRIPT_LOCATION=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src

# What it depends on comes first: that changes less often than its own code.
COPY pyproject.toml ./
RUN --mount=type=secret,id=ca --mount=type=secret,id=pip \
    if [ -s /run/secrets/ca ]; then export PIP_CERT=/run/secrets/ca; fi; \
    if [ -s /run/secrets/pip ]; then export PIP_CONFIG_FILE=/run/secrets/pip; fi; \
    python3 -m venv --without-pip /opt/toolchain && \
    python3 -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"], sep="\n")' \
        > /tmp/requirements.txt && \
    python3 -m pip --python /opt/toolchain/bin/python install -r /tmp/requirements.txt

COPY README.md LICENSE ./
COPY buildpack buildpack
COPY deployer deployer
RUN --mount=type=secret,id=ca --mount=type=secret,id=pip \
    if [ -s /run/secrets/ca ]; then export PIP_CERT=/run/secrets/ca; fi; \
    if [ -s /run/secrets/pip ]; then export PIP_CONFIG_FILE=/run/secrets/pip; fi; \
    python3 -m pip --python /opt/toolchain/bin/python install --no-deps .

FROM ${BASE}
# git says what of a checkout is ignored, and fetches what a lock takes from repositories.
RUN command -v git > /dev/null || { \
        apt-get update -q && apt-get install -qy --no-install-recommends ca-certificates git && \
        rm -rf /var/lib/apt/lists/* /var/cache/apt /var/log/apt /var/log/dpkg.log; }
COPY --from=build /opt/toolchain /opt/toolchain
ENV PATH=/opt/toolchain/bin:$PATH
WORKDIR /app
USER 1000:1000
ENTRYPOINT ["deploy"]
CMD ["--help"]
