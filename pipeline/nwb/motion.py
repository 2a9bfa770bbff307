"""Motion correction: translations, which a recipe's step wrote as CSV, and the movie that they corrected."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from hdmf.backends.hdf5 import H5DataIO
from pynwb import TimeSeries
from pynwb.image import ImageSeries
from pynwb.ophys import CorrectedImageStack, MotionCorrection

from pipeline.nwb.session import Opened, SessionFile

COLUMNS = ["translationX", "translationY"]  # as IDPS calls them


@dataclass(frozen=True)
class Translations:
    """One file of them, and the movie that the same step made."""

    path: Path
    label: str
    movie: str  # what the movie's name adds to the recording's
    part: int
    made_by: str

    @cached_property
    def table(self) -> pd.DataFrame:
        return pd.read_csv(self.path)

    def fits(self, n_samples: int) -> bool:
        return len(self.table) == n_samples and set(COLUMNS) <= set(self.table)

    def series(self, session: SessionFile, movie: Opened, name: str) -> TimeSeries:
        """x and y, one row a frame, on the movie's clock."""
        return TimeSeries(
            name=name,
            description=f"Translation of each frame in {self.path.name}: x, y, px of that movie; {self.made_by}",
            data=H5DataIO(self.table[COLUMNS].to_numpy(np.float64), compression="gzip", shuffle=True),
            unit="pixels",
            starting_time=session.seconds(movie.start),
            rate=movie.rate,
        )


@dataclass(frozen=True)
class Stack:
    """A corrected movie with its translations and the recorded movie, where the file has all three."""

    name: str
    translations: Translations
    movie: Opened
    original: ImageSeries

    def add(self, session: SessionFile, corrected: ImageSeries) -> str:
        """Returns the place of `corrected` in the file."""
        if "MotionCorrection" not in session.ophys.data_interfaces:
            session.ophys.add(MotionCorrection(name="MotionCorrection"))
        shifts = self.translations.series(session, self.movie, "xy_translation")
        stack = CorrectedImageStack(name=self.name, corrected=corrected, original=self.original, xy_translation=shifts)
        session.ophys["MotionCorrection"].add_corrected_image_stack(stack)
        return f"processing/ophys/MotionCorrection/{self.name}/{corrected.name}"


def stack_of(session: SessionFile, movie: Opened, n_samples: int) -> Stack | None:
    """None if the movie was not made by a step that wrote translations, or the recorded movie is not in the file."""
    part, label = movie.source.part, movie.source.series
    original = session.originals.get(part)
    if original is None or not movie.source.is_product:
        return None
    same = [one for one in session.translations if (one.part, one.movie) == (part, label) and one.fits(n_samples)]
    if not same:
        return None
    session.translations.remove(same[0])
    return Stack(session.name("CorrectedImageStack", movie.source.label), same[0], movie, original)


def add(session: SessionFile, translations: Translations, recordings: list[Opened]) -> None:
    """A TimeSeries by itself; its clock is that of the part's latest movie of as many frames."""
    movies = [one for one in recordings if one.kind == "movie" and one.source.part == translations.part]
    fitting = [movie for movie in movies if translations.fits(movie.timing.num_samples)]
    if not fitting:
        session.warn(f"{translations.path.name} is not in the NWB file: no movie of the session has as many frames")
        return
    movie = max(fitting, key=lambda one: one.source.is_product)
    name = session.name("MotionTranslations", translations.label)
    session.ophys.add(translations.series(session, movie, name))
