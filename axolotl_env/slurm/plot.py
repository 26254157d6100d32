"""How trainings went, as curves: a PNG, and a line of blocks a curve for the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from axolotl_env import files
from axolotl_env.errors import BadInputError
from axolotl_env.slurm.history import later_links, logs_of
from axolotl_env.slurm.job import JobId
from axolotl_env.slurm.reading import Reading, Tail

CURVES = {"loss": "loss", "grad_norm": "gradient norm", "learning_rate": "learning rate", "speed": "tokens/s a GPU"}
BLOCKS = "▁▂▃▄▅▆▇█"
WIDTH = 48


@dataclass(frozen=True)
class Curves:
    """What one job's log says, in the order of its loss lines; a value that is no number stays one (nan)."""

    job: JobId
    values: Mapping[str, Sequence[float]]


def read_curves(store: Path, jobs: Sequence[str]) -> tuple[Curves, ...]:
    """Read the curves of jobs, of a chain those of its later links too; none given: of the newest on record.

    Raises:
        BadInputError: there is no such job, or its log has no loss yet.
        MissingError: Slurm does not answer where only it knows the job.
    """
    found = []
    for job in jobs or ("",):
        logs = logs_of(store, job)
        values: dict[str, list[float]] = {name: [] for name in CURVES}
        for file in (*logs.files, *(file for link in later_links(logs) for file in link.files)):
            reading = Reading()
            for line in Tail(file).lines(rest=True):
                before = reading.steps
                reading.read(line)
                if reading.steps > before:
                    speed = reading.speed
                    numbers = {**reading.last, **({} if speed is None else {"speed": speed})}
                    for name in CURVES:
                        values[name].append(numbers.get(name, math.nan))
        if not values["loss"]:
            raise BadInputError("its log has no loss yet", where=f"--job {logs.id}", hint="invoke logs shows the log")
        found.append(Curves(logs.id, values))
    return tuple(found)


def draw(curves: Sequence[Curves], path: Path) -> None:
    """Write the curves as a PNG, a panel a metric and a line a job.

    Raises:
        BadInputError: the file cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 7), layout="constrained")
    for panel, (name, title) in zip(figure.subplots(2, 2).flat, CURVES.items(), strict=True):
        for job in curves:
            panel.plot(range(1, len(job.values[name]) + 1), job.values[name], label=str(job.job))
        panel.set(title=title, xlabel="loss line")
        panel.grid(alpha=0.3)
    figure.axes[0].legend(title="job")
    with files.replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=120)


def rows(curves: Sequence[Curves]) -> list[tuple[str, ...]]:
    """Return the curves as cells of a table: job, metric, first value, blocks, last value."""
    return [
        (str(job.job), title, f"{job.values[name][0]:g}", blocks(job.values[name]), f"{job.values[name][-1]:g}")
        for job in curves
        for name, title in CURVES.items()
        if any(map(math.isfinite, job.values[name]))
    ]


def blocks(values: Sequence[float]) -> str:
    """Return a curve in one line: each block the mean of its share of the values, × where one is no number."""
    width = min(WIDTH, len(values))
    shares = [values[i * len(values) // width : (i + 1) * len(values) // width] for i in range(width)]
    means = [sum(share) / len(share) for share in shares]
    finite = [mean for mean in means if math.isfinite(mean)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 0.0)
    span = (high - low) or 1.0
    return "".join(
        BLOCKS[round((mean - low) / span * (len(BLOCKS) - 1))] if math.isfinite(mean) else "×" for mean in means
    )
