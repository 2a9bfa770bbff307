"""Which recordings make one session: a table of folders and of what the recordings in them state."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from recording.findings import Origin, RecordingInfo
from study.relations import Said, Study, relate

NOON = datetime(2024, 3, 30, 12, tzinfo=timezone.utc)
KINDS = {"gpio": "gpio", "imu": "imu", "isxb": "behavior_movie"}
UNKNOWN = datetime(1970, 1, 1, tzinfo=timezone.utc)
M1 = {"animal": "A-101", "microscope": "11094105", "session": "session of A-101"}
M2 = {"animal": "A-102", "microscope": "11094777", "session": "session of A-102"}
V = "2021-06-02-11-24-48_video"


def one(
    path: str, start: float | datetime | None = 0.0, seconds: float = 10, kind: str = "", period_s: float = 0.1, **more
) -> tuple[str, RecordingInfo]:
    """A recording of so many seconds that begins so many after noon; `more` are facts of its origin, and its width."""
    at = NOON + timedelta(seconds=start) if isinstance(start, (int, float)) else start
    kind = kind or KINDS.get(path.rpartition(".")[2], "movie")
    width = more.pop("width", 8) if kind not in KINDS.values() else 0
    origin = Origin(**more)
    n = round(seconds / period_s)
    return path, RecordingInfo(
        Path("/data") / path, kind, 1, 1, n_samples=n, start=at, period_s=period_s, width=width, height=width,
        origin=origin,
    )  # fmt: skip


def cells(path: str, start: float | datetime | None = 0.0, **more) -> tuple[str, RecordingInfo]:
    return one(path, start, kind="cell_set", **more)


def sessions(study: Study) -> list[str]:
    """As text: name: parts & further streams + companions < products."""
    texts = []
    for session in study.sessions:
        text = f"{session.name}: " + " & ".join(" ".join(stream) for stream in session.streams)
        text += f" + {' '.join(session.companions)}" if session.companions else ""
        texts.append(text + (f" < {' '.join(session.products)}" if session.products else ""))
    return texts


TABLE = {
    "alone": ([one("mouse.isxd")], ["mouse: mouse.isxd"]),
    # ---- contradictions are stronger than names
    "two animals, numbered, an hour apart": (
        [one("mouse1.isxd", **M1), one("mouse2.isxd", 3600, **M2)],
        ["mouse1: mouse1.isxd", "mouse2: mouse2.isxd"],
    ),
    "two animals, a minute apart": (
        [one("mouse1.isxd", animal="A"), one("mouse2.isxd", 60, animal="B")],
        ["mouse1: mouse1.isxd", "mouse2: mouse2.isxd"],
    ),
    "two animals whose names say part": (
        [one("m_part1.isxd", animal="A"), one("m_part2.isxd", 60, animal="B")],
        ["m_part1: m_part1.isxd", "m_part2: m_part2.isxd"],
    ),
    "two microscopes": (
        [one("m_part1.isxd", microscope="1"), one("m_part2.isxd", 60, microscope="2")],
        ["m_part1: m_part1.isxd", "m_part2: m_part2.isxd"],
    ),
    "two session names": (
        [one("m_part1.isxd", session="a"), one("m_part2.isxd", 60, session="b")],
        ["m_part1: m_part1.isxd", "m_part2: m_part2.isxd"],
    ),
    "two UUIDs": (
        [one("m_part1.isxd", uuid="a"), one("m_part2.isxd", 60, uuid="b")],
        ["m_part1: m_part1.isxd", "m_part2: m_part2.isxd"],
    ),
    "GPIO of another microscope": (
        [one("m.isxd", microscope="1"), one("m.gpio", microscope="2")],
        ["m: m.gpio", "m: m.isxd"],
    ),
    "only one states its animal": (
        [one("m_part1.isxd", animal="A"), one("m_part2.isxd", 60)],
        ["m: m_part1.isxd m_part2.isxd"],
    ),
    "a third animal behind one that states none": (
        [one("m_part1.isxd", animal="A"), one("m_part2.isxd", 60), one("m_part3.isxd", 120, animal="B")],
        ["m: m_part1.isxd m_part2.isxd", "m_part3: m_part3.isxd"],
    ),
    "the same in other letters": (
        [one("m_part1.isxd", animal="Mouse A"), one("m_part2.isxd", 60, animal="mouse a")],
        ["m: m_part1.isxd m_part2.isxd"],
    ),
    # ---- parts by their names
    "parts": (
        [one("m1_s1_video_part1.isxd"), one("m1_s1_video_part2.isxd", 40)],
        ["m1_s1_video: m1_s1_video_part1.isxd m1_s1_video_part2.isxd"],
    ),
    "parts without a word before": ([one("part1.isxd"), one("part2.isxd", 40)], ["part: part1.isxd part2.isxd"]),
    "the first part alone, with a GPIO of no number": (
        [one("m1_s1_video_part1.isxd"), one("m1_s1_video.gpio"), one("m1_s1_video-camera.isxb", 0.5)],
        ["m1_s1_video: m1_s1_video_part1.isxd + m1_s1_video-camera.isxb m1_s1_video.gpio"],
    ),
    "a part alone, with its own GPIO": (
        [one("m_part3.isxd"), one("m_part3.gpio"), one("m_part3-camera.isxb")],
        ["m_part3: m_part3.isxd + m_part3-camera.isxb m_part3.gpio"],
    ),
    "words after the number": (
        [one("m_part2_9x8.isxd", 20), one("m_part1_9x8.isxd"), one("m_part1_9x9.isxd", 40)],
        ["m_9x8: m_part1_9x8.isxd m_part2_9x8.isxd", "m_part1_9x9: m_part1_9x9.isxd"],
    ),
    "scheduled, an hour apart": (
        [one(f"{V}_sched_0.isxd"), one(f"{V}_sched_1.isxd", 3600), one(f"{V}_sched_2.isxd", 7200)],
        [f"{V}: {V}_sched_0.isxd {V}_sched_1.isxd {V}_sched_2.isxd"],
    ),
    "triggered, each with its GPIO": (
        [one(f"{V}_trig_{i}.{suffix}", 100 * i) for i in range(2) for suffix in ("isxd", "gpio")],
        [f"{V}: {V}_trig_0.isxd {V}_trig_1.isxd + {V}_trig_0.gpio {V}_trig_1.gpio"],
    ),
    "part ten after part nine": (
        [one("m_part10.isxd", 100), one("m_part9.isxd")],
        ["m: m_part9.isxd m_part10.isxd"],
    ),
    "numbered parts a week apart": (
        [one("m_part1.isxd"), one("m_part2.isxd", 7 * 86400)],
        ["m_part1: m_part1.isxd", "m_part2: m_part2.isxd"],
    ),
    "a bare number, a short gap": ([one("m1.isxd"), one("m2.isxd", 600)], ["m: m1.isxd m2.isxd"]),
    "a bare number, eleven minutes": ([one("m1.isxd"), one("m2.isxd", 670)], ["m1: m1.isxd", "m2: m2.isxd"]),
    "bare numbers that are no neighbours": ([one("m1.isxd"), one("m7.isxd", 60)], ["m1: m1.isxd", "m7: m7.isxd"]),
    "days a week apart": (
        [one(f"mouse_day{i}.isxd", i * 604800) for i in (1, 2)],
        ["mouse_day1: mouse_day1.isxd", "mouse_day2: mouse_day2.isxd"],
    ),
    "a time of day is no number": (
        [one("2024-03-30-12-00-00_video.isxd"), one("2024-03-30-12-00-59_video.isxd", 59)],
        [
            "2024-03-30-12-00-00_video: 2024-03-30-12-00-00_video.isxd",
            "2024-03-30-12-00-59_video: 2024-03-30-12-00-59_video.isxd",
        ],
    ),
    "other names": ([one("p1.isxd"), one("q2.isxd", 20)], ["p1: p1.isxd", "q2: q2.isxd"]),
    "parts that overlap": (
        [one("m_part1.isxd"), one("m_part2.isxd", 9)],
        ["m_part1: m_part1.isxd", "m_part2: m_part2.isxd"],
    ),
    "half a sample too early": ([one("m_part1.isxd"), one("m_part2.isxd", 9.96)], ["m: m_part1.isxd m_part2.isxd"]),
    "a clock that runs fast": (
        [one("m_part1.isxd", 0, 600), one("m_part2.isxd", 599.5, 600)],
        ["m: m_part1.isxd m_part2.isxd"],
    ),
    "another field": (
        [one("m_part1.isxd"), one("m_part2.isxd", 20, width=9)],
        ["m_part1: m_part1.isxd", "m_part2: m_part2.isxd"],
    ),
    "equal names in different folders": (
        [one("a/m_part1.isxd"), one("b/m_part2.isxd", 40), one("b/m_part1.gpio")],
        ["m_part1: a/m_part1.isxd", "m_part1: b/m_part1.gpio", "m_part2: b/m_part2.isxd"],
    ),
    "parts of cell sets": ([cells("c_part1.isxd"), cells("c_part2.isxd", 20)], ["c: c_part1.isxd c_part2.isxd"]),
    # ---- clocks
    "no start at all": (
        [one("m_part1.isxd", None), one("m_part2.isxd", None)],
        ["m_part1: m_part1.isxd", "m_part2: m_part2.isxd"],
    ),
    "one start is that of an unset clock": (
        [one("m_part1.isxd"), one("m_part2.isxd", UNKNOWN)],
        ["m_part1: m_part1.isxd", "m_part2: m_part2.isxd"],
    ),
    "cell sets of 1970 and 2017": (
        [cells("c.isxd", UNKNOWN), cells("c-ROI.isxd", datetime(2017, 11, 30, tzinfo=timezone.utc))],
        ["c-ROI: c-ROI.isxd", "c: c.isxd"],
    ),
    "a movie of 2024 and its GPIO without a start": (
        [one("m.isxd"), one("m.gpio", None)],
        ["m: m.gpio", "m: m.isxd"],
    ),
    "a clock that was set back": (
        [one("m_part1.isxd"), one("m_part2.isxd", -86400)],
        ["m_part1: m_part1.isxd", "m_part2: m_part2.isxd"],
    ),
    "across midnight": (
        [one("m_part1.isxd", 43195), one("m_part2.isxd", 43206), one("m.gpio", 43195, 30)],
        ["m: m_part1.isxd m_part2.isxd + m.gpio"],
    ),
    "across a change of daylight saving": (
        [
            one("m_part1.isxd", datetime(2024, 3, 31, 1, 59, 45, tzinfo=timezone(timedelta(hours=1)))),
            one("m_part2.isxd", datetime(2024, 3, 31, 3, 0, 5, tzinfo=timezone(timedelta(hours=2)))),
        ],
        ["m: m_part1.isxd m_part2.isxd"],
    ),
    "and back, with the same hour twice": (
        [
            one("m_part1.isxd", datetime(2024, 10, 27, 2, 59, 45, tzinfo=timezone(timedelta(hours=2)))),
            one("m_part2.isxd", datetime(2024, 10, 27, 2, 0, 5, tzinfo=timezone(timedelta(hours=1)))),
        ],
        ["m: m_part1.isxd m_part2.isxd"],
    ),
    # ---- facts are stronger than names
    "a UUID and useless names": (
        [one("a.isxd", uuid="U"), one("q.isxd", 30, uuid="U"), one("k.isxb", 1, uuid="U"), one("z.gpio", uuid="U")],
        ["a: a.isxd q.isxd + k.isxb z.gpio"],
    ),
    "a camera in a folder of its own": (
        [one("scope/a.isxd", uuid="U"), one("camera/k.isxb", 1, uuid="U")],
        ["a: scope/a.isxd + camera/k.isxb"],
    ),
    "a copy of everything": (
        [one(f"{folder}/{name}", uuid="U") for folder in ("x", "y") for name in ("a.isxd", "b.gpio")],
        ["a: x/a.isxd + x/b.gpio", "a: y/a.isxd + y/b.gpio"],
    ),
    "a camera whose clock is wrong, with a UUID": (
        [one("a.isxd", uuid="U"), one("k.isxb", 86400, uuid="U")],
        ["a: a.isxd + k.isxb"],
    ),
    "one session name and microscope": (
        [one("x.isxd", **M1), one("y.isxd", 40, **M1), one("w.gpio", 0, 50, **M1)],
        ["x: x.isxd y.isxd + w.gpio"],
    ),
    "one session name and box, of a camera": (
        [one("x.isxd", session="s", system="AC-1", microscope="1"), one("w.isxb", 1, session="s", system="AC-1")],
        ["x: x.isxd + w.isxb"],
    ),
    "a session name that was used again an hour later": (
        [one("x.isxd", session="s", microscope="1"), one("y.isxd", 3600, session="s", microscope="1")],
        ["x: x.isxd", "y: y.isxd"],
    ),
    "the same, of one animal": (
        [one("x.isxd", **M1), one("y.isxd", 3600, **M1)],
        ["x: x.isxd y.isxd"],
    ),
    # ---- companions
    "GPIO of all parts": (
        [one("m1_s1_video_part1.isxd"), one("m1_s1_video_part2.isxd", 40), one("m1_s1_video.gpio", 0, 60)],
        ["m1_s1_video: m1_s1_video_part1.isxd m1_s1_video_part2.isxd + m1_s1_video.gpio"],
    ),
    "Inscopix's names": (
        [one(f"{V}.isxd"), one(f"{V}.gpio"), one(f"{V}.imu"), one(f"{V}-video-camera-1.isxb", 0.5)],
        [f"{V}: {V}.isxd + {V}-video-camera-1.isxb {V}.gpio {V}.imu"],
    ),
    "parts with a companion each": (
        [one(f"m_part{i}.{suffix}", 40 * i) for i in (1, 2) for suffix in ("isxd", "gpio", "isxb")],
        ["m: m_part1.isxd m_part2.isxd + m_part1.gpio m_part1.isxb m_part2.gpio m_part2.isxb"],
    ),
    "GPIO of another time": ([one("m.isxd"), one("m.gpio", 7200)], ["m: m.gpio", "m: m.isxd"]),
    "two sessions, the time tells": (
        [one("m_a.isxd"), one("m_b.isxd", 3600), one("m.gpio", 3600)],
        ["m_a: m_a.isxd", "m_b: m_b.isxd + m.gpio"],
    ),
    "two sessions that it fits alike": (
        [one("cage_m1.isxd"), one("cage_m2.isxd"), one("cage.isxb")],
        ["cage: cage.isxb", "cage_m1: cage_m1.isxd", "cage_m2: cage_m2.isxd"],
    ),
    "two sessions, the longer name tells": (
        [one("m.isxd"), one("m_b.isxd", width=9), one("m_b.gpio")],
        ["m: m.isxd", "m_b: m_b.isxd + m_b.gpio"],
    ),
    "companions without a movie": (
        [one("m.gpio"), one("m.imu"), one("m.isxb", 1), one("n.gpio")],
        ["m: m.gpio + m.imu m.isxb", "n: n.gpio"],
    ),
    "names that only begin with the same letters": (
        [one("mouse.isxd"), one("mouse2.gpio")],
        ["mouse: mouse.isxd", "mouse2: mouse2.gpio"],
    ),
    # ---- products
    "what IDPS made": (
        [
            one(f"{V}.isxd"),
            one(f"{V}-PP_001-BP-MC.isxd"),
            cells(f"{V}-PP_001-BP-MC-DFF-PCA-ICA.isxd"),
            cells(f"{V}-PP_001-BP-MC-ROI_001.isxd"),
            one(f"{V}-pp-bp-mc-dff-pcaica-events.isxd", kind="event_set"),
        ],
        [
            f"{V}: {V}.isxd < {V}-PP_001-BP-MC-DFF-PCA-ICA.isxd {V}-PP_001-BP-MC-ROI_001.isxd "
            f"{V}-PP_001-BP-MC.isxd {V}-pp-bp-mc-dff-pcaica-events.isxd"
        ],
    ),
    "products of each part": (
        [one(f"m_part{i}{label}.isxd", 40 * i, is_made=bool(label)) for i in (1, 2) for label in ("", "-LCR")],
        ["m: m_part1.isxd m_part2.isxd < m_part1-LCR.isxd m_part2-LCR.isxd"],
    ),
    "products without their movie": (
        [one("m-PP.isxd", is_made=True), cells("m-PP-CNMFE.isxd"), one("m-PP-CNMFE-ED.isxd", kind="event_set")],
        ["m-PP: m-PP.isxd < m-PP-CNMFE-ED.isxd m-PP-CNMFE.isxd"],
    ),
    "a cell set of a useless name, by metadata": (
        [one("a.isxd", **M1), one("b.isxd", 0.0, width=9, **M2), cells("x.isxd", **M2)],
        ["a: a.isxd", "b: b.isxd < x.isxd"],
    ),
    "by start and length": (
        [one("a.isxd"), one("b.isxd", 100), cells("x.isxd", 100)],
        ["a: a.isxd", "b: b.isxd < x.isxd"],
    ),
    "an image by its name": ([one("a.isxd"), one("a-mean.isxd", UNKNOWN, kind="image")], ["a: a.isxd < a-mean.isxd"]),
    "a cell set of a later movie": ([one("a.isxd"), cells("a-ROI.isxd", 60)], ["a-ROI: a-ROI.isxd", "a: a.isxd"]),
    "a longer cell set that nothing says is of this movie": (
        [one("a.isxd"), cells("x.isxd", seconds=99)],
        ["a: a.isxd", "x: x.isxd"],
    ),
    "a cell set of another length, by its name": (
        [one("a.isxd"), cells("a-ROI.isxd", seconds=99)],
        ["a: a.isxd < a-ROI.isxd"],
    ),
    "a product that states another animal": (
        [one("a.isxd", animal="A"), cells("a-ROI.isxd", animal="B")],
        ["a-ROI: a-ROI.isxd", "a: a.isxd"],
    ),
    "a raw movie with a longer name": (
        [one("mouse.isxd"), one("mouse_left.isxd")],
        ["mouse: mouse.isxd", "mouse_left: mouse_left.isxd"],
    ),
    "colours of a movie that is here": (
        [one("x.isxd", n_colours=2), one("x-channel_green.isxd", colour="green"), one("x-channel_red.isxd")],
        ["x: x.isxd < x-channel_green.isxd x-channel_red.isxd"],
    ),
    "colours alone": (
        [one(f"x-{colour}.isxd", colour=colour, is_made=True) for colour in ("green", "red")] + [one("x.gpio")],
        ["x: x-green.isxd & x-red.isxd + x.gpio"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("recordings", "expected"), TABLE.values(), ids=TABLE)
def test_sessions(recordings, expected):
    study = relate(dict(recordings))
    assert sessions(study) == expected
    assert relate(dict(reversed(recordings))) == study, "the order of the recordings decides nothing"
    members = [path for session in study.sessions for path in session.members]
    assert sorted(members) == sorted(path for path, _ in recordings), "each is in one session"


def test_what_it_says_of_a_session():
    study = relate(
        dict([one("m_part1.isxd", **M1), one("m_part2.isxd", 40, **M1), one("m.gpio", 2), cells("m_part1-ROI.isxd")])
    )
    (session,) = study.sessions
    assert session.reasons == (
        "m_part2.isxd follows m_part1.isxd after 30 s: the same animal, session name and microscope",
        "m.gpio belongs to it: its name begins alike, and it begins 2 s later",
        "m_part1-ROI.isxd was made from m_part1.isxd: its name, start and length",
    )
    assert (session.animal, session.start) == ("A-101", NOON)
    assert study.made_from == {"m_part1-ROI.isxd": "m_part1.isxd"}


@pytest.mark.parametrize(
    ("recordings", "expected"),
    [
        (
            [one("mouse1.isxd", animal="A"), one("mouse2.isxd", 60, animal="B")],
            "mouse1.isxd and mouse2.isxd are kept apart: they state different animals (A and B)",
        ),
        (
            [one(f"d/mouse{i}.isxd", 3610 * i) for i in range(5)],
            "d/mouse0.isxd and mouse1.isxd (and 3 more of such names) are kept apart: "
            "they differ only by a number and are 60 min apart",
        ),
        (
            [one("m_part1.isxd"), one("m_part2.isxd", -86400)],
            "m_part2.isxd and m_part1.isxd are kept apart: they are numbered against the order in which they began",
        ),
        ([one("m.isxd"), one("m.gpio", 9999)], "m.isxd and m.gpio are kept apart: they are 3 h apart"),
        (
            [one("m.isxd"), one("m.gpio", None)],
            "m.isxd and m.gpio are kept apart: they do not both know when they began",
        ),
        (
            [one("a.isxd", animal="A"), cells("a-ROI.isxd", animal="B")],
            "a.isxd and a-ROI.isxd are kept apart: they state different animals (B and A)",
        ),
        (
            [one("cage_m1.isxd"), one("cage_m2.isxd"), one("cage.isxb")],
            "cage.isxb fits two sessions equally well, that of cage_m1.isxd and that of cage_m2.isxd: it is left by "
            "itself",
        ),
    ],
)  # fmt: skip
def test_a_near_miss_is_said_once_with_the_way_to_join(recordings, expected):
    assert relate(dict(recordings)).near_misses == (
        f"{expected}; to join them, list them under [[session]] in sessions.toml beside them",
    )


@pytest.mark.parametrize(
    ("recordings", "given", "expected"),
    [
        (
            [one("mouse1.isxd"), one("mouse2.isxd", 7200), one("mouse3.isxd", 9999), one("k.isxb", 3600)],
            [Said("", ("mouse1.isxd", "mouse2.isxd", "k.isxb"), "day1")],
            ["day1: mouse1.isxd mouse2.isxd + k.isxb", "mouse3: mouse3.isxd"],
        ),
        (
            [one("x/m1.isxd", animal="A"), one("x/m2.isxd", 7200, animal="B"), one("m1.isxd")],
            [Said("x", ("m?.isxd",))],
            ["m1: m1.isxd", "m: x/m1.isxd x/m2.isxd"],
        ),
        (
            [one("m_part1.isxd"), one("m_part2.isxd", 40)],
            [Said("", ("m_part2.isxd",))],
            ["m_part1: m_part1.isxd", "m_part2: m_part2.isxd"],
        ),
        (
            [one("m_part1.isxd", UNKNOWN), one("m_part2.isxd", UNKNOWN), one("m.gpio", None)],
            [Said("", ("m*",))],
            ["m: m_part1.isxd m_part2.isxd + m.gpio"],
        ),
        ([one("a.isxd")], [Said("", ("b.isxd",))], ["a: a.isxd"]),
    ],
    ids=["names", "patterns, against the facts", "apart", "no clock", "not there"],
)
def test_by_hand(recordings, given, expected):
    assert sessions(relate(dict(recordings), given)) == expected


@pytest.mark.parametrize(
    ("name", "apart"), [("mouse{i}.isxd", 0), ("d{j}/mouse{i}.isxd", 15), ("m_part{i}.isxd", 3600)]
)
def test_ten_thousand_recordings_take_no_time(name, apart):
    recordings = dict(one(name.format(i=i, j=i % 100), apart * i) for i in range(10_000))
    began = time.process_time()
    relate(recordings)
    assert time.process_time() - began < 10
