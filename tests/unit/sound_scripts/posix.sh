#!/bin/sh
#SBATCH --ntasks=1
#SBATCH --export=NONE
cd "$SLURM_SUBMIT_DIR" || exit 1
srun hostname || exit 1
srun sh -c 'echo "$SLURM_PROCID"' 2>&1 || { echo failed >&2; exit 1; }
echo done
