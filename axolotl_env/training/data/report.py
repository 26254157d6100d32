"""All files of a training together: what is wrong, how much it is, and how many steps it makes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from axolotl_env import console, files
from axolotl_env.errors import BadInputError
from axolotl_env.findings import Finding
from axolotl_env.records import Record
from axolotl_env.settings import Site
from axolotl_env.training import document, packing
from axolotl_env.training.data import tokens
from axolotl_env.training.data.block import LENGTH_STEP
from axolotl_env.training.data.check import SMALL, DataFile, check_file, rules
from axolotl_env.training.data.convert import convert_file
from axolotl_env.training.data.mend import mend_file, shape_of
from axolotl_env.training.data.rewrite import Rewritten
from axolotl_env.training.data.shape import Shape, from_config
from axolotl_env.training.paths import sample_files

BARS = 10
"""Lines of the histogram up to sequence_len; what is longer has one more."""


class DataReport(Record):
    """What check-data found."""

    files: tuple[DataFile, ...]
    tokens: tuple[tokens.Ratio, ...]
    """Tokens a character, for each file."""
    batches: packing.Batches | None
    """How the config cuts the data into steps; None without a config."""
    steps: packing.Steps | None

    @property
    def errors(self) -> int:
        """How many faults of severity error there are."""
        return sum(n for f in self.files for rule, n in f.counts.items() if rules()[rule]["severity"] == "error")


def check_data(paths: Sequence[str], config: str, *, nodes: str, site: Site) -> DataReport:
    """Check files of samples; progress and the first findings go to stderr as they come.

    Args:
        paths: the files; none: the local ones that the config names.
        config: an axolotl YAML that says which fields hold what; empty: as the first samples look.
        nodes: of the job, for the number of steps.
        site: how many GPUs a node has.

    Raises:
        BadInputError: a file or the config cannot be read, or there is nothing to check.
    """
    gpus = packing.gpus(nodes, site)
    settings = document.read(files.expand(config)) if config else None
    work = plan([files.expand(path) for path in paths], settings)
    values = settings.value if settings else {}
    tokenizer = tokens.tokenizer_file(values)
    checked = []
    ratios = []
    for path, shape in work:
        size = path.stat().st_size if files.kind(path) == "file" else 0
        with console.bytes_progress(path.name, size) as progress:
            file = check_file(
                path,
                shape,
                # A large file is not waited for: each kind of fault is told as soon as it is met.
                on_finding=_tell_once() if size > SMALL else lambda _finding: None,
                on_bytes=lambda count, bar=progress: bar.update(bar.task_ids[0], advance=count),  # type: ignore[misc]
            )
        ratio = tokens.ratio(path, file.shape, tokenizer)
        if settings and file.shape.kind in ("chat", "alpaca"):
            file = _too_long(file, ratio, packing.batches(values, gpus).sequence_len)
        checked.append(file)
        ratios.append(ratio)
    plan_ = packing.batches(values, gpus) if settings else None
    return DataReport(
        files=tuple(checked),
        tokens=tuple(ratios),
        batches=plan_,
        steps=packing.steps(tokens_of(checked, ratios, plan_), plan_) if plan_ else None,
    )


def mend_data(
    paths: Sequence[str], output: str, config: str, *, force: bool = False, dry_run: bool = False
) -> Rewritten:
    """Write a mended copy of a file of samples: see :func:`axolotl_env.training.data.mend.mend_file`.

    Raises:
        BadInputError: the file cannot be read as a whole.
        ConflictError: the output is there, and ``force`` is not given.
    """
    source, shape = _one(paths, config)
    return mend_file(source, files.expand(output), shape or shape_of(source), force=force, dry_run=dry_run)


def convert_data(
    path: str, output: str, to: str, config: str, *, force: bool = False, dry_run: bool = False
) -> Rewritten:
    """Write the samples of a file in another shape: see :func:`axolotl_env.training.data.convert.convert_file`.

    Raises:
        BadInputError: a flag is missing, or the samples cannot become that.
        ConflictError: the output is there, and ``force`` is not given.
    """
    source, shape = _one([path] if path else [], config)
    if not output:
        raise BadInputError("nowhere to write to", where="--output", hint="--output NEW.jsonl")
    return convert_file(source, files.expand(output), to, shape, force=force, dry_run=dry_run)


def _one(paths: Sequence[str], config: str) -> tuple[Path, Shape | None]:
    settings = document.read(files.expand(config)) if config else None
    found = plan([files.expand(path) for path in paths], settings)
    if len(found) != 1:
        raise BadInputError(f"one file at a time, not {len(found)}", where="--data", hint="name it with --data")
    return found[0]


def _tell_once() -> Callable[[Finding], None]:
    told: set[str] = set()

    def tell(finding: Finding) -> None:
        if finding.rule not in told:
            told.add(finding.rule)
            console.note(f"{finding.where}: {finding.severity}: {finding.what}")

    return tell


def plan(paths: Sequence[Path], config: document.Document | None) -> list[tuple[Path, Shape | None]]:
    """Return the files to check, each with the shape that the config gives it.

    Raises:
        BadInputError: there is nothing to check, or the config says nothing about a file.
    """
    if config is None:
        if not paths:
            raise BadInputError("no data to check", where="--data", hint="give --data FILE, --config FILE, or both")
        return [(path, None) for path in paths]
    folder = config.path.absolute().parent
    entries = [(text, from_config(entry, config.value)) for text, entry in sample_files(config.value)]
    if not paths:
        local = [(folder / text, shape) for text, shape in entries if files.kind(folder / text) == "file"]
        if not local:
            raise BadInputError(
                "none of its data sets is a file on this machine", where=str(config.path), hint="give --data FILE"
            )
        return [*local]
    return [(path, _entry(path, entries, config)) for path in paths]


def _entry(path: Path, entries: Sequence[tuple[str, Shape]], config: document.Document) -> Shape:
    """Return the shape of the entry that names the file, else the one that all entries have."""
    folder = config.path.absolute().parent
    absolute = [shape for text, shape in entries if folder / text == path.absolute()]
    named = [shape for text, shape in entries if Path(text).name == path.name]
    if found := absolute or named:
        return found[0]
    names = ", ".join(text for text, _ in entries)
    if len({shape.model_dump_json() for _, shape in entries}) == 1:
        console.note(f"{path.name} is read as {config.path.name} says of {names}")
        return entries[0][1]
    raise BadInputError(
        f"none of its data sets is {path}" if entries else "it has no data sets",
        where=str(config.path),
        hint=f"its data sets: {names}; give the file the path or the name of one, or leave --config out"
        if entries
        else "leave --config out, or give it datasets: with a path",
    )


def _too_long(file: DataFile, ratio: tokens.Ratio, limit: int) -> DataFile:
    count = sum(n for step, n in file.lengths.items() if _length(step, ratio) > limit)
    if not count:
        return file
    rule = rules()["too-long"]
    how = "" if ratio.counted else " (estimated, see tokens)"
    finding = Finding(
        rule="too-long",
        severity=rule["severity"],
        what=rule["text"].format(count=count, samples=file.samples, limit=limit, how=how),
        file=file.file,
        remedy=rule["remedy"],
        source=rule["source"],
    )
    return file.model_copy(update={"counts": {**file.counts, "too-long": count}, "findings": (*file.findings, finding)})


def _length(step: int, ratio: tokens.Ratio) -> int:
    """Return the tokens of a sample; the middle of a step of characters stands for all in it."""
    return max(1, round((step + 0.5) * LENGTH_STEP * ratio.tokens_per_character))


def tokens_of(
    files: Sequence[DataFile], ratios: Sequence[tokens.Ratio], batches: packing.Batches | None
) -> Mapping[int, int]:
    """Return samples by their length in tokens."""
    lengths: Counter[int] = Counter()
    for file, ratio in zip(files, ratios, strict=True):
        for step, count in file.lengths.items():
            length = _length(step, ratio)
            if batches and file.shape.kind == "text" and length > batches.sequence_len:
                # axolotl cuts a long text into pieces; only conversations are dropped.
                lengths[batches.sequence_len] += count * (length // batches.sequence_len)
                length %= batches.sequence_len
            lengths[length] += count
    return lengths


def show(report: DataReport, *, json: bool) -> None:
    """Print the report on stdout.

    Raises:
        BadInputError: there is an error, so that the command ends with exit code 2.
    """
    if json:
        console.document(report.model_dump(mode="json"))
    else:
        for file, ratio in zip(report.files, report.tokens, strict=True):
            _show_file(file, ratio)
        _show_lengths(report)
    if report.errors:
        faults = f"{report.errors} error{'s' * (report.errors != 1)}"
        raise BadInputError(f"{', '.join(Path(file.file).name for file in report.files)}: {faults}")


def _show_file(file: DataFile, ratio: tokens.Ratio) -> None:
    title = file.shape.title if file.samples else "no samples"
    console.text(f"{file.file}: {file.format}, {console.size(file.size)}, {title}")
    if file.samples:
        _show_amounts(file, ratio)
    if not file.counts:
        console.text("  nothing wrong")
        return
    for rule, count in sorted(file.counts.items(), key=lambda pair: (rules()[pair[0]]["severity"], -pair[1])):
        shown = [finding for finding in file.findings if finding.rule == rule]
        console.text(f"\n  {rules()[rule]['severity']}: {rule}, {count:,} ×")
        for finding in shown:
            console.text(f"    {finding.where}: {finding.what}")
        if count > len(shown) > 1:
            console.text(f"    … and {count - len(shown):,} more")
        console.text(f"    → {shown[0].remedy}" + (f" ({shown[0].source})" if shown[0].source else ""))


def _show_amounts(file: DataFile, ratio: tokens.Ratio) -> None:
    amount = round(file.characters * ratio.tokens_per_character)
    images = f", {file.images:,} images" if file.images else ""
    console.text(f"  {file.samples:,} samples, {file.turns:,} turns, {file.characters:,} characters{images}")
    console.text(f"  about {amount:,} tokens, {ratio.how}")


def show_rewritten(made: Rewritten, *, dry_run: bool) -> None:
    """Print on stderr what a new file holds, or would hold, and what did not come into it."""
    console.note(
        f"{made.file}{' would have' if dry_run else ''}: {made.samples:,} samples"
        + (f", {made.mended:,} of them mended" if made.mended else "")
    )
    if made.dropped:
        reasons = ", ".join(f"{rule} {count:,} ×" for rule, count in made.reasons.items())
        where = "" if dry_run else f"; {made.dropped_file} lists each"
        console.note(f"{made.dropped:,} {'would be' if dry_run else 'were'} dropped: {reasons}{where}")


def _show_lengths(report: DataReport) -> None:
    batches, result = report.batches, report.steps
    if not batches or not result:
        return
    limit = batches.sequence_len
    lengths: Counter[int] = Counter()
    for length, count in tokens_of(report.files, report.tokens, batches).items():
        lengths[min((length - 1) * BARS // limit, BARS)] += count
    total, longest = sum(lengths.values()), max(lengths.values(), default=1)
    console.text(f"\nlengths in tokens, against sequence_len {limit}")
    for bar in range(BARS + (lengths[BARS] > 0)):
        name = f"{bar * limit // BARS:>7}–{(bar + 1) * limit // BARS}" if bar < BARS else f"      > {limit}"
        share = lengths[bar] / total if total else 0
        console.text(f"  {name:<16} {'█' * round(40 * lengths[bar] / longest):<40} {lengths[bar]:,} ({share:.1%})")
    packed = "packed" if batches.packing else "padded to the longest"
    console.text(
        f"{result.samples:,} samples of {result.tokens:,} tokens an epoch, {packed}: {result.efficiency:.1%} of a batch"
        f" is data; {result.steps_per_epoch:,} steps an epoch on {batches.gpus} GPUs, {result.steps:,} in all"
    )
