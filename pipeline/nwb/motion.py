"""Translations of motion correction, which a recipe's step wrote as CSV."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from hdmf.backends.hdf5 import H5DataIO
from pynwb import TimeSeries

from pipeline.nwb.session import Opened, SessionFile

COLUMNS = ["translationX", "translationY"]  # as IDPS calls them


@dataclass(frozen=True)
class Translations:
    """One file of them, and the part of the session that they are of."""

    path: Path
    label: str
    part: int
    made_by: str


def add(session: SessionFile, translations: Translations, recordings: list[Opened]) -> None:
    """A TimeSeries of x and y, one row a frame; its clock is that of the part's latest movie of as many frames."""
    table = pd.read_csv(translations.path)
    movies = [each for each in recordings if each.kind == "movie" and each.source.part == translations.part]
    fitting = [movie for movie in movies if movie.timing.num_samples == len(table)]
    if not fitting or not set(COLUMNS) <= set(table):
        session.warn(f"{translations.path.name} is not in the NWB file: no movie of the session has as many frames")
        return
    movie = max(fitting, key=lambda each: each.source.is_product)
    series = TimeSeries(
        name=session.name("MotionTranslations", translations.label),
        description=f"Translation of each frame in {translations.path.name}: x, y; {translations.made_by}",
        data=H5DataIO(table[COLUMNS].to_numpy(np.float64), compression="gzip", shuffle=True),
        unit="pixels",
        starting_time=session.seconds(movie.start),
        rate=movie.rate,
    )
    session.ophys.add(series)
