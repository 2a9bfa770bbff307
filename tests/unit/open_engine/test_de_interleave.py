"""de_interleave against its definition."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from open_engine.context import StepContext
from open_engine.files import frames
from open_engine.steps.de_interleave import de_interleave
from recording.errors import Unusable
from samples import recordings


def test_planes_get_their_frames_in_turn(tmp_path: Path, context: StepContext) -> None:
    sources = [
        recordings.movie(tmp_path / "a.isxd", n=13, dropped=[3], cropped=[(4, 7)]),
        recordings.movie(tmp_path / "b.isxd", n=12, seed=1),
    ]
    targets = [tmp_path / f"{name}-{focus}.isxd" for name in "ab" for focus in (0, 500, 900)]
    de_interleave(sources, targets, [0, 500, 900], context=context)
    for source, made in zip(sources, (targets[:3], targets[3:])):
        with frames.open_movie(source) as whole:
            data = whole.read(0, whole.n_frames)
            for k, target in enumerate(made):
                with frames.open_movie(target) as plane:
                    np.testing.assert_array_equal(plane.read(0, plane.n_frames), data[k::3])
                    np.testing.assert_array_equal(plane.valid, whole.valid[k::3])
                    assert plane.timing.period == 3 * whole.timing.period
                    assert plane.timing.start == whole.timing.start + k * whole.timing.period
                    assert plane.extra["idps"]["efocus"] == (0, 500, 900)[k]
                    assert plane.dtype == np.uint16
    with frames.open_movie(targets[0]) as plane:
        assert plane.timing.dropped == (1,)
        assert plane.timing.cropped == ((2, 2),)


def test_too_few_frames(tmp_path: Path, context: StepContext) -> None:
    source = recordings.movie(tmp_path / "a.isxd", n=2)
    with pytest.raises(Unusable, match="has 2 frames, too few for 3 planes"):
        de_interleave([source], [tmp_path / f"{i}.isxd" for i in range(3)], [1, 2, 3], context=context)
