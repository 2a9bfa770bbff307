#!/bin/sh
# Write the offline base, Debian 12 minimal, to a tar file: base.sh FILE 'deb ADDRESS SUITE main'...
set -eu
file=$1
shift

# With the merged-usr hook, no full perl is needed (76 MB instead of 126). In the last hook, mmdebstrap sets $1.
# shellcheck disable=SC2016
exec mmdebstrap --quiet --variant=minbase --format=tar \
  --hook-dir="$(dirname "$(command -v mmdebstrap)")/../share/mmdebstrap/hooks/merged-usr" \
  --include=usr-is-merged \
  --aptopt='Acquire::Retries "3"' \
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
  --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
  --customize-hook='rm -f "$1"/etc/hostname "$1"/etc/resolv.conf "$1"/var/cache/debconf/*-old "$1"/var/lib/dpkg/*-old' \
  bookworm "$file" "$@"
