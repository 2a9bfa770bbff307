#!/bin/sh
# Run a command with a folder of its own for /tmp and HOME: what a contained Apptainer has otherwise is 64 MiB of memory.
set -eu
scratch=$(mktemp -d "${SLURM_TMPDIR:-${TMPDIR:-/tmp}}/isx.XXXXXXXX")
trap 'rm -rf "$scratch"' EXIT
trap : TERM INT # Slurm tells every process of the job; this one waits for the others to end in order
mkdir "$scratch/home"
export APPTAINER_WORKDIR="$scratch" APPTAINER_HOME="$scratch/home:/home/isx"
export SINGULARITY_WORKDIR="$APPTAINER_WORKDIR" SINGULARITY_HOME="$APPTAINER_HOME"
"$@"
