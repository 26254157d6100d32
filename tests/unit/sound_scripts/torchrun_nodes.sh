#!/bin/bash -l
#SBATCH --job-name=finetune
#SBATCH --account=a000            # the project that pays
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=288
#SBATCH --mem=450G
#SBATCH --time=11:59:59
#SBATCH --signal=B:USR1@300
#SBATCH --output=%x-%j.log
##SBATCH --reservation=tutorial

set -euo pipefail
ulimit -c 0

export AXOLOTL_DO_NOT_TRACK=1
HF_TOKEN=$(< "$HOME/.config/tokens/hf")
export HF_TOKEN
export PAD_TOKEN="<|pad|>" MAX_TOKEN=4096
MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
MASTER_PORT=$((20000 + SLURM_JOB_ID % 10000))
export MASTER_ADDR MASTER_PORT

srun --nodes=1 --ntasks=1 --environment=/users/alice/.edf/axolotl.toml \
    python -m axolotl.cli.preprocess config.yaml
srun -ul --network=disable_rdzv_get --environment=/users/alice/.edf/axolotl.toml bash -c '
    # Runs once a node.
    torchrun --nnodes "$SLURM_NNODES" --nproc-per-node 4 \
        --rdzv-backend c10d --rdzv-endpoint "$MASTER_ADDR:$MASTER_PORT" --rdzv-id "$SLURM_JOB_ID" \
        -m axolotl.cli.train config.yaml
'
echo "end $(date)"
