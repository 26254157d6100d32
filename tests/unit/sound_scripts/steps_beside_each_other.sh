#!/bin/bash
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gres=shard:2
srun --overlap --nodes=1 --ntasks=1 nvidia-smi dmon -s u > gpu.log 2>&1 &
monitor=$!
srun ./train
code=$?
kill "$monitor"
exit "$code"
