"""What the plots show, asked of Matplotlib before they become PNGs."""

from __future__ import annotations

from pathlib import Path

import isx
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from pipeline.inspect import figures
from pipeline.inspect.results import Context, write_results
from pipeline.pages.layout import PixelSize
from recording import formats
from samples import recordings

NAMES = ["$\\foo$", "$x_{", "50 % $"]  # formulas to Matplotlib, of which it cannot read the first two


@pytest.fixture
def drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Adapt a recording; returns its plots by the ending of their names."""
    saved: dict[str, Figure] = {}

    def adapted(path: Path) -> dict[str, Figure]:
        out = tmp_path / "out"
        out.mkdir()
        write_results(path, formats.check(path).kind, "s", out, Context(tmp_path))
        return saved

    save = figures.save

    def remember(figure: Figure, path: Path) -> bytes:
        saved[path.stem[2:]] = figure
        return save(figure, path)

    monkeypatch.setattr(figures, "save", remember)
    return adapted


def named_cells(path: Path) -> Path:
    written = isx.CellSet.write(str(path), recordings.timing(20), isx.Spacing((16, 16)))
    for i, name in enumerate(NAMES):
        footprint = np.zeros((16, 16), np.float32)
        footprint[4 * i : 4 * i + 4, 4:8] = 1
        written.set_cell_data(i, footprint, np.arange(20, dtype=np.float32) % 7, name)
    written.flush()
    return path


def named_events(path: Path) -> Path:
    written = isx.EventSet.write(str(path), recordings.timing(20), NAMES)
    for i in range(len(NAMES)):
        written.set_cell_data(i, np.array([0], np.uint64), np.ones(1, np.float32))
    written.flush()
    return path


def named_vessels(path: Path) -> Path:
    written = isx.VesselSet.write(str(path), recordings.timing(20), isx.Spacing((16, 16)), "vessel diameter")
    for i, name in enumerate(NAMES):
        line, trace = np.array([[2, 2], [9, 9]], np.int64), np.ones(20, np.float32)
        written.set_vessel_diameter_data(i, np.ones((16, 16), np.float32), line, trace, trace, name)
    written.flush()
    return path


@pytest.mark.parametrize("make", [named_cells, named_events, named_vessels])
def test_names_are_shown_as_they_are(drawn, tmp_path, make):
    plots = drawn(make(tmp_path / "r.isxd"))
    for figure in plots.values():
        axes = figure.axes[0]
        shown = {text.get_text() for text in (*axes.texts, *axes.get_yticklabels())}
        assert shown >= set(NAMES)


@pytest.mark.parametrize("make", [recordings.cell_set, recordings.event_set, recordings.vessel_set, recordings.imu])
def test_labels_fit(drawn, tmp_path, make):
    """Also into the low figures of few cells: within the picture, and none over another."""
    kind = make.__name__
    for figure in drawn(make(tmp_path / f"r{'.imu' if kind == 'imu' else '.isxd'}")).values():
        figure.draw_without_rendering()
        labels = [label for axes in figure.axes for label in (axes.xaxis.label, axes.yaxis.label) if label.get_text()]
        boxes = [label.get_window_extent() for label in labels]
        for i, (label, box) in enumerate(zip(labels, boxes)):
            assert figure.bbox.fully_containsx(box.x0) and figure.bbox.fully_containsx(box.x1), label
            assert figure.bbox.fully_containsy(box.y0) and figure.bbox.fully_containsy(box.y1), label
            assert not any(box.overlaps(other) for other in boxes[:i]), label


def test_every_peak_stays():
    """The very last one too, where the length is no multiple of a stretch; what is missing stays missing."""
    values = np.zeros(10_007)
    values[[0, 5000, 10_006]] = 1, -2, 3
    values[20:40] = np.nan
    time, thinned = figures.envelope(np.arange(10_007) / 10, values)
    assert len(time) == len(thinned) < 5000
    assert (thinned[0:2].max(), np.nanmin(thinned), thinned[-1]) == (1, -2, 3)
    assert time[np.isnan(thinned)].min() == 2 and time[np.isnan(thinned)].max() < 4
    assert figures.peaks(values[None], 1000)[0, -1] == 3


def test_numbers_of_16_bits_are_written_out(drawn, tmp_path, monkeypatch):
    (axes,) = drawn(recordings.gpio(tmp_path / "r.gpio"))[""].axes
    assert "0 to 60000" in {text.get_text() for text in axes.texts}
    captions = []
    monkeypatch.setattr(figures, "_framed", lambda picture, um, where, caption: captions.append(caption) or picture)
    figures.preview(tmp_path / "p.png", np.full((4, 4), 65535, np.uint16), PixelSize(1, 1), "Mean")
    assert captions == ["Mean, black 65535, white 65535"]


def test_a_frame_between_gaps_is_seen(drawn, tmp_path):
    drawn(recordings.movie(tmp_path / "r.isxd", n=5, dropped=[0, 1, 3, 4]))
    blue = tuple(bytes.fromhex(figures.BLUE[1:]))
    with Image.open(tmp_path / "out/s-intensity.png") as picture:
        assert blue in set(picture.convert("RGB").getdata())


@pytest.mark.parametrize("n_cells", [4, 61])
def test_names_on_a_map_are_large_enough_to_read(drawn, tmp_path, n_cells):
    figure = drawn(recordings.cell_set(tmp_path / "r.isxd", n_cells=n_cells, n=20))["cellmap"]
    heights = [text.get_fontsize() / 72 * figure.dpi for text in figure.axes[0].texts]
    assert len(heights) == n_cells and min(heights) > 9  # px
