#!/bin/bash
# Submits a job for each model; is no job itself.
set -euo pipefail
for model in small large; do
    cat > "job-$model.sh" <<END
#!/bin/bash
#SBATCH --job-name=$model
#SBATCH --output=$HOME/logs/%j.out
srun python eval.py \\
    # not a comment of this script
    --model $model
END
    sbatch --parsable "job-$model.sh"
done
