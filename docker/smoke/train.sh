#!/bin/sh
# The smoke test, inside the image: prepare a tiny training in FOLDER, then run it with PROCESSES processes.
# Usage: train.sh FOLDER PROCESSES [arguments of prepare.py]
# Python by its absolute path: a login shell may have put the system's first.
set -eu
here=$(dirname "$0")
folder=$1
processes=$2
shift 2
python=/opt/axolotl/bin/python
export PYTHONPATH="$here" HF_HUB_OFFLINE=1 AXOLOTL_DO_NOT_TRACK=1 WANDB_MODE=disabled
if [ "$processes" = 1 ]; then
    exec "$python" "$here/prepare.py" "$folder" --train "$@"
fi
"$python" "$here/prepare.py" "$folder" "$@"
exec "$python" -m torch.distributed.run --standalone --nproc_per_node="$processes" \
    -m axolotl.cli.train "$folder/config.yaml"
