#!/bin/bash
#SBATCH --job-name=report
#SBATCH --comment='it is "quoted" # and no comment'
set -Eeuo pipefail
set +x
trap 'echo "failed on line $LINENO"' ERR
while IFS= read -r file; do
    srun --ntasks=1 --exact python convert.py "$file" < /dev/null
done < files.txt
if ! srun ./check; then
    echo "some were not converted"
    exit 3
fi
