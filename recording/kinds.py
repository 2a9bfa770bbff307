"""The kinds of recording and all that is known of a kind without opening a file: one row each, and the only table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

CELLS = 500  # assumed in a cell set if nothing tells


@dataclass(frozen=True)
class Shape:
    """How large a recording is."""

    samples: int
    pixels: int
    cells: int = CELLS


def _image_bytes(shape: Shape) -> int:
    return 4 * shape.pixels + (1 << 20)


def _movie_bytes(shape: Shape) -> int:
    """4 bytes a pixel, whatever the recording has: dF/F and most filters make float32."""
    return 4 * shape.samples * shape.pixels


def _cells_bytes(shape: Shape) -> int:
    return 4 * shape.cells * (shape.pixels + shape.samples)


@dataclass(frozen=True)
class Kind:
    """One kind of recording."""

    code: str  # in JSON, recipes, events and records
    name: str  # for people
    module: str  # of pipeline.inspect: makes its results
    results: tuple[str, ...]  # endings of its results' names, after the stem: "-mean.tif"
    isxd_type: int | None = None  # of `.isxd` files
    is_made: bool = False  # whether a step of a recipe can make it
    called: str = ""  # what the last one that a recipe makes is called, after the name of the session
    is_plain: bool = False  # whether results of such a one have that name alone: no plain kind has these endings too
    page: int = 1  # on a recipe's page: 1 always, a higher number only if it made nothing of a lower one
    is_joined: bool = False  # whether those of the same cells in each part of a session are one (`write_of_series`)
    names_parts: bool = False  # whether recordings with other names in them cannot be parts of one series
    made_of: tuple[str, ...] = ()  # kinds that it can be made of, the likeliest first
    is_beside: bool = False  # whether it is acquired beside a movie, and never made from another recording
    n_bytes: Callable[[Shape], int] = _image_bytes  # that one takes on disk

    @property
    def a(self) -> str:
        """The name with its article, such as "an event set"."""
        return f"{'an' if self.name[0] in 'aeioIu' else 'a'} {self.name}"


_ROWS = (
    Kind(
        "movie",
        "movie",
        "movie",
        (
            *("-frames.csv", "-mean.tif", "-std.tif", "-max.tif", "-min.tif", "-preview.png", "-intensity.png"),
            *("-movie.tif", "-movie.mp4"),
        ),
        isxd_type=0,
        is_made=True,
        called="movie",
        is_plain=True,
        page=3,
        made_of=("movie",),
        n_bytes=_movie_bytes,
    ),
    Kind(
        "image",
        "image",
        "image",
        (".tif", "-preview.png"),
        isxd_type=4,
        is_made=True,
        called="image",
        page=2,
        made_of=("movie", "cell_set", "vessel_set"),
    ),
    Kind(
        "cell_set",
        "cell set",
        "cellset",
        ("-traces.csv", "-cells.csv", "-footprints.tif", "-cellmap.png", "-traces.png"),
        isxd_type=1,
        is_made=True,
        called="cells",
        is_plain=True,
        is_joined=True,
        names_parts=True,
        made_of=("movie", "cell_set"),
        n_bytes=_cells_bytes,
    ),
    Kind(
        "event_set",
        "event set",
        "eventset",
        ("-events.csv", "-rates.csv", "-raster.png"),
        isxd_type=5,
        is_made=True,
        called="events",
        is_plain=True,
        is_joined=True,
        names_parts=True,
        made_of=("movie", "cell_set", "event_set"),
    ),
    Kind("gpio", "GPIO recording", "gpio", ("-gpio.csv", "-ttl.csv", ".png"), isxd_type=3, is_beside=True),
    Kind("imu", "IMU recording", "gpio", ("-imu.csv", ".png"), isxd_type=7, is_beside=True),
    Kind("behavior_movie", "behaviour movie", "behavior", ("-frames.csv", "-preview.png"), is_beside=True),
    Kind("nvision", "nVision movie", "behavior", ("-frames.csv", "-tracking.csv", "-preview.png"), is_beside=True),
    Kind(
        "vessel_set",
        "vessel set",
        "vessels",
        ("-vessels.csv", "-traces.csv", "-map.png"),
        isxd_type=8,
        is_made=True,
        called="vessels",
        names_parts=True,
        made_of=("movie", "vessel_set"),
        n_bytes=_cells_bytes,
    ),
)

SUFFIXES = (".isxd", ".isxb", ".gpio", ".imu")  # of recordings, each with a module in recording.formats
COMPRESSED = ".isxc"  # a movie as Inscopix compresses it, which no isx reads
PACKED = (".gz", ".bz2", ".xz", ".zst", ".zip", ".7z", ".rar", ".tar")
UNFINISHED = (".part", ".partial", ".filepart", ".crdownload", ".download", ".tmp")  # as programs that copy leave them
ALL_RESULTS = (".html", "-quality.csv", "-methods.md", "-citations.bib")  # of every kind


def why_left_out(name: str) -> str:
    """The reason, if a file of this name holds a recording but in a form that cannot be read; else ""."""
    lower = name.lower()
    if lower.endswith(COMPRESSED):
        return f"a compressed recording ({COMPRESSED}): decompress it with Inscopix's software, then run again"
    for ending in (*PACKED, *UNFINISHED):
        if lower.removesuffix(ending).endswith((*SUFFIXES, COMPRESSED)) and lower.endswith(ending):
            done = "a packed recording: unpack it" if ending in PACKED else "a recording that was not copied completely"
            return f"{done}, then run again"
    return ""


KINDS = {kind.code: kind for kind in _ROWS}
KIND_OF_TYPE = {kind.isxd_type: kind.code for kind in _ROWS if kind.isxd_type is not None}
MADE_KINDS = tuple(kind.code for kind in _ROWS if kind.is_made)
JOINED_KINDS = tuple(kind.code for kind in _ROWS if kind.is_joined)
BESIDE_KINDS = tuple(kind.code for kind in _ROWS if kind.is_beside)
