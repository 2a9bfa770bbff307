#!/bin/sh
#SBATCH --job-name=isx-gather
#SBATCH --requeue
# After all shards: sbatch --dependency=afterok:ID gather.sh 8 COMMAND... writes the report and the final sentinel.
set -eu
count=$1
shift
exec "$@" --gather --shard "1/$count" --run-id "slurm-$SLURM_JOB_ID" # of the shard, only the number matters
