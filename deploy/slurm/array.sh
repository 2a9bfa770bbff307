#!/bin/sh
#SBATCH --job-name=isx
#SBATCH --requeue
# One shard: sbatch --array=1-8 array.sh 8 COMMAND..., where the command runs the image. submit.py calls this.
# The number of shards is passed along: Slurm says 1 where a single one is submitted again.
set -eu
count=$1
shift
exec "$@" --shard "$SLURM_ARRAY_TASK_ID/$count"
