"""Single images."""

from __future__ import annotations

from pathlib import Path

import isx
import numpy as np

from pipeline.inspect import consistency, figures, metadata, optics, tiff
from pipeline.inspect.acquisition import acquisition
from pipeline.inspect.context import Context, Outcome
from pipeline.pages.content import Figure
from recording import formats


def write_results(recording: Path, stem: str, out: Path, context: Context) -> Outcome:
    image = isx.Image.read(str(recording))
    data, pixel_um = image.get_data(), optics.pixel_um(image.spacing, recording)
    consistency.frames(recording, formats.movie_layout(recording), context.warn)
    unit = "counts" if data.dtype != np.float32 else "au"
    tiff.write(out / f"{stem}.tif", data, pixel_um)
    thumbnail = figures.preview(out / f"{stem}-preview.png", data, pixel_um, f"Image [{unit}]")
    rows, columns = data.shape
    return Outcome(
        summary=f"image of {columns} × {rows} px",
        thumbnail=thumbnail,
        figures=(Figure(f"{stem}-preview.png", f"The image. The bar is a length {pixel_um.where}."),),
        metadata={
            **metadata.timing(image._impl.timing),  # isx.Image keeps its timing in its movie
            **metadata.spacing(image.spacing),
            **optics.tissue(pixel_um),
            "data_type": data.dtype.name,
            "unit": unit,
            **consistency.values("pixels", data, context.warn),
            "acquisition": acquisition(image._impl, recording, context.warn),
            "file_metadata": formats.read_footer(recording),
        },
    )
