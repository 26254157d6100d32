#!/bin/bash
#SBATCH --time=1-00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:TERM@120
set -eu

# Debug runs only.
if [[ ${DEBUG:-0} == 1 ]]; then
    export CUDA_LAUNCH_BLOCKING=1
    set -x
fi

again() {
    echo "requeue $SLURM_JOB_ID"
    scontrol requeue "$SLURM_JOB_ID"
}
trap again TERM

srun --kill-on-bad-exit=1 --wait=60 ./train --resume &
step=$!
wait "$step"
