#!/bin/bash
#SBATCH --nodes=1 --gpus-per-node=4
#SBATCH hetjob
#SBATCH --nodes=2 --ntasks-per-node=8
set -e
srun --het-group=0 ./trainer : --het-group=1 ./sampler
