#!/bin/bash
#SBATCH -t 0-00:30
srun ./train 2>&1 | tee train.log
exit "${PIPESTATUS[0]}"
