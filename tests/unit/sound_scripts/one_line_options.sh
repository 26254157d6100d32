#!/bin/bash
#SBATCH -N2 -n 8 --tmp=10G --hint=nomultithread --nice --part=debug   # cut short is still clear
# How this works: sbatch reads the lines above.
#
: "${SCRATCH:?}"
COMMIT=0123456789abcdef0123456789abcdef01234567
git -C "$SCRATCH/code" checkout --quiet "$COMMIT" && srun --pty --jobid "$SLURM_JOB_ID" -u make test
