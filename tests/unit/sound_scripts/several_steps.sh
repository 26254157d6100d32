#!/bin/bash
#SBATCH --nodes=2
#SBATCH --gpus-per-node=4
set -euo pipefail
# A training on each node by itself; the host's own tools run outside the container.
export MASTER_ADDR=localhost AXOLOTL_DO_NOT_TRACK=1
EDF=/users/alice/.edf/axolotl.toml
srun --nodes=1 --ntasks=1 hostname
steps=()
for node in $(scontrol show hostnames "$SLURM_JOB_NODELIST"); do
    srun --nodes=1 --ntasks=1 --nodelist="$node" --environment="$EDF" \
        bash -c 'torchrun --standalone --nproc_per_node=4 train.py --shard "$SLURM_LOCALID"' &
    steps+=($!)
done
for step in "${steps[@]}"; do
    wait "$step"
done
