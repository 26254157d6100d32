"""How long check-edf takes: ``python tests/bench/bench_edf.py [COUNT]`` prints seconds for COUNT EDFs (1,000)."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from axolotl_env.edf import check_edfs  # noqa: E402
from axolotl_env.settings import load_site  # noqa: E402
from tests.unit.edf_helpers import TUTORIAL, squashfs  # noqa: E402


def main(count: int) -> None:
    site = load_site("clariden")
    with tempfile.TemporaryDirectory() as folder:
        text = TUTORIAL.format(image=squashfs(Path(folder)))
        paths = [Path(folder) / f"{number}.toml" for number in range(count)]
        for path in paths:
            path.write_text(text)
        for engine in ("ce", "sarus", "both"):
            wall, cpu = time.perf_counter(), time.process_time()
            found = check_edfs([str(path) for path in paths], site=site, engine=engine, environ={"SCRATCH": "/s"})
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            sys.stdout.write(f"{engine}: {count} EDFs, {len(found)} findings: {wall:.2f} s (CPU {cpu:.2f} s)\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
