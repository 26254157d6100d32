"""check-script: each known fault of hand-written job scripts, found on its line; a sound script is left alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from axolotl_env.errors import BadInputError
from axolotl_env.settings import SiteSlurm
from axolotl_env.slurm.lint import check_script, rules
from axolotl_env.slurm.script import ScriptInputs, render

Lint = Callable[[str], list[tuple[int, str]]]

# A tutorial's way of doing it, faults and all.
HAND_WRITTEN = """\
#!/bin/bash
#SBATCH --job-name finetune
#SBATCH --chdir /users/$USER/work
#SBATCH --output /users/$USER/reports/%x.%j.out
#SBATCH --nodes 4
#SBATCH --ntasks-per-node 1
#SBATCH --gres gpu:4   # all of them
#SBATCH --environment /users/$USER/.edf/train.toml
#SBATCH -A a000

export WANDB_API_KEY=<your_key>
export CUDA_LAUNCH_BLOCKING=1
echo begin
set -eo pipefail
set -x
export HF_TOKEN=<your_token>
CONFIG=/users/$USER/work/tiny.yaml
MASTER_ADDR=$(scontrol show hostnames $SLURM_JOB_NODELIST | head -n 1)
MASTER_PORT=6000
LAUNCH="
    torchrun \\
    --nproc_per_node 4 \\
    --nnodes $SLURM_NNODES \\
    --node_rank \\$SLURM_PROCID \\
    --rdzv_endpoint $MASTER_ADDR:$MASTER_PORT \\
    --rdzv_backend c10d \\
    "
srun --wait 60 bash -c "$LAUNCH -m axolotl.cli.train $CONFIG"
echo "end"
"""


@pytest.fixture
def lint(tmp_path: Path) -> Lint:
    def run(text: str) -> list[tuple[int, str]]:
        file = tmp_path / "job with a space.sh"
        file.write_text(text)
        return [(finding.line, finding.rule) for finding in check_script(file)]

    return run


def test_a_script_as_tutorials_have_it_shows_all_its_faults_and_no_other(lint: Lint) -> None:
    assert lint(HAND_WRITTEN) == [
        (3, "directive-variable"),
        (4, "directive-variable"),
        (4, "log-folder"),
        (7, "gres"),
        (8, "directive-container"),
        (8, "directive-variable"),
        (11, "token"),
        (12, "launch-blocking"),
        (14, "late-errexit"),
        (16, "token"),
        (16, "xtrace-token"),
        (18, "scontrol-inside"),
        (19, "fixed-port"),
        (21, "no-rendezvous-id"),
        (21, "node-rank"),
        (28, "no-preprocess"),
        (28, "telemetry"),
    ]


@pytest.mark.parametrize("nodes", [1, 4])
def test_our_own_script_has_no_fault(lint: Lint, tmp_path: Path, nodes: int) -> None:
    (tmp_path / "logs").mkdir()
    inputs = ScriptInputs("tiny", tmp_path, nodes, Path("/e.toml"), "/c.yaml", "/", Path("/secrets"))
    assert lint(render(inputs, SiteSlurm(gpus_per_node=4, processes_per_node=4))) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("set -e\nsrun \\\n -A a000 \\\n #--reservation=r1 \\\n bash -c x\n", [(4, "comment-in-command")]),
        ("set -e\nsrun \\\n -A a000 \\\n\n -n 1 bash -c x\n", [(4, "blank-in-command")]),
        ("set -e\nsrun \\ \n -A a000 x\n", [(2, "blank-after-backslash")]),
        ("set -e\nX='a \\\n # no comment'\n", []),
        ("set -e\ncat <<E\na \\\n # no comment\nE\n", []),
        ("set -e # text \\\n# another\n", []),
        ("echo begin\n#SBATCH --nodes=2\n", [(2, "directive-late")]),
        ("#SBATCH --environment=/e.toml\nset -e\nsrun --environment=/e.toml x\n", [(1, "container-twice")]),
        ("set -e\nsrun --environment=../.edf/x.toml x\n", [(2, "relative-edf")]),
        ("set -e\nsrun --container-image=/e/x.toml x\n", [(2, "edf-as-image")]),
        ("set -e\nsrun --environment /e/x.sqsh x\n", [(2, "image-as-edf")]),
        ("set -e\nA=$(scontrol show hostnames $L || echo localhost)\n", [(2, "localhost-fallback")]),
        ("set -e\ntorchrun --master_port=29500 x.py\n", [(2, "fixed-port")]),
        ("set -e\nexport HF_TOKEN=hf_EXAMPLE0000\n", [(2, "token")]),
        ("set -e\nexport HF_TOKEN=$(cat ~/.token)\n", []),
        ("set -e\nDATA=<path to data>\n", [(2, "placeholder")]),
        ("srun x\necho end\n", [(1, "hidden-exit-code")]),
        ("srun x\ncode=$?\necho end\nexit $code\n", []),
        ("srun x\n", []),
        ("set -e\nif true; then\n", [(3, "syntax")]),
    ],
)
def test_each_fault_is_found_on_its_line(lint: Lint, text: str, found: list[tuple[int, str]]) -> None:
    assert lint(f"#!/bin/bash\n{text}") == [(line + 1, rule) for line, rule in found]


def test_without_a_script_the_flag_is_named() -> None:
    with pytest.raises(BadInputError, match="no script is named") as caught:
        check_script(Path())
    assert caught.value.fault.where == "--script"


def test_a_token_is_never_repeated(tmp_path: Path) -> None:
    file = tmp_path / "job.sh"
    file.write_text("set -x\nexport HF_TOKEN=hf_EXAMPLE0000\n")
    assert "hf_EXAMPLE0000" not in "".join(finding.model_dump_json() for finding in check_script(file))


def test_every_rule_says_what_to_do_and_where_that_is_written() -> None:
    for name, rule in rules().items():
        assert rule.keys() == {"severity", "what", "remedy", "source"}, name
