"""check-script: each known fault of hand-written job scripts, found on its line; a sound script is left alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from axolotl_env.errors import BadInputError
from axolotl_env.settings import Settings, SiteSlurm
from axolotl_env.slurm.directives import script_rules
from axolotl_env.slurm.lint import check_script
from axolotl_env.slurm.script import ScriptInputs, render

SITE = SiteSlurm()
SOUND = Path(__file__).with_name("sound_scripts")
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
        return [(finding.line, finding.rule) for finding in check_script(file, SITE)]

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
    inputs = ScriptInputs("tiny", tmp_path, nodes, Path("/e.toml"), "/c.yaml", "/", Path("/secrets"), Settings())
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
        ("set -e\nDATA='--in=<file>'\ncat <<E\n--in=<file>\nE\n", []),
        ("#SBATCH --account=<project>\nset -e\n", [(1, "placeholder")]),
        ("set -e\nexport NOTE=hf_EXAMPLEexample0123456789\n", [(2, "token")]),
        ("set -e\nhub login --token hf_EXAMPLEexample0123456789\n", [(2, "token")]),
        ("set -e\nset -x\nset +x\nexport HF_TOKEN=$(cat ~/.token)\n", []),
        ("set -e\nset -x\nexport HF_TOKEN=$(cat ~/.token)\n", [(3, "xtrace-token")]),
        ("set -e\nsrun \\\n -A a000 \\\n --environment=/e.toml\n", [(2, "srun-no-command")]),
        ("set -e\nsrun -N2 --mpi pmix $ARGS\n", []),
        ("set -e\nsrun -N 2 \\\n\nbash -c x\n", [(2, "srun-no-command")]),
        ("srun x | tee log\n", [(1, "piped-exit-code")]),
        ("set -eo pipefail\nsrun x | tee log\n", []),
        ("srun x || exit 1\necho end\n", []),
        ("if ! srun x; then exit 1; fi\necho end\n", []),
        ('[ -n "$D" ] && export CUDA_LAUNCH_BLOCKING=1\n', []),
        ("set -e\nenv CUDA_LAUNCH_BLOCKING=1 x\n", [(2, "launch-blocking")]),
        ("set -e\nsrun --export=ALL,CUDA_LAUNCH_BLOCKING=1 x\n", [(2, "launch-blocking")]),
        (f"set -e\nwandb login {'0a' * 20}\ngit checkout {'0a' * 20}\n", [(2, "token")]),
        ("a &&\\\n # why\n b\n", []),
        ("X=(\n a \\\n # why\n b\n)\n", []),
        ("#SBATCH -N 4\nset -e\nexport MASTER_ADDR=localhost\nsrun x\n", [(3, "local-master")]),
        ("#SBATCH -N 16\nset -e\nsrun torchrun --master_addr 127.0.0.1 x\n", [(3, "local-master")]),
        ("#SBATCH -N 2\nset -e\nsrun -N 1 torchrun --master-addr=localhost x\n", []),
        ("#SBATCH -N 1\nset -e\nexport MASTER_ADDR=localhost\nsrun x\n", []),
        ("#SBATCH -N 2\nset -e\nif x; then MASTER_ADDR=localhost; fi\nsrun y\n", []),
        ("#SBATCH -N 2\nset -e\nalone() { MASTER_ADDR=localhost; }\nsrun y\n", []),
        ("set -e\nsrun --enviroment=/e.toml x --nodez\n", [(2, "option-unknown")]),
        ("set -e\nsrun --ntasks=none x\n", [(2, "option-value")]),
        ("set -e\nsrun --ntasks=`nproc` x\n", []),
        ("set -e\nsrun --ntasks=$N --cpu-bind none x --ntasks=none\n", []),
        ('#SBATCH -N 2\nset -e\nsrun bash -c "torchrun --node_rank=$SLURM_NODEID x"\n', [(3, "expanded-early")]),
        ("#SBATCH -N 2\nset -e\nsrun torchrun --node_rank=${SLURM_PROCID} x\n", [(3, "expanded-early")]),
        ('#SBATCH -N 2\nset -e\nL="torchrun --node_rank $SLURM_NODEID"\nsrun $L x\n', [(3, "expanded-early")]),
        ('#SBATCH -N 2\nset -e\nsrun bash -c "torchrun --node_rank=\\$SLURM_NODEID x"\n', []),
        ("#SBATCH -N 2\nset -e\nsrun bash -c 'torchrun --node_rank=$SLURM_NODEID x'\n", []),
        ("set -e\ntorchrun --node_rank=$SLURM_NODEID x\n", []),
        ('#SBATCH -N 2\nset -e\nL="torchrun --node_rank $SLURM_NODEID"\nstart_everywhere "$L"\n', []),
        ('#SBATCH -N 2\nset -e\necho "torchrun on $SLURM_NODEID"\nsrun x\n', []),
        ("#SBATCH -n 1\nset -e\nsrun torchrun --node_rank=$SLURM_NODEID x\n", []),
        ("#SBATCH -n 1\nset -e\nsrun -N 2 torchrun --node_rank=$SLURM_NODEID x\n", [(3, "expanded-early")]),
        ("#SBATCH -t 9\nset -e\nsrun torchrun --node_rank=$SLURM_NODEID x\n", [(3, "expanded-early")]),
        ("quick() {\n export CUDA_LAUNCH_BLOCKING=1\n}\nquick\n", [(2, "launch-blocking")]),
        ("set -e\nsrun x &\necho started\n", [(2, "no-wait")]),
        ("set -e\nfor i in 1 2; do\n srun x > $i.log 2>&1 &\ndone\n", [(3, "no-wait")]),
        ("set -e\nsrun x & wait $!\n", []),
        ("set -e\n{ srun x; date; } &\nwait $!\n", []),
        ("set -e\nsrun x &\nsrun y\n", []),
        ("set -e\nsrun --environment=/e x\nsrun axolotl.cli.x y\n", [(3, "step-outside")]),
        ("set -e\nsrun --environment=/e x\nsrun hostname\nsrun $MORE torchrun y\n", []),
        ("#SBATCH --gpus-per-node=4\nset -e\nsrun torchrun --nproc_per_node=8 x\n", [(3, "too-many-processes")]),
        (
            "#SBATCH --gres=gpu:2\nset -e\nsrun torchrun --nproc-per-node 4 x\n",
            [(1, "gres"), (3, "too-many-processes")],
        ),
        ("#SBATCH --gpus-per-node=gh200:4\nset -e\nsrun torchrun --nproc_per_node=4 x\n", []),
        ("#SBATCH --gres=gpu:a100:8,shard:2\nset -e\nsrun torchrun --nproc_per_node=8 x\n", [(1, "gres")]),
        ("#SBATCH --gres=gpu:2\nset -e\ntorchrun --nproc-per-node 4 x\n", [(1, "gres"), (3, "too-many-processes")]),
        ("#SBATCH --gres=gpu\nset -e\ntorchrun --nproc-per-node 2 x\n", [(1, "gres"), (3, "too-many-processes")]),
        ("set -e\nsrun torchrun --nproc_per_node=8 x\n", []),
    ],
)
def test_each_fault_is_found_on_its_line(lint: Lint, text: str, found: list[tuple[int, str]]) -> None:
    assert lint(f"#!/bin/bash\n{text}") == [(line + 1, rule) for line, rule in found]


@pytest.mark.parametrize(
    ("line", "rule", "said"),
    [
        ("#SBATCH --time=99:99:99", "option-value", "minutes and seconds below 60"),
        ("#SBATCH -t 12h", "option-value", "-t 12h: the value of --time is not a time"),
        ("#SBATCH --nodes=two", "option-value", "is not a number of nodes"),
        ("#SBATCH -N=2", "option-value", "the value of --nodes"),
        ("#SBATCH --nodes", "option-value", "has no value"),
        ("#SBATCH --requeue=yes", "option-value", "takes no value"),
        ("#SBATCH -nodes=2", "option-value", "the value of --ntasks"),
        ("#SBATCH --mem=450 G", "directive-word", "G belongs to no option"),
        ("#SBATCH —nodes=2", "directive-word", "not a dash"),
        ("#SBATCH --node=4", "option-unknown", "did you mean --nodes?"),
        ("#SBATCH --cpus_per_task=4", "option-unknown", "did you mean --cpus-per-task?"),
        ("#SBATCH --gres=gpu:a100:8,shard:2", "gres", "--gpus-per-node=8"),
        ("#SBATCH --gres=gpu", "gres", "--gpus-per-node=1"),
        ("#SBATCH --zzyzx=4", "option-foreign", "at its end the options of plugins"),
        ("#SBATCH --job-name='a b", "directive-quote", "close it on the same line"),
        ("#SBATCH --nodes=2 \\", "directive-continued", "begin each line with #SBATCH"),
        ("# SBATCH --nodes=2", "directive-lookalike", "# SBATCH --nodes=2"),
        ("#sbatch --nodes=2", "directive-lookalike", "in capitals"),
        (" #SBATCH --nodes=2", "directive-lookalike", "at the start of the line"),
        ("#SBATCH -N 2\n#SBATCH --nodes=4", "directive-twice", "given again on line 3: 4 counts"),
        ("#SBATCH --output=~/logs/%j", "directive-variable", "~/logs/%j is taken as it is"),
    ],
)
def test_a_line_for_slurm_that_it_reads_otherwise_than_meant(tmp_path: Path, line: str, rule: str, said: str) -> None:
    file = tmp_path / "job.sh"
    file.write_text(f"#!/bin/bash\n{line}\nset -e\nsrun x\n")
    found = next(finding for finding in check_script(file, SITE) if finding.rule == rule)
    assert found.line == 2
    assert said in f"{found.what} {found.remedy}"


@pytest.mark.parametrize("script", sorted(SOUND.iterdir()), ids=lambda path: path.stem)
def test_a_sound_script_is_left_alone(script: Path) -> None:
    assert check_script(script, SITE) == []


@pytest.mark.parametrize(
    ("content", "rules"),
    [
        (b"", {"empty"}),
        (b" \n\n", {"empty"}),
        (b"#!/bin/bash\r\nset -e\r\nsrun x\r\n", {"dos-lines"}),
        (b"srun x\n", {"no-interpreter"}),
        (b"\xef\xbb\xbf#!/bin/bash\nsrun x\n", {"no-interpreter"}),
        (b"# why\n#!/bin/bash\nsrun x\n", {"no-interpreter"}),
        (b"base_model: x\ndatasets:\n- path: <data>\n", {"no-interpreter"}),
        (b"#!/bin/bash\n\0\n", {"binary"}),
        (b"\0" * 20, {"binary", "no-interpreter"}),
    ],
)
def test_what_sbatch_takes_for_no_script_is_an_error(tmp_path: Path, content: bytes, rules: set[str]) -> None:
    file = tmp_path / "job.sh"
    file.write_bytes(content)
    assert {finding.rule for finding in check_script(file, SITE)} == rules


def test_processes_are_counted_against_the_gpus_of_the_site(tmp_path: Path) -> None:
    file = tmp_path / "job.sh"
    file.write_text("#!/bin/bash\nset -e\nsrun torchrun --nproc_per_node=8 x\n")
    (found,) = check_script(file, SiteSlurm(gpus_per_node=4))
    assert found.what.startswith("8 processes on each node, which has 4 GPUs")
    assert check_script(file, SiteSlurm(gpus_per_node=8)) == []


def test_an_option_of_srun_that_is_none_is_told_with_the_nearest(tmp_path: Path) -> None:
    file = tmp_path / "job.sh"
    file.write_text("#!/bin/bash\nset -e\nsrun --enviroment=/e.toml x\n")
    (found,) = check_script(file, SITE)
    assert found.what == "srun has no option --enviroment: it refuses to start"
    assert found.remedy == "did you mean --environment?"


def test_a_log_folder_is_looked_for_where_it_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scripts").mkdir()
    (tmp_path / "logs").mkdir()
    file = tmp_path / "scripts/job.sh"
    for output, missing in {
        "logs/%j.out": False,
        "reports/%j.out": True,
        f"{tmp_path}/reports/%j.out": True,
        f"{tmp_path}/%x/%j.out": False,
        "/of-another-machine/logs/%j.out": False,
    }.items():
        file.write_text(f"#!/bin/bash\n#SBATCH --output={output}\nsrun x\n")
        assert [finding.rule for finding in check_script(file, SITE)] == ["log-folder"] * missing, output


def test_without_a_script_the_flag_is_named() -> None:
    with pytest.raises(BadInputError, match="no script is named") as caught:
        check_script(None, SITE)
    assert caught.value.fault.where == "--script"


def test_a_token_is_never_repeated(tmp_path: Path) -> None:
    file = tmp_path / "job.sh"
    file.write_text("set -x\nexport HF_TOKEN=hf_EXAMPLE0000\n")
    assert "hf_EXAMPLE0000" not in "".join(finding.model_dump_json() for finding in check_script(file, SITE))


def test_every_rule_says_what_to_do_and_where_that_is_written() -> None:
    for name, rule in script_rules().items():
        assert rule.keys() - {"harmless", "waits"} == {"severity", "what", "remedy", "source"}, name
