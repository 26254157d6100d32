#!/bin/bash
#SBATCH --job-name="eval on 2 nodes"
#SBATCH --nodes=2-2
#SBATCH --time=90
#SBATCH --gpus-per-node=gh200:4
#SBATCH --dependency=afterok:12345 --kill-on-invalid-dep=yes

set -o errexit -o nounset -o pipefail
readonly CONFIG=${1:-eval.yaml}
LAUNCH=(
    accelerate launch
    --num_machines "$SLURM_NNODES"   # one launcher a node
    --main_process_port "$((20000 + SLURM_JOB_ID % 10000))"
)
srun bash -c "${LAUNCH[*]} --machine_rank \$SLURM_PROCID eval.py '$CONFIG'"
python summarise.py &&
    # only if that went well
    rm -rf scratch
