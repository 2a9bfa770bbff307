#!/bin/sh
# Write an offline base, a minimal Debian, to a tar file: base.sh RELEASE FILE 'deb ADDRESS SUITE main'...
set -eu
release=$1
file=$2
shift 2

# With the merged-usr hook, no full perl is needed (76 MB instead of 126). In the last hook, mmdebstrap sets $1.
# shellcheck disable=SC2016
exec mmdebstrap --quiet --variant=minbase --format=tar \
  --hook-dir="$(dirname "$(command -v mmdebstrap)")/../share/mmdebstrap/hooks/merged-usr" \
  --include=usr-is-merged \
  --aptopt='Acquire::Retries "3"' \
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
  --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
  --customize-hook='rm -f "$1"/etc/hostname "$1"/etc/resolv.conf "$1"/var/cache/debconf/*-old "$1"/var/lib/dpkg/*-old' \
  "$release" "$file" "$@"
