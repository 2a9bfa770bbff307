#!/bin/sh
# Run a command with a folder of its own for /tmp and HOME: what a contained Apptainer has otherwise is 64 MiB of memory.
set -eu
scratch=$(mktemp -d "${SLURM_TMPDIR:-${TMPDIR:-/tmp}}/isx.XXXXXXXX")
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/home"
export APPTAINER_WORKDIR="$scratch" APPTAINER_HOME="$scratch/home:/home/isx"
export SINGULARITY_WORKDIR="$APPTAINER_WORKDIR" SINGULARITY_HOME="$APPTAINER_HOME"

# Slurm tells only this process that the job ends; it tells the image, and waits until that has ended in order.
"$@" &
child=$!
trap 'kill -TERM "$child"' TERM INT
while :; do
  wait "$child" && code=0 || code=$?
  kill -0 "$child" 2>/dev/null || exit "$code"
done
