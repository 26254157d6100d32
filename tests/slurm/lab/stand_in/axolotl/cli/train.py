"""Stands in for axolotl's training: plays what the config asks for, and says what it sees.

Keys: ``steps``, ``pause`` (seconds a step), ``nan_from`` (step), ``fail_rank`` with ``fail_at`` and ``fail_code``,
``silent_from`` (step after which nothing more is said), ``save_every`` (steps between checkpoints; goes on from the
last one if ``auto_resume_from_checkpoints`` says so), ``dies_after`` (steps in one run; leaves half a checkpoint).
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path


def read(path: str) -> dict[str, str]:
    """Read the flat part of a YAML: there is no YAML package in the small image."""
    pairs = (line.split(":", 1) for line in Path(path).read_text().splitlines() if ":" in line)
    return {key: str(json.loads(value)) if value.startswith(' "') else value.strip() for key, value in pairs}


def main() -> None:
    config = read(sys.argv[1])
    rank = int(os.environ["RANK"])
    seen: dict[str, object] = {
        "cwd": str(Path.cwd()),
        "argv": sys.argv,
        "host": os.uname().nodename,
        "environ": dict(os.environ),
    }
    limits = {"files": resource.RLIMIT_NOFILE, "core": resource.RLIMIT_CORE}
    seen["limits"] = {name: resource.getrlimit(limit) for name, limit in limits.items()}
    told = Path(config["output_dir"], f"rank-{rank}.json")
    told.with_suffix(".part").write_text(json.dumps(seen))
    told.with_suffix(".part").rename(told)  # tests wait for it, and read it at once
    print(f"loading the model on {seen['host']}", file=sys.stderr)
    output = Path(config["output_dir"])
    saved = [int(path.name.split("-")[1]) for path in output.glob("checkpoint-*")]
    first = max(saved, default=0) + 1 if config.get("auto_resume_from_checkpoints") == "true" else 1
    print(f"from step {first}")
    for step in range(first, int(config.get("steps", 3)) + 1):
        time.sleep(float(config.get("pause", 0)))
        if rank == int(config.get("fail_rank", -1)) and step == int(config.get("fail_at", 1)):
            print("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB", file=sys.stderr)
            sys.exit(int(config.get("fail_code", 1)))
        if step >= int(config.get("silent_from", 10**9)):
            time.sleep(600)
        if rank == 0:
            bad = step >= int(config.get("nan_from", 10**9))
            line = {
                "loss": "0" if bad else f"{5 - step / 10:.4g}",
                "grad_norm": "nan" if bad else "1.5",
                "learning_rate": "0.001",
                "tokens/total": step * 1024,
                # Longer than the 1 KiB in which srun hands lines on.
                **{f"memory/{number} (GiB)": "0.123" for number in range(60)},
            }
            print(line, flush=True)
            asked = output / "axolotl_checkpoint.save"
            if step % int(config.get("save_every", 10**9)) == 0 or asked.exists():
                asked.unlink(missing_ok=True)
                checkpoint = output / f"checkpoint-{step}"
                checkpoint.mkdir()
                (checkpoint / "trainer_state.json").write_text("{}")
            if step - first + 1 == int(config.get("dies_after", -1)):
                (output / f"checkpoint-{step}").mkdir()
                sys.exit(1)
    if rank == 0:
        print("{'train_runtime': '1.5', 'train_loss': '4.8', 'epoch': '1'}\nTraining completed! Saving trained model")


if __name__ == "__main__":
    main()
