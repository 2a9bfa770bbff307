#!/bin/sh
#SBATCH --job-name=isx
#SBATCH --requeue
# One shard: sbatch --array=1-8 array.sh 8 COMMAND...; the command runs the image. submit.py calls this.
# The number of shards is an argument: Slurm itself says 1 if a single shard is submitted again.
set -eu
count=$1
shift
exec "$@" --shard "$SLURM_ARRAY_TASK_ID/$count" --run-id "slurm-$SLURM_ARRAY_JOB_ID"
