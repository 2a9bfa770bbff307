from __future__ import annotations
import numpy as np
from dataclasses import replace
from pipeline.engines.open import background, gate, oasis, seeds, updates
from pipeline.engines.open.cells import Cells, join, none

ROUNDS = 3

def prepare(movie, diameter, decay, bin_size=2, ring=1.4):
    """movie (rows, columns, frames) float32, changed in place."""
    movie -= movie.mean(axis=2, keepdims=True)
    noise = np.concatenate([oasis.noise_level(row) for row in movie[:, None]]).astype(np.float32)
    noise = np.where(noise > 0, noise, np.inf).astype(np.float32)
    movie /= noise[:, :, None]
    size = max(1, min(bin_size, int(diameter // 4)))
    bins = background.grid(movie.shape[:2], size, ring / 1.4 * diameter)
    binned = background.down(bins, movie)
    patch = updates.Patch(movie, bins, binned, np.ones(movie.shape[:2], np.float32), decay)
    return updates.with_gain(patch, none(movie.shape[:2], 1, movie.shape[2])), noise

def disc(side, radius):
    at = np.arange(side) - side // 2
    return np.hypot(at[:, None], at) <= radius

def find_cells(patch, diameter, merge=0.85, rounds=ROUNDS, radius=1.4, log=None, clean=True, final=True):
    side = 2 * int(np.ceil(radius * diameter)) + 1
    support = disc(side, radius * diameter)
    cells = none(patch.shape, side, patch.movie.shape[2])
    raw = None
    for k in range(rounds):
        shown = cells if raw is None else replace(cells, traces=raw)
        fresh = seeds.new_cells(patch, shown, diameter, side)
        if log: log(f"round {k}: {len(fresh)} new")
        if not len(fresh):
            break
        cells = join(cells, fresh)
        for it in range(2):
            cells, raw, noise = updates.update_traces(patch, cells)
            cells = alive(cells, noise)
            cells = updates.update_footprints(patch, cells, support)
            if clean: cells = updates.cleaned(cells, noise)
            cells = updates.recentred(cells, diameter / 2)
            cells = alive(cells, noise)
            cells = gate.merged(cells, merge)
        patch = updates.with_gain(patch, cells)
        cells, raw, noise = updates.update_traces(patch, cells)
        if log: log(f"round {k}: {len(cells)} cells")
    if final:
        cells = alive(updates.cleaned(cells, noise), noise)
        cells, raw, noise = updates.update_traces(patch, cells)
    return patch, cells, raw, noise

def alive(cells, noise):
    return cells.take(np.flatnonzero(cells.crops.any(axis=(1, 2)) & cells.traces.any(axis=1)))
