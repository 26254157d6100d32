#!/usr/bin/env bash
#SBATCH -J sweep -A a000 -p normal
#SBATCH --array=0-15%4
#SBATCH -N 1 -n1 -c 72 -t 2:00:00
#SBATCH -o sweep_%A_%a.out
#SBATCH --mail-type=FAIL,TIME_LIMIT_80 --mail-user=alice@example.org

rates=(
    1e-5 2e-5 \
    # the ones that diverged are left out
    5e-5
)
rate=${rates[$SLURM_ARRAY_TASK_ID % ${#rates[@]}]}
echo "rate $rate"
exec srun python train.py --lr "$rate"
