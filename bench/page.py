"""docs/benchmarks.md, from bench/report.json."""

from __future__ import annotations

import itertools
from typing import Any

from measure import PROJECT, rounded

PAGE = PROJECT / "docs/benchmarks.md"

START = {
    "true": "floor: `docker run isx true`",
    "import_isx": 'floor: `docker run isx python -c "import isx"`',
    "image": "this image, from `docker run` to the sentinel",
    "install_warm": "install at each start, volume filled before",
    "install_cold": "install at each start, new volume, downloads cached",
}
BUILDS = {
    "cold": "nothing cached but pip's downloads",
    "nothing_changed": "nothing changed",
    "code_changed": "code changed",
    "lock_changed": "lock changed",
    "installer_changed": "installer changed (IDPS, from a stand-in)",
}
HEALTH = {"healthcheck": "`healthcheck.py`", "import_isx": '`python -c "import isx"`', "python": '`python -c ""`'}
WAYS = {
    "run_1": "this image, 1 core",
    "run_2": "this image, 2 cores",
    "naive": "naive pass",
    "floor": "read, convert, one product",
    "isx": "`isx` reading alone",
    "memmap": "memory-mapped reading",
}
METHODS = {
    "open": "open engine",
    "open_estimated": "open engine, diameter estimated",
    "recipe": "recipe `cells`, nothing given, accepted cells",
    "peer_80_10": "inscopix-cnmfe, default (0.8, 10)",
    "peer_60_6": "inscopix-cnmfe (0.6, 6)",
    "fastica": "FastICA",
}
MEASURES = {
    "f1": "F1",
    "f1_accepted": "F1 of what the recipe's acceptance leaves of them",
    "r": "r of raw traces, median over the cells found",
    "r_of_both": "r of raw traces over the cells that inscopix-cnmfe and the open engine found: inscopix-cnmfe",
    "open_r_of_both": "the same cells: open engine, against each setting",
    "event_f1": "F1 of events, median over cells",
    "cpu_s": "CPU, s",
    "peak_gb": "peak of memory, GB",
}
EVENT_TESTS = {
    "peri_event": "`peri_event`",
    "ideas": "IDEAS, its default windows of 1 s",
    "ideas-window": "IDEAS, the same windows (-2 to 4 s)",
}
REAL_TIME_MPX_PER_S = 1280 * 800 * 20 / 1e6


def page(report: dict[str, Any]) -> str:
    parts = [
        heading(report),
        start(report["start"]),
        build(report["build"], report["size"]),
        size(report["size"]),
        health(report["health"]),
        movie(report["movie"]),
        *([movie_steps(report["movie_steps"])] if "movie_steps" in report else []),
        *([long(report["long"])] if "long" in report else []),
        *([nwb(report["nwb"])] if "nwb" in report else []),
        *([pages(report["pages"])] if "pages" in report else []),
        many(report["many"]),
        scale_out(report["scale_out"]),
        *([accuracy(report["accuracy"])] if "accuracy" in report else []),
        *([peri_event(report["peri_event"])] if "peri_event" in report else []),
        *([sessions(report["sessions"])] if "sessions" in report else []),
        *([followed(report["followed"])] if "followed" in report else []),
    ]
    return "\n\n".join(parts) + "\n"


def heading(report: dict[str, Any]) -> str:
    host = report["machine"]
    return f"""\
# Benchmarks

`make bench` measures all of this and writes this page. `make chaos` shows which faults the image survives. Figures are
medians of repeated runs, with the least and the greatest in parentheses; the ways that are compared take turns.

Measured on {report["made"]}: {host["cpu"]}, {host["cores"]} cores, {host["memory_gb"]} GB, Linux {host["kernel"]}, \
Docker {host["engine"]} ({host["storage"]}), buildx {host["builder"]}; load average at the start {host["load"]:.1f}.

![start to sentinel, throughput, size](images/bench.png)"""


def table(columns: list[str], rows: list[list[str]]) -> str:
    lines = [columns, ["---"] + ["---:"] * (len(columns) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def figure(spread: dict[str, float], unit: str = "") -> str:
    """median (low to high) unit"""
    text = f"{short(spread['median'])} ({short(spread['low'])} to {short(spread['high'])})"
    return f"{text} {unit}".rstrip()


def short(value: float) -> str:
    """Three digits, or all of a larger number."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:#.3g}".rstrip(".")


def start(seconds: dict[str, Any]) -> str:
    rows = [
        [text, figure(seconds[name], "s"), f"{short(seconds[name]['median'] / seconds['image']['median'])} ×"]
        for name, text in START.items()
    ]
    return f"""\
## Start to sentinel

One movie of 12 frames. The design that installs `isx` at each start (`bench/baseline/`) then runs the same code.

{table(["", "seconds", "of this image"], rows)}"""


def build(builds: dict[str, Any], sizes: dict[str, Any]) -> str:
    rows = [[text, figure(builds[name], "s"), steps(builds[name]["rebuilt"])] for name, text in BUILDS.items()]
    single = short(sizes["single_stage_build"])
    return f"""\
## Build

{table(["", "seconds", "steps done, by stage"], rows)}

A single-stage build of the same content, without cache: {single} s (one run; it downloads)."""


def steps(rebuilt: dict[str, int]) -> str:
    return ", ".join(f"{stage} {count}" for stage, count in rebuilt.items()) or "none"


def size(sizes: dict[str, Any]) -> str:
    texts = {"image": "this image", "single_stage": "a single stage (`bench/single-stage/`)", "ratio": "ratio"}
    rows = [
        [text, *(short(sizes[name][kind]) + ("" if name == "ratio" else " MB") for kind in ("unpacked", "compressed"))]
        for name, text in texts.items()
    ]
    return f"## Size\n\n{table(['', 'unpacked', 'gzipped'], rows)}"


def health(checks: dict[str, Any]) -> str:
    rows = [[text, *(figure(checks[name][kind], "s") for kind in ("wall", "cpu"))] for name, text in HEALTH.items()]
    return f"## Health check\n\nIn a running container.\n\n{table(['', 'wall', 'CPU'], rows)}"


def movie(by_movie: dict[str, Any]) -> str:
    blocks = []
    for measure, unit in (("mb_per_s", "MB/s"), ("peak_mb", "MB")):
        columns = [f"{unit}", *(name.replace("_", " ", 1).replace("_", ".").replace("gb", " GB") for name in by_movie)]
        ways = by_movie.values()
        rows = [
            [text, *(short(its[way][measure]["median"]) if way in its else "" for its in ways)]
            for way, text in WAYS.items()
        ]
        blocks.append(table(columns, rows))
    return f"""\
## Movies

One movie of 800 × 1280 px in the page cache. The rows of this image cover everything that it does with the movie, up to
the sentinel. In the other rows, one core computes the statistics as NumPy defines them (naive pass); or it reads,
converts to float32 and takes one product, the minimum for any statistic; or it only reads. All include the start of
Python. Figures are medians; `bench/report.json` has the spread.

{blocks[0]}

Peak memory of all processes together, without pages of files.

{blocks[1]}"""


def movie_steps(measured: dict[str, Any]) -> str:
    first, second = measured["short"], measured["long"]
    rows = []
    for name, one in second["steps"].items():
        step, *how = name.split(", ", 1)
        rates = (one["mpx_per_s"], one["mpx_per_s"] / REAL_TIME_MPX_PER_S, one["copy_mpx_per_s"], one["ratio"])
        figures = [short(rate) for rate in rates]
        rows.append([", ".join([f"`{step}`", *how]), *figures, str(first["steps"][name]["mb"]), str(one["mb"])])
    memory = [f"MB, {of_length['frames']} frames" for of_length in (first, second)]
    threads, size = second["threads"], second["size"]
    return f"""\
## Movie steps of the open engine

Movies of {size} px, uint16, in the page cache, on {threads} threads. The same process reads the same movie and writes
as many bytes as the step did: that is reading plus writing. Memory is the greatest resident set, libraries included.

A field of 1280 × 800 px at 20 Hz is {REAL_TIME_MPX_PER_S:.1f} Mpx/s.

{table(["", "Mpx/s", "× that field", "reading plus writing, Mpx/s", "ratio", *memory], rows)}"""


def long(measured: dict[str, Any]) -> str:
    n, whole, held = measured["frames"], 24_000, short(measured["extraction_gb"])
    cells, cores = measured["cells"], measured["cores"]
    rows = []
    for recipe, one in measured["recipes"].items():
        steps = "; ".join(f"{name} {short(seconds)} s" for name, seconds in one["steps"])
        minutes = one["seconds"] * whole / n / 60
        share = short(one["seconds"] * 20 / n)  # frames a second
        rows.append([f"`{recipe}`", short(one["seconds"]), str(one["peak_mb"]), share, short(minutes), steps])
    return f"""\
## A whole field

{n} frames of 1280 × 800 px at 20 Hz, {cells} cells, `keep = "last"`, {cores} cores, from start to
sentinel. Most of it grows with the number of frames, so 20 minutes (24,000 frames, 48 GB) take at most 24,000 / {n}
times as long.
For these, `run_cnmfe` holds {held} GB with its default of 4 threads: the patches that it has read and works on.

{table(["recipe", "s", "memory, MB", "× the time recorded", "20 minutes of recording, min", "steps"], rows)}"""


def nwb(measured: dict[str, Any]) -> str:
    rows = [
        [title, *(short(measured[f"{name}_{what}"]) for what in ("mb_per_s", "peak_mb", "file_mb"))]
        for name, title in (("nwb", "`NWB_MOVIE=1`"), ("h5py", "`h5py`, the same chunks and compression"))
    ]
    pixels = measured["size"].replace("x", " × ")
    return f"""\
## NWB

A movie of {measured["movie_mb"]} MB, {pixels} px {measured["dtype"]}. `h5py` compresses on one thread, the image on \
{measured["threads"]}. Memory
is what comes on top of the libraries. `NWB_MOVIE=1` is {measured["nwb_to_h5py"]} × as fast as `h5py`, \
{measured["nwb_to_h5py_processor"]} × by processor time.

{table(["", "MB/s", "peak memory, MB", "file, MB"], rows)}"""


def pages(by_kind: dict[str, Any]) -> str:
    rows = []
    for name, one in by_kind.items():
        share = one["page_seconds"] / one["seconds"]
        rows.append([name, short(1000 * one["seconds"]), short(100 * share), short(one["page_bytes"] / 1000)])
    return f"""\
## Pages

The share of the page in the processor time of all results of a small recording.

{table(["recording", "all results, ms", "page, %", "page, kB"], rows)}"""


def many(seconds: dict[str, Any]) -> str:
    numbers = [int(name[2:]) for name in seconds if name.startswith("n_")]
    rows = [[f"{n:,}", figure(seconds[f"n_{n}"], "s"), figure(seconds[f"again_{n}"], "s")] for n in numbers]
    per_recording, again = (short(1000 * seconds[name]) for name in ("each", "each_again"))
    return f"""\
## Many small recordings

Movies of 12 frames, from `docker run` to the sentinel.

{table(["recordings", "first run", "second run, nothing changed"], rows)}

Each further recording takes {per_recording} ms, or {again} ms if it is already done."""


def scale_out(measured: dict[str, Any]) -> str:
    if "left_out" in measured:
        return f"## Scale-out\n\nNot measured: {measured['left_out']}."
    rows = [[name, f"{value:g}"] for name, value in measured.items()]
    return f"""\
## Scale-out

16 movies of 100 frames of 500 × 500 px in 4 shards: Slurm and Apptainer on two nodes of one core each, against one
container on both cores (`bench/scaleout.py`). Figures are medians.

{table(["", "measured"], rows)}"""


def peri_event(measured: dict[str, Any]) -> str:
    left_out = f"\n\nNot beside it: {measured['peer_left_out']}." if "peer_left_out" in measured else ""
    rows = []
    for name, title in EVENT_TESTS.items():
        if name in measured:
            one = measured[name]
            false, cells = one["false_cells_of_nothing"]
            recall = [short(one["recall"][channel]) for channel in ("GPIO-1", "GPIO-2")]
            sessions = f"{one['sessions_with_a_false_cell']} of {one['sessions']}"
            rows.append([title, *recall, f"{false} of {cells}", sessions, short(one["uniform"])])
    columns = ["", "recall, GPIO-1", "recall, GPIO-2", "false cells, GPIO-3", "sessions with one", "p is uniform, p"]
    cost = measured["cost"]
    return f"""\
## Activity around events

`peri_event` on the traces of simulated sessions: 12 of 48 cells respond to GPIO-1, 6 to GPIO-2, none to GPIO-3
(`bench/peri_event.py`). Beside it Inscopix's "Peri-Event Analysis Workflow" of the IDEAS collection, which calls each
cell at p below 0.05 and does not correct for their number.
Measured on {measured["made"]}.{left_out}

{table(columns, rows)}

500 cells and 100 events in 20 minutes at 20 Hz, 1,000 shifts: {cost["cpu_s"]} s of processor time, \
{cost["peak_mb"]} MB."""


def sessions(measured: dict[str, Any]) -> str:
    one, many_ = measured["session"], measured["many"]
    rows = []
    for name, title in (("plain", "results"), ("nwb", "results and NWB")):
        whole, parts = one[f"{name}_whole_s"], one[f"{name}_sum_s"]
        rows.append([title, short(whole), short(parts), short(whole / parts)])
    return f"""\
## Sessions

Processor time from start to sentinel (`bench/sessions.py`): a movie in {one["parts"]} parts of {one["frames"]} frames
with GPIO, as one session, against the sum of runs over each recording alone. Measured on {measured["made"]}.

{table(["", "session, s", "recordings one by one, s", "share"], rows)}

{many_["recordings"]:,} recordings are found, checked and related in {short(many_["seconds"])} s of processor time, \
{short(many_["ms_a_recording"])} ms each."""


def accuracy(measured: dict[str, Any]) -> str:
    if "left_out" in measured:
        return f"## Accuracy\n\nNot measured: {measured['left_out']}."
    recordings = measured["recordings"]
    unknown = {method for recording in recordings.values() for method in recording["methods"]} - METHODS.keys()
    assert not unknown, f"nothing shows {unknown}"
    shown = [method for method in METHODS if any(method in recording["methods"] for recording in recordings.values())]
    blocks = []
    for measure, title in MEASURES.items():
        rows = []
        for method in shown:
            values = [
                *(recording["methods"].get(method, {}) for recording in recordings.values()),
                measured["means"].get(method, {}),
            ]
            if any(measure in its for its in values):
                figures = (short(its[measure]) if measure in its else "" for its in values)
                rows.append([METHODS[method], *figures])
        if not rows:
            continue
        blocks.append(f"**{title}**\n\n{table(['', *recordings, 'mean'], rows)}")
    motion = ", ".join(f"{name} {short(recording['motion_rms_px'])}" for name, recording in recordings.items())
    beside = conditions(measured.get("conditions", {})) + against_the_peer(measured.get("against_peer"))
    missing = f"\n\nWithout Inscopix's CNMF-E: {measured['peer_left_out']}." if "peer_left_out" in measured else ""
    return f"""\
## Accuracy

Cells in simulated recordings whose truth is known: six kinds by minisim, and `own` by this project's generator; the
number is the seed. `bench/accuracy.py` says what counts, and `bench/minisim_movies.py` what is simulated. Each raw
movie goes through `motion_correct` and `run_cnmfe` at their defaults. The other methods get the same aligned movie.
FastICA is told the true number of cells. inscopix-cnmfe (`bench/peer.py`) runs at its default thresholds and at lower
ones. One seed says little about differences of a few hundredths. Measured on {measured["made"]}.{missing}

![F1 and processor time of each method](images/accuracy.png)

{chr(10).join(block + chr(10) for block in blocks)}
{beside}Error of the motion, px (root mean square): {motion}."""


def followed(measured: dict[str, Any]) -> str:
    """A dash is what was not measured."""

    def shown(its: dict[str, Any], name: str) -> str:
        return f"{its[name]:.3f}" if name in its else "–"

    rows, sure = [], []
    for name, its in measured["conditions"].items():
        ways = ("", "present_", "roicat_")
        rows.append([name, *(f"{shown(its, f'{way}recall')} / {shown(its, f'{way}precision')}" for way in ways)])
        strangers = f"{its['strangers_noticed']} of {its['strangers']}" if its["strangers"] else ""
        others = f"{its['others_flagged']} of {its['sessions'] - its['strangers']}"
        figures = [shown(its, measure) for measure in ("calibration_error", "calibration_worst", "sure_right")]
        sure.append([name, *figures, strangers, others, short(its["seconds"])])
    missing = f"\n\nWithout ROICaT: {measured['roicat_left_out']}." if "roicat_left_out" in measured else ""
    many = measured.get("many")
    scale = (
        f"\n\n{many['sessions']} sessions of {many['cells_a_session']:.0f} cells: {short(many['seconds'])} s of "
        f"processor time and {short(many['peak_gb'])} GB; recall {many['recall']:.3f}, precision "
        f"{many['precision']:.3f}."
        if many
        else ""
    )
    heads = [
        "",
        "calibration error",
        "of the worst",
        "right at .95 or more",
        "strangers noticed",
        "others left",
        "CPU, s",
    ]
    return f"""\
## Followed cells

Recall / precision of pairs of cells that two sessions hold, means of {measured["studies"]} studies each, from seed
{measured["first"]}. `bench/following_studies.py` says what each kind is; every day is turned, shifted and, where it is
hard, warped by itself. A pair with something that is no cell counts as wrong. ROICaT runs without the networks whose
weights it downloads (`bench/peer_roicat.py`), on the first {measured["roicat_studies"]} of the studies. It then
finds shifts but no rotations, so its figures say little about it where days are rotated far.
Measured on {measured["made"]}.{missing}

{table(["", "followed", "`longitudinal_registration`", "ROICaT"], rows)}

How far its probabilities are from what is right (expected calibration error), whether sessions of another animal are
noticed, and how many of the others are left by themselves.

{table(heads, sure)}{scale}"""


def conditions(by_condition: dict[str, Any]) -> str:
    if not by_condition:
        return ""
    measures = ("f1", "precision", "recall", "event_f1", "cpu_s")
    rows = []
    for name, one in by_condition.items():
        its = one["methods"]["recipe"]
        values = [short(its[measure]) if measure in its and one["counted"] else "" for measure in measures]
        rows.append([name, str(one["counted"]), str(its["accepted"]), *values])
    head = ["", "true cells", "accepted", "F1", "precision", "recall", "F1 of events", "CPU, s"]
    return f"""\
**The recipe `cells`, given nothing, on recordings with one difficulty each**

They are of `bench/conditions.py`, which shares nothing with the others; those that begin with `no_` hold no cells.

{table(head, rows)}

"""


def summary(recordings: dict[str, Any]) -> dict[str, Any]:
    """Means over the recordings, and the open engine against the setting of inscopix-cnmfe that finds more on each."""
    every = [recording["methods"] for recording in recordings.values()]
    means: dict[str, dict[str, float]] = {}
    for method, measure in itertools.product(METHODS, MEASURES):
        values = [methods[method][measure] for methods in every if measure in methods.get(method, {})]
        if values and len(values) == len(every):
            means.setdefault(method, {})[measure] = rounded(sum(values) / len(values))
    pairs = []
    for methods in every:
        settings = [setting for name, setting in methods.items() if name.startswith("peer_")]
        if settings:
            pairs.append((methods["open"], max(settings, key=lambda setting: setting["f1"])))
    if not pairs:
        return {"means": means}
    compared = {
        "f1": [ours["f1"] - peer["f1"] for ours, peer in pairs],
        "r": [peer["open_r_of_both"] - peer["r_of_both"] for _, peer in pairs],
        "times_as_fast": [peer["cpu_s"] / ours["cpu_s"] for ours, peer in pairs],
    }
    spans = {name: {"least": rounded(min(all_)), "most": rounded(max(all_))} for name, all_ in compared.items()}
    return {"means": means, "against_peer": spans}


def against_the_peer(spans: dict[str, dict[str, float]] | None) -> str:
    if not spans:
        return ""
    f1, r = (f"{spans[name]['least']:+.3f} to {spans[name]['most']:+.3f}" for name in ("f1", "r"))
    fast = f"{short(spans['times_as_fast']['least'])} to {short(spans['times_as_fast']['most'])}"
    return (
        f"Against the better setting of inscopix-cnmfe on each recording, the open engine's F1 differs by {f1}, and\n"
        f"its r over the cells that both found by {r}; inscopix-cnmfe takes {fast} times the processor time.\n\n"
    )
