#!/bin/sh
# Run a command with a folder of its own for /tmp and HOME: a contained Apptainer otherwise has 64 MiB of memory there.
set -eu
scratch=$(mktemp -d "${SLURM_TMPDIR:-${TMPDIR:-/tmp}}/isx.XXXXXXXX")
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/home"
export APPTAINER_WORKDIR="$scratch" APPTAINER_HOME="$scratch/home:/home/isx"
export SINGULARITY_WORKDIR="$APPTAINER_WORKDIR" SINGULARITY_HOME="$APPTAINER_HOME"

# Slurm signals only this process that the job ends. It passes the signal on to the image and waits for its orderly end.
"$@" &
child=$!
trap 'kill -TERM "$child"' TERM INT
while :; do
  wait "$child" && code=0 || code=$?
  kill -0 "$child" 2>/dev/null || exit "$code"
done
