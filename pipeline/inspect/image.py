"""Single images."""

from __future__ import annotations

from pathlib import Path

import isx
import numpy as np

from pipeline.inspect import consistency, figures, metadata, optics, tiff
from pipeline.inspect.context import Context, Outcome
from pipeline.inspect.opened import OpenRecording
from pipeline.pages.content import Figure

READ = isx.Image.read


def write_results(recording: OpenRecording, stem: str, out: Path, context: Context) -> Outcome:
    image = recording.handle
    data, pixel_um = image.get_data(), optics.pixel_um(recording)
    consistency.frames(recording, context.warn)
    unit = "counts" if data.dtype != np.float32 else "au"
    tiff.write(out / f"{stem}.tif", data, pixel_um)
    thumbnail = figures.preview(out / f"{stem}-preview.png", data, pixel_um, f"Image [{unit}]")
    rows, columns = data.shape
    return Outcome(
        summary=f"image of {columns} × {rows} px",
        thumbnail=thumbnail,
        figures=(Figure(f"{stem}-preview.png", f"The image. The bar is a length {pixel_um.where}."),),
        metadata={
            **metadata.timing(recording.timing),
            **metadata.spacing(image.spacing),
            **optics.tissue(pixel_um),
            "data_type": data.dtype.name,
            "unit": unit,
            **consistency.values("pixels", data, context.warn),
            "acquisition": recording.acquisition(context.warn),
            "file_metadata": recording.footer,
        },
    )
