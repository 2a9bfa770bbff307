from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from recording.findings import RecordingInfo
from runner.discover import Recording
from runner.series import find_series, name_groups

START = datetime(2024, 3, 1, 12, tzinfo=timezone.utc)


def recording(name: str, start: float | None = 0.0, **facts: object) -> tuple[Recording, RecordingInfo]:
    """Ten seconds of it."""
    at = None if start is None else START + timedelta(seconds=start)
    facts = {"kind": "movie", "n_samples": 100, "period_s": 0.1, "width": 8, "height": 8, **facts}
    return Recording(name), RecordingInfo(Path(name), size=1, mtime_ns=1, start=at, **facts)


def series(*given: tuple[Recording, RecordingInfo]) -> list[list[str]]:
    infos = {one.relative: info for one, info in given}
    return [[part.relative for part in parts] for parts in find_series([one for one, _ in given], infos)]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param(
            [recording("p1.isxd", 20), recording("p2.isxd", 0)], [["p2.isxd", "p1.isxd"]], id="in order of start"
        ),
        pytest.param([recording("p1.isxd", 0), recording("p2.isxd", 9)], [], id="times overlap"),
        pytest.param([recording("p1.isxd", 0), recording("p2.isxd", 9.96)], [["p1.isxd", "p2.isxd"]], id="rounding"),
        pytest.param(
            [recording("p1.isxd", 0, n_samples=6000), recording("p2.isxd", 599.5, n_samples=6000)],
            [["p1.isxd", "p2.isxd"]],
            id="a clock that runs fast",
        ),
        pytest.param(
            [recording("p1.isxd", 0, n_samples=6000), recording("p2.isxd", 598)], [], id="more than a clock runs fast"
        ),
        pytest.param([recording("p1.isxd", 0), recording("p2.isxd", 20, width=9)], [], id="another size"),
        pytest.param([recording("p1.isxd", 0), recording("p2.isxd", 20, pixel_um=(1, 2))], [], id="another spacing"),
        pytest.param([recording("p1.isxd", 0), recording("p2.isxd", 20, kind="gpio")], [], id="another kind"),
        pytest.param([recording("x/p1.isxd", 0), recording("y/p2.isxd", 20)], [], id="another folder"),
        pytest.param([recording("p1.isxd", 0), recording("q2.isxd", 20)], [], id="another name"),
        pytest.param([recording("p1.isxd", 0), recording("p2.isxd", None)], [], id="no start"),
        pytest.param([recording("p.isxd", 0)], [], id="alone"),
        pytest.param(
            [recording("m_part2_9x8.isxd", 20), recording("m_part1_9x8.isxd", 0), recording("m_part1_9x9.isxd", 40)],
            [["m_part1_9x8.isxd", "m_part2_9x8.isxd"]],
            id="the number after part counts, not the last",
        ),
        pytest.param(
            [recording("p1.isxd", 0), recording("p2.isxd", 20), recording("p3.isxd", 40, width=9)],
            [["p1.isxd", "p2.isxd"]],
            id="those that fit",
        ),
    ],
)
def test_series(given, expected):
    assert series(*given) == expected


def test_name_groups_cover_everything_once():
    names = ["a1.isxd", "a2.isxd", "a2.gpio", "b.isxd", "x/a1.isxd", "a10.isxd"]
    groups = [[one.relative for one in group] for group in name_groups([Recording(name) for name in names])]
    assert groups == [["a1.isxd", "a2.isxd", "a10.isxd"], ["a2.gpio"], ["b.isxd"], ["x/a1.isxd"]]
