"""How many cells a projection image shows, for the number of independent components.

Method: scale-space blobs (Lindeberg, 1998, International Journal of Computer Vision 30:79). A disc of diameter d
answers most to the negative Laplacian of a Gaussian of sigma = d / (2 sqrt(2)), times sigma squared. Counted are the
maxima over place and scale whose diameter lies within the limits and whose answer exceeds the image's own spread at
that scale by 4 standard deviations (robust: 1.4826 median absolute deviations). IDPS's own rule is not public, so
counts differ.
"""

from __future__ import annotations

from open_engine.blobs import count_cells
from open_engine.context import StepContext
from open_engine.files.cellsets import as_list
from open_engine.files.frames import open_movie
from recording.errors import Unusable

REFERENCES = ("lindeberg1998",)


def estimate_num_ics(
    input_image_files: str | list[str],
    average_diameter: float | None = None,
    min_diameter: float | None = None,
    max_diameter: float | None = None,
    min_inter_dist: float = 0,
    *,
    context: StepContext,
) -> int | list[int]:
    """The number of cells in one image, or a list of them for several images.

    Parameters as in `isx.algo.estimate_num_ics`, in px. Diameters default to `average_diameter` / 3 and x 5 / 3.
    Raises Unusable if no diameter is given.
    """
    if not (min_diameter and max_diameter):
        if not average_diameter:
            raise Unusable("estimate_num_ics needs average_diameter, or both min_diameter and max_diameter")
        min_diameter, max_diameter = average_diameter / 3, average_diameter * 5 / 3
    counts = []
    for path in as_list(input_image_files):
        with open_movie(path) as image:
            counts.append(count_cells(image.read(0, 1)[0], min_diameter, max_diameter, min_inter_dist))
        context.progress(len(counts) / len(as_list(input_image_files)))
    return counts if len(counts) > 1 else counts[0]
