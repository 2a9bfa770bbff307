"""How much footprints of two cell sets overlap, and which cells belong together.

Binary footprints: Jaccard index, the number of pixels in both by that of pixels in either. Analog ones: normalised
cross-correlation, the sum of their product by the root of the product of their sums of squares (0: nothing in common,
1: the same up to a factor). Pairs with an empty footprint have 0.
"""

from __future__ import annotations

import numpy as np
import scipy

from open_engine.files.cellsets import CellSet
from recording.errors import Unusable


def cross_correlations(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Cosine of each pair of footprints, (cells, rows, columns) and (others, rows, columns); shape (cells, others)."""
    a, b = (scipy.sparse.csr_array(_flat(footprints)) for footprints in (first, second))
    lengths = [np.sqrt(np.asarray((rows * rows).sum(axis=1)).ravel()) for rows in (a, b)]
    return _ratio(np.asarray((a @ b.T).todense()), np.outer(*lengths))


def jaccard_indices(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Jaccard index of each pair of binary footprints; shape (cells, others)."""
    a, b = (scipy.sparse.csr_array((_flat(footprints) > 0).astype(np.float64)) for footprints in (first, second))
    both = np.asarray((a @ b.T).todense())
    sizes = [np.asarray(rows.sum(axis=1)).ravel() for rows in (a, b)]
    return _ratio(both, np.add.outer(*sizes) - both)


def overlaps(first: CellSet, second: CellSet) -> tuple[str, np.ndarray]:
    """The measure that suits the two cell sets ("jaccard_index" or "ncc"), and its value for each pair.

    Raises Unusable if there are no cells, the fields differ in size, or one set is binary and the other is not.
    """
    for cells in (first, second):
        if not cells.n_cells:
            raise Unusable(f"there are no cells to compare in {cells.parts[0].path.name}: check the cells' statuses")
    names = first.parts[0].path.name, second.parts[0].path.name
    if first.shape != second.shape:
        (h, w), (rows, columns) = first.shape, second.shape
        raise Unusable(
            f"the footprints in {names[0]} have {w} x {h} px but those in {names[1]} {columns} x {rows} px: "
            "crop_cell_set or transform_cell_set can bring them to one size"
        )
    if first.kind != second.kind:
        raise Unusable(
            f"the footprints in {names[0]} are {first.kind} but those in {names[1]} {second.kind}: "
            "make both binary with binarize_cell_set"
        )
    if first.kind == "binary":
        return "jaccard_index", jaccard_indices(first.images, second.images)
    return "ncc", cross_correlations(first.images, second.images)


def best_pairs(scores: np.ndarray, least: float) -> list[tuple[int, int]]:
    """The assignment, each cell to at most one other, whose scores have the greatest sum.

    Only scores of `least` or more count, and none of 0.
    """
    allowed = (scores >= least) & (scores > 0)
    rows, columns = scipy.optimize.linear_sum_assignment(np.where(allowed, scores, 0), maximize=True)
    return [(int(i), int(j)) for i, j in zip(rows, columns) if allowed[i, j]]


def _flat(footprints: np.ndarray) -> np.ndarray:
    footprints = np.nan_to_num(np.asarray(footprints, np.float64), nan=0, posinf=0, neginf=0)
    return footprints.reshape(len(footprints), footprints.shape[1] * footprints.shape[2])


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)
