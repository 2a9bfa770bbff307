#!/usr/bin/env python3
"""Time and size that a page adds to the results of a recording; needs what the image holds.

    python bench/pages.py [--json]

Prints, for a recording of each kind that the tests make, the CPU time of all its results, the share of it that the page
took, and the page's size. Libraries are imported and templates compiled before, as the fork server does.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from unittest.mock import patch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from pipeline.inspect import figures  # noqa: E402  nothing of this is installed
from pipeline.inspect.context import Context  # noqa: E402
from pipeline.inspect.results import write_results  # noqa: E402
from pipeline.pages import page  # noqa: E402
from recording import formats  # noqa: E402
from samples import recordings  # noqa: E402

ROUNDS = 3


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        figures.warm_up(folder)
        page.warm_up()
        made = recordings.every_kind(folder)
        made["70 cells"] = recordings.cell_set(folder / "many.isxd", n_cells=70, n=4000, rows=200, columns=260)
        costs = {
            name: min(measured(path, folder / f"{name}-{i}") for i in range(ROUNDS)) for name, path in made.items()
        }
    if "--json" in sys.argv:
        keys = ("seconds", "page_seconds", "page_bytes")
        print(json.dumps({name: dict(zip(keys, one)) for name, one in costs.items()}))
        return
    for name, (whole, share, size) in costs.items():
        print(f"{name}: {1000 * whole:.0f} ms, the page {share / whole:.0%} of it and {size / 1000:.0f} kB")


def measured(path: Path, out: Path) -> tuple[float, float, int]:
    """CPU seconds of all results, of the page, and the page's bytes."""
    out.mkdir()
    spent, write = 0.0, page.write

    def timed(*given: object) -> None:
        nonlocal spent
        began = time.process_time()
        write(*given)
        spent += time.process_time() - began

    with patch.object(page, "write", timed):
        began = time.process_time()
        write_results(path, formats.check(path).kind, "s", out, Context(out.parent), with_page=True)
        whole = time.process_time() - began
    return whole, spent, (out / "s.html").stat().st_size


if __name__ == "__main__":
    main()
