"""Pictures: previews drawn with Pillow, which starts at once, and plots with Matplotlib, if a kind needs them.

Colours: Okabe and Ito's palette and the maps viridis and cividis, which colour-blind readers can tell apart.
"""

from __future__ import annotations

import importlib.util
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pipeline.pages.layout import PixelSize, nice_length

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, VERMILION, PURPLE = "#F0E442", "#0072B2", "#D55E00", "#CC79A7"
STATUS_COLOUR = {"accepted": GREEN, "undecided": ORANGE, "rejected": PURPLE}
INVALID_COLOUR = {"dropped": VERMILION, "cropped": SKY, "blank": YELLOW}


THUMBNAIL = 240  # px, largest width
SHOWN = (512, 1600)  # px, least and largest size of a preview


# ---- previews


def preview(path: Path, image: np.ndarray, pixel_um: PixelSize, caption: str, track: np.ndarray | None = None) -> bytes:
    """Draw a grey-scale image (rows, columns) with scale bar and caption; return its thumbnail as PNG.

    The grey values span the 0.5th to the 99.5th percentile; the caption says which these are. `track` (n, 2) holds x
    and y in px of a line to draw over it. Where pixels are not square, the picture is stretched so that lengths are.
    """
    picture, low, high = grey(image)
    zoom = _zoom(picture.size)
    aspect = pixel_um[1] / pixel_um[0] if min(pixel_um) > 0 and 0.1 < pixel_um[1] / pixel_um[0] < 10 else 1.0
    size = max(1, round(picture.width * zoom)), max(1, round(picture.height * zoom * aspect))
    shown = picture.resize(size, Image.Resampling.NEAREST if zoom >= 1 else Image.Resampling.BOX).convert("RGB")
    if track is not None and len(track) > 1:
        ImageDraw.Draw(shown).line([(zoom * x, zoom * y) for x, y in track], fill=ORANGE, width=2)
    _framed(shown, pixel_um[0] / zoom, pixel_um.where, f"{caption}, black {low:.5g}, white {high:.5g}").save(path)
    return thumbnail(picture if track is None else shown)


def grey(image: np.ndarray) -> tuple[Image.Image, float, float]:
    """The image in 8 bits, and the values that became black and white."""
    finite = image[np.isfinite(image)]
    low, high = (float(v) for v in np.percentile(finite, (0.5, 99.5))) if finite.size else (0.0, 0.0)
    if high <= low and finite.size:
        low, high = float(finite.min()), float(finite.max())
    span = high - low if high > low else 1.0
    scaled = np.clip((np.nan_to_num(image.astype(np.float32), nan=low) - low) * (255 / span), 0, 255)
    return Image.fromarray(scaled.astype(np.uint8)), low, high


def thumbnail(picture: Image.Image) -> bytes:
    """A small PNG of at most 240 px in width and height."""
    small = picture.copy()
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    if small.mode not in ("L", "P"):
        small = small.convert("RGB").quantize(64)
    data = io.BytesIO()
    small.save(data, "PNG", optimize=True)
    return data.getvalue()


def _zoom(size: tuple[int, int]) -> float:
    """Whole enlargement of small images, so that pixels stay square; reduction of large ones."""
    longest = max(size)
    if longest > SHOWN[1]:
        return SHOWN[1] / longest
    return max(1, SHOWN[0] // longest)


def _framed(picture: Image.Image, um_per_px: float, where: str, caption: str) -> Image.Image:
    """The picture over a strip with scale bar and caption, so that neither hides data."""
    font = _font()
    strip = 44
    width = max(picture.width, round(font.getlength(caption)) + 16)
    framed = Image.new("RGB", (width, picture.height + strip), "white")
    framed.paste(picture, (0, 0))
    draw = ImageDraw.Draw(framed)
    y = picture.height
    if um_per_px > 0:
        um = nice_length(picture.width * um_per_px / 4)
        bar = round(um / um_per_px)
        draw.rectangle((8, y + 9, 8 + bar, y + 12), fill="black")
        draw.text((16 + bar, y + 10), f"{um:g} µm {where}", fill="black", font=font, anchor="lm")
    draw.text((8, y + 32), caption, fill="black", font=font, anchor="lm")
    return framed


def _font() -> ImageFont.ImageFont:
    """Matplotlib's own font, found without importing Matplotlib; Pillow's has no µ."""
    spec = importlib.util.find_spec("matplotlib")
    folder = Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else Path()
    try:
        return ImageFont.truetype(str(folder / "mpl-data/fonts/ttf/DejaVuSans.ttf"), 13)
    except OSError:
        return ImageFont.load_default(13)


# ---- plots


def start_matplotlib(scratch: Path) -> None:
    """Point Matplotlib at a private, writable folder, and at the font list of the image if it has one.

    Without the list each worker would look for fonts again. Matplotlib would write it by the real path of its folder,
    where others may have put a link meanwhile. It looks but once: in a worker that was forked, that is done.
    """
    if "matplotlib.font_manager" in sys.modules:
        return
    folder = scratch / "matplotlib"
    folder.mkdir(parents=True, exist_ok=True)
    os.environ["MPLCONFIGDIR"] = str(folder)
    baked = os.environ.get("ISX_MPLCACHE")
    if baked and Path(baked).is_dir():
        import matplotlib

        matplotlib.get_cachedir = lambda: baked


def warm_up(scratch: Path) -> None:
    """Import and prepare what every figure needs, in a process that forks others."""
    start_matplotlib(scratch)
    drawn, axes = figure(1, 1)
    axes.plot([0, 1], label="0")
    axes.set_xlabel("time (s)")
    save(drawn, scratch / "warm-up.png")


def figure(width: float, height: float, rows: int = 1, **options: Any) -> tuple[Figure, Any]:
    """A figure of so many inches, with its axes one above the other."""
    from matplotlib import rcParams
    from matplotlib.figure import Figure

    rcParams.update({"axes.spines.top": False, "axes.spines.right": False, "font.size": 9, "path.simplify": True})
    rcParams["text.parse_math"] = False  # names of cells and channels may hold a $
    drawn = Figure(figsize=(width, height), layout="constrained")
    return drawn, drawn.subplots(rows, 1, **options)


def grid(width: float, height: float, rows: int, columns: int, **options: Any) -> tuple[Figure, Any]:
    """A figure of so many inches, and the grid in which its axes are to be placed."""
    drawn, axes = figure(width, height)
    axes.remove()
    return drawn, drawn.add_gridspec(rows, columns, **options)


def save_svg(drawn: Figure, path: Path) -> None:
    """Write as SVG, text as text: the same bytes each time."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    with rc_context({"svg.fonttype": "none", "svg.hashsalt": path.name}):
        FigureCanvasSVG(drawn).print_svg(path, metadata={"Date": None, "Creator": None})


def save(drawn: Figure, path: Path) -> bytes:
    """Write as PNG; return its thumbnail."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(drawn).print_png(path, metadata={"Software": None})
    with Image.open(path) as picture:
        return thumbnail(picture.convert("RGB"))


def envelope(time: np.ndarray, values: np.ndarray, most: int = 4000) -> tuple[np.ndarray, np.ndarray]:
    """A long trace, thinned so that every peak stays: least and greatest value of each stretch."""
    if len(values) <= most:
        return time, values
    starts = np.arange(0, len(values), len(values) // (most // 2))
    pairs = np.column_stack([np.fmin.reduceat(values, starts), np.fmax.reduceat(values, starts)])
    return np.repeat(time[starts], 2), pairs.ravel()


def peaks(traces: np.ndarray, most: int) -> np.ndarray:
    """Traces, shape (n, samples), thinned to about `most` columns so that every peak stays."""
    return np.fmax.reduceat(traces, np.arange(0, traces.shape[1], max(1, traces.shape[1] // most)), axis=1)


def mark_invalid(axes: Axes, status: np.ndarray, period_s: float) -> None:
    """Shade the samples that were dropped, cropped or blank."""
    for name, colour in INVALID_COLOUR.items():
        runs = _runs(status == name)
        for i, (first, last) in enumerate(runs):
            begin, end, label = first * period_s, (last + 1) * period_s, name if i == 0 else None
            axes.axvspan(begin, end, color=colour, alpha=0.5, linewidth=0, label=label)


def _runs(mask: np.ndarray, most: int = 2000) -> list[tuple[int, int]]:
    """First and last index of each run of true values; near runs are joined if there are too many to draw."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    firsts, lasts = edges[::2], edges[1::2] - 1
    step = max(1, len(firsts) // most)
    return list(zip(firsts[::step].tolist(), lasts[step - 1 :: step].tolist() + lasts[-1:].tolist()))


def field_of_view(image: np.ndarray, pixel_um: PixelSize, **shown: Any) -> tuple[Figure, Any]:
    """A map in µm over an image (rows, columns); `shown` is for Matplotlib's imshow."""
    across, down = pixel_um
    rows, columns = image.shape
    drawn, axes = figure(7, 1 + 6 * min(2.0, rows * down / (columns * across)))
    extent = (-across / 2, (columns - 0.5) * across, (rows - 0.5) * down, -down / 2)
    axes.imshow(image, extent=extent, interpolation="nearest", **shown)
    axes.set(xlabel=f"x [µm {pixel_um.where}]", ylabel=f"y [µm {pixel_um.where}]")
    return drawn, axes


def name_statuses(axes: Axes, statuses: Sequence[str], counted: bool = True, **place: Any) -> None:
    """Over the axes, the colour of each status that occurs, and how often it does."""
    for status, colour in STATUS_COLOUR.items():
        if n := statuses.count(status):
            axes.plot([], [], color=colour, label=f"{status} ({n})" if counted else status)
    axes.legend(**{"loc": "lower center", "bbox_to_anchor": (0.5, 1.0), **place}, ncols=3, frameon=False)


def legend_outside(axes: Axes, **options: Any) -> None:
    if axes.get_legend_handles_labels()[1]:
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, borderaxespad=0, **options)


def lines(axes: Axes, points: Sequence[np.ndarray], colour: str, width: float) -> None:
    """Many lines of one colour, (points, 2) each, at once: that takes a fraction of the time."""
    from matplotlib.collections import LineCollection

    if len(points):
        axes.add_collection(LineCollection(points, colors=colour, linewidths=width), autolim=False)


def halo() -> list[Any]:
    """An outline that makes text readable on any ground."""
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=2, foreground="white")]


def stacked(axes: Axes, time: np.ndarray, traces: Sequence[np.ndarray], colours: Sequence[str]) -> np.ndarray:
    """Draw traces one above the other, the first on top, all to one scale; return where the median of each lies.

    Each gets the room that it needs, so that none runs into another.
    """
    spans = np.array([_span(trace) for trace in traces])  # median, depth below it, height above it
    gap = 0.08 * float(np.median(spans[:, 1] + spans[:, 2])) or 1.0
    rooms = np.maximum(spans[:-1, 1] + spans[1:, 2] + gap, 4 * gap)  # between a trace and the next one
    places = -np.concatenate([[0.0], np.cumsum(rooms)])
    for trace, colour, place, (middle, *_) in zip(traces, colours, places, spans):
        axes.plot(*envelope(time, trace - middle + place), color=colour, linewidth=0.6)
    axes.set_ylim(places[-1] - spans[-1, 1] - 2 * gap, spans[0, 2] + 2 * gap)
    return places


def _span(trace: np.ndarray) -> tuple[float, float, float]:
    finite = trace[np.isfinite(trace)]
    if not finite.size:
        return 0.0, 0.0, 0.0
    middle = float(np.median(finite))
    return middle, middle - float(finite.min()), float(finite.max()) - middle


def scale_bar(axes: Axes, unit: str) -> None:
    """A vertical bar at the right, of a round length, with its label."""
    low, high = axes.get_ylim()
    length = nice_length((high - low) / 6)
    across = axes.get_yaxis_transform()
    axes.plot([1.015] * 2, [low, low + length], color=BLACK, linewidth=1.5, transform=across, clip_on=False)
    axes.text(1.025, low + length / 2, f"{length:g} {unit}", transform=across, va="center", fontsize=8)
