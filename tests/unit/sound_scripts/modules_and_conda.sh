#!/bin/bash
#SBATCH --partition=debug
#SBATCH --nodes=1
#SBATCH --exclusive
#SBATCH --uenv=prgenv-gnu/24.11:v1
#SBATCH --view=default

source ~/.bashrc
module load cray
conda activate tools
set -euo pipefail

mkdir -p results
srun --cpu-bind=none --mpi=pmix ./solver --input case.in |& tee results/log
sacct -j "$SLURM_JOB_ID" --format=JobID,Elapsed,MaxRSS
