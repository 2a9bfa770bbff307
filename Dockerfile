# check=error=true

# Build with docker-bake.hcl ('docker buildx bake', 'make image'); it describes every variable.
ARG BASE_IMAGE=debian:bookworm-slim@sha256:88200866dfff7ea7f5cbcb6ec7c8a701889efe6fe859fe64d6990e4b07ea4171
# The public isx, and the sha256 of its wheels, one for each Python that has a lock.
ARG ISX_VERSION=2.1.0
ARG ISX_SHA256="a80c794f23ac3674a6b50bd8125edd2a4d07dc16e115cd9eb0076506f8904e60 ecf403a7bfc9844b56eb66c55c907709b36057920786d14cb696daec7a207ddd 45f7232688f99daa8857415fd49ff0635174bc3a1581bf82f95377065bd5d851"
# Who accepts the vendor's licence asks for IDPS. The stage `choice` refuses if no installer is there for it, or if one
# is there and its licence is not accepted, or if ISX_SOURCE is neither: it then stands for public so that the build
# gets as far as that message.
ARG ISX_SOURCE=""
ARG ACCEPT_EULA=""
ARG UNKNOWN=${ISX_SOURCE#public}
ARG UNKNOWN=${UNKNOWN#idps}
ARG CHOSEN=${UNKNOWN:+public}
ARG CHOSEN=${CHOSEN:-${ISX_SOURCE:-${ACCEPT_EULA:+idps}}}
ARG CHOSEN=${CHOSEN:-public}

# The slot for the IDPS installer: a named context fills it, the root of the project unless told otherwise. It is
# bind-mounted and never copied. Of the root, .dockerignore sends only what may be an installer, so that a change of
# anything else does not run the installer again.
FROM scratch AS installer

# Python, where the base has none.
FROM ${BASE_IMAGE} AS base
ENV LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1 DEBIAN_FRONTEND=noninteractive
ARG DEBIAN_SNAPSHOT=""
RUN <<EOF
set -eux
if [ -n "$DEBIAN_SNAPSHOT" ]; then
  . /etc/os-release
  rm -rf /etc/apt/sources.list.d/*
  echo "deb [check-valid-until=no] $DEBIAN_SNAPSHOT $VERSION_CODENAME main" > /etc/apt/sources.list
  echo "deb [check-valid-until=no] $DEBIAN_SNAPSHOT $VERSION_CODENAME-updates main" >> /etc/apt/sources.list
  security="${DEBIAN_SNAPSHOT%/debian*}/debian-security${DEBIAN_SNAPSHOT##*/debian}"
  echo "deb [check-valid-until=no] $security $VERSION_CODENAME-security main" >> /etc/apt/sources.list
fi
echo 'Acquire::Retries "5";' > /etc/apt/apt.conf.d/80-retries
EOF

ARG TARGETARCH
RUN <<EOF
set -eu
if [ "$TARGETARCH" != amd64 ]; then
  echo >&2 "ERROR: this is a build for $TARGETARCH, but Inscopix ships isx for x86-64 (linux/amd64) only: build with --platform linux/amd64."
  exit 1
fi
set -x
if ! command -v python3; then
  apt-get update
  apt-get install -y --no-install-recommends python3
fi
python3 -c 'import ctypes, json, sqlite3, ssl'
EOF

# Which isx it is to be: stages/installer.py decides. CHOSEN, and the tag in docker-bake.hcl, only follow, since neither a
# FROM nor a tag can wait for a stage; on disagreement this one ends the build with one message.
FROM base AS choice
ARG ISX_SOURCE
ARG ACCEPT_EULA
ARG INSTALLER_WAYS=""
ARG IMAGE=isx
RUN --mount=type=bind,source=stages/installer.py,target=/build/installer.py \
    --mount=type=bind,from=installer,target=/installer \
    --mount=type=secret,id=installer \
    python3 /build/installer.py /installer /choice

# The lock for the Python of the base, with NumPy 1 if NUMPY=1, and the packages that were asked for by name and hash. A
# base with another Python ends the build here.
FROM base AS lock
COPY requirements /locks
ARG NUMPY=""
ARG PYTHON_PACKAGES=""
RUN --mount=type=bind,source=stages/lock.py,target=/build/lock.py \
    python3 /build/lock.py /locks /requirements.txt

# Tools of the build.
FROM base AS builder
RUN <<EOF
set -eux
apt-get update
apt-get install -y --no-install-recommends ca-certificates binutils
python3 -m pip --version || apt-get install -y --no-install-recommends python3-pip
python3 -m pip --version
EOF

COPY --chmod=755 stages/with_secrets.py /usr/local/bin/with-secrets

# uv installs several times as fast as pip, which brings it.
RUN --mount=type=bind,source=requirements/builder.txt,target=/build/builder.txt \
    --mount=type=cache,target=/root/.cache/pip \
    --mount=type=secret,id=ca --mount=type=secret,id=pip <<EOF
set -eux
with-secrets --again python3 -m pip install --target /usr/local/lib/uv --no-deps --require-hashes --only-binary :all: -r /build/builder.txt
ln -s ../lib/uv/bin/uv /usr/local/bin/uv
uv --version
EOF

# The locked Python dependencies, in a virtual environment without pip. They are slimmed in the step that installs them:
# a later one would first copy most of their files up from the layer below.
FROM builder AS deps
RUN --mount=type=bind,from=lock,source=/requirements.txt,target=/build/requirements.txt \
    --mount=type=cache,target=/root/.cache/uv \
    --mount=type=bind,source=stages/slim.py,target=/build/slim.py \
    --mount=type=bind,source=stages/slim.txt,target=/build/slim.txt \
    --mount=type=secret,id=ca --mount=type=secret,id=pip <<EOF
set -eux
python3 -m venv --without-pip /opt/venv
with-secrets --again uv pip install --python /opt/venv/bin/python --no-deps --require-hashes --only-binary :all: -r /build/requirements.txt
site=$(/opt/venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
echo /opt/inscopix/api > "$site/isx-api.pth"
# The font cache of matplotlib takes seconds to make; a worker starts from this copy.
MPLCONFIGDIR=/opt/venv/share/matplotlib PYTHONHASHSEED=0 /opt/venv/bin/python -c 'import matplotlib.font_manager'
chmod -R a+rX /opt/venv
python3 /build/slim.py venv /opt/venv
XDG_CACHE_HOME=/tmp PYNWB_NO_CACHE_DIR=1 /opt/venv/bin/python -c 'import scipy.signal, sklearn.cluster, pandas, matplotlib.figure, imagecodecs, tifffile, h5py, pynwb'
EOF

# The API as Inscopix publishes it: input and output, no licence needed.
FROM builder AS isx-public
ARG ISX_VERSION
ARG ISX_SHA256
RUN --mount=type=bind,from=choice,source=/choice,target=/choice \
    --mount=type=bind,source=stages,target=/build/stages \
    --mount=type=bind,source=native,target=/build/native \
    --mount=type=cache,target=/root/.cache/pip \
    --mount=type=secret,id=ca --mount=type=secret,id=pip <<EOF
set -eux
test "$(cat /choice)" = public
with-secrets python3 /build/stages/install_isx.py public /opt/inscopix
python3 /build/stages/slim.py isx /opt/inscopix
EOF

# The API of IDPS, with its algorithms, from the installer.
FROM builder AS isx-idps
ARG INSTALLER_WAYS=""
ARG INSTALLER_VERSION=""
ARG INSTALLER_SHA256=""
ARG INSTALLER_TIMEOUT=900
ARG ISX_TREE=full
RUN --mount=type=bind,from=choice,source=/choice,target=/choice \
    --mount=type=bind,source=stages,target=/build/stages \
    --mount=type=bind,source=native,target=/build/native \
    --mount=type=bind,from=installer,target=/installer \
    --mount=type=secret,id=installer --mount=type=secret,id=installer_url \
    --mount=type=secret,id=ca <<EOF
set -eu
test "$(cat /choice)" = idps
with-secrets python3 /build/stages/install_isx.py idps /opt/inscopix
python3 /build/stages/slim.py isx /opt/inscopix
EOF

FROM isx-${CHOSEN} AS isx

# What the runtime needs of the distribution: what isx needs, and what was asked for by name. What the base brings may
# have had fixes since; they come with the cache of this stage, and `make lock-audit` says when it is out of date.
FROM base AS system-public
ARG RUNTIME_PACKAGES=""
RUN <<EOF
set -eux
apt-get update
apt-get upgrade -y --no-install-recommends
# shellcheck disable=SC2086  # a list of names
apt-get install -y --no-install-recommends libglib2.0-0 $RUNTIME_PACKAGES
python3 -c 'import ctypes; ctypes.CDLL("libglib-2.0.so.0")'
EOF

# And what the product needs and does not bring.
FROM system-public AS system-idps
RUN --mount=type=bind,source=stages,target=/build/stages \
    --mount=type=bind,source=native,target=/build/native \
    --mount=type=bind,from=isx-idps,source=/opt/inscopix,target=/opt/inscopix \
    python3 /build/stages/packages.py /opt/inscopix /usr/share/isx/packages.json

# Which packages those are. A build cannot make a label of what it finds: `make` asks here first, and passes it on.
FROM system-${CHOSEN} AS noted
RUN mkdir /noted && if [ -f /usr/share/isx/packages.json ]; then cp /usr/share/isx/packages.json /noted; fi

FROM scratch AS found-packages
COPY --from=noted /noted /

# Nothing of what it does not need.
FROM system-${CHOSEN} AS rootfs
ARG RUNTIME_PACKAGES=""
RUN --mount=type=bind,source=stages/slim.py,target=/build/slim.py \
    --mount=type=bind,source=stages/slim.txt,target=/build/slim.txt <<EOF
set -eux
find / -xdev -perm /6000 -type f -exec chmod a-s {} +
python3 /build/slim.py rootfs /
test -z "$(find / -xdev -perm /6000 -type f)"
find /usr/bin /usr/sbin /usr/lib -type f -exec ldd {} + > /dev/shm/ldd 2>&1 || true
if grep 'not found' /dev/shm/ldd; then exit 1; fi
EOF

# One copy each, in the order of change; linked, so that a change of one leaves the others as they are.
FROM scratch AS assembled
# hadolint ignore=DL3067
COPY --link --from=rootfs / /
COPY --link --from=deps /opt /opt
COPY --link --from=isx /opt /opt
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    LC_ALL=C.UTF-8 \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    ISX_MPLCACHE=/opt/venv/share/matplotlib

# Links to the shared libraries that the product brings where the loader does not look.
FROM assembled AS links
RUN --network=none \
    --mount=type=bind,source=stages,target=/build/stages \
    --mount=type=bind,source=native,target=/build/native \
    python /build/stages/libraries.py /opt/inscopix /links

# What the image says of the isx in it.
FROM assembled AS labelled-public
ARG ISX_VERSION
ARG ISX_SHA256
LABEL org.opencontainers.image.licenses="MIT AND CC-BY-NC-4.0" \
      org.opencontainers.image.version="${ISX_VERSION}" \
      isx.source="public" \
      isx.version="${ISX_VERSION}" \
      isx.sha256="${ISX_SHA256}" \
      isx.redistributable="true"

FROM assembled AS labelled-idps
COPY --link --from=links /links/ /
ARG RUNTIME_PACKAGES=""
ARG FOUND_PACKAGES=""
ARG INSTALLER_VERSION=""
ARG INSTALLER_SHA256=""
LABEL org.opencontainers.image.licenses="MIT AND LicenseRef-Inscopix-IDPS" \
      org.opencontainers.image.version="${INSTALLER_VERSION}" \
      isx.source="idps" \
      isx.version="${INSTALLER_VERSION}" \
      isx.sha256="${INSTALLER_SHA256}" \
      isx.redistributable="false" \
      isx.runtime-packages="${RUNTIME_PACKAGES}" \
      isx.found-packages="${FOUND_PACKAGES}"

# No image comes out of a build in which the API and every dependency do not load in the runtime's own root, as
# healthcheck.py says. Only the modules that it uses are mounted: a change of others does not repeat the proof.
FROM labelled-${CHOSEN} AS loads
RUN --network=none \
    --mount=type=secret,id=licence,mode=0444 \
    --mount=type=bind,source=stages/prove.py,target=/build/prove.py \
    --mount=type=bind,source=stages/watched.py,target=/build/watched.py \
    --mount=type=bind,source=healthcheck.py,target=/app/healthcheck.py \
    --mount=type=bind,from=lock,source=/requirements.txt,target=/app/requirements.txt \
    --mount=type=bind,source=common,target=/app/common \
    --mount=type=bind,source=native,target=/app/native <<EOF
set -eu
PYTHONPATH=/app python /build/prove.py libraries
if [ -s /run/secrets/licence ]; then export LICENCE=/run/secrets/licence; fi
python /build/prove.py load
touch /proved
EOF

# The code of this project; it waits for the proof.
FROM builder AS app
COPY --chmod=755 VERSION bootstrap.py healthcheck.py /app/
COPY --from=lock /requirements.txt /app/
COPY common /app/common
COPY recording /app/recording
COPY protocol /app/protocol
COPY native /app/native
COPY study /app/study
COPY runner /app/runner
COPY following /app/following
COPY open_engine /app/open_engine
COPY pipeline /app/pipeline
COPY recipes /app/recipes
RUN --mount=type=bind,source=stages/slim.py,target=/build/slim.py \
    --mount=type=bind,source=stages/slim.txt,target=/build/slim.txt \
    --mount=type=bind,from=loads,source=/proved,target=/proved <<EOF
set -eux
chmod -R a=rX,u+w /app
python3 /build/slim.py app /app
EOF

# The last step of a build, a copy of this folder, says what it bakes, also from the cache: bake and compose cannot see
# what a tag held before.
FROM app AS proven-public
RUN mkdir /this-image-holds && mv /app /this-image-holds/public

# Nor one in which this project's code does not run the algorithms of IDPS.
FROM labelled-idps AS algorithms
ARG PROOF=algorithms
RUN --network=none \
    --mount=type=secret,id=licence,mode=0444 \
    --mount=type=tmpfs,target=/tmp \
    --mount=type=bind,source=stages/prove.py,target=/build/prove.py \
    --mount=type=bind,source=stages/watched.py,target=/build/watched.py \
    --mount=type=bind,from=app,source=/app,target=/app <<EOF
set -eu
if [ -s /run/secrets/licence ]; then export LICENCE=/run/secrets/licence; fi
python /build/prove.py algorithms
touch /proved
EOF

FROM app AS proven-idps
RUN --mount=type=bind,from=algorithms,source=/proved,target=/proved test -f /proved
RUN mkdir /this-image-holds && mv /app /this-image-holds/idps

FROM proven-${CHOSEN} AS proven

FROM labelled-${CHOSEN} AS runtime
USER 1000:1000
WORKDIR /tmp
ARG CHOSEN
COPY --link --from=proven /this-image-holds/${CHOSEN} /app
ENTRYPOINT ["/opt/venv/bin/python", "-EsB", "/app/bootstrap.py"]
HEALTHCHECK --interval=30s --timeout=10s --start-period=10s CMD ["/opt/venv/bin/python", "-EsB", "/app/healthcheck.py"]
ARG BASE_IMAGE
# What follows the name, and nothing where the name carries no digest.
ARG AT_DIGEST=${BASE_IMAGE#${BASE_IMAGE%@*}}
ARG BASE_DIGEST=${AT_DIGEST#@}
ARG REVISION
ARG SOURCE_URL
ARG CREATED=2025-01-01T00:00:00Z
LABEL org.opencontainers.image.title="isx" \
      org.opencontainers.image.description="Inscopix recordings to results: the isx API, baked in" \
      org.opencontainers.image.created="${CREATED}" \
      org.opencontainers.image.source="${SOURCE_URL}" \
      org.opencontainers.image.url="${SOURCE_URL}" \
      org.opencontainers.image.documentation="${SOURCE_URL:+${SOURCE_URL}#readme}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${BASE_IMAGE}" \
      org.opencontainers.image.base.digest="${BASE_DIGEST}"
