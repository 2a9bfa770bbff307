from __future__ import annotations

import csv
from pathlib import Path

import isx
import numpy as np
import pytest

from open_engine.alignment import IDENTITY, align, cut_footprints, rectangle_within, warped
from open_engine.files.cellsets import read_cell_set, write_cell_set
from open_engine.same_cells import match_cells
from open_engine.steps.longitudinal_registration import longitudinal_registration
from recording import formats
from recording.errors import Unusable
from samples import recordings

SHAPE = (90, 110)


def centres(n, seed, margin=14):
    """x, y of cells that do not overlap."""
    rng = np.random.default_rng(seed)
    apart = []
    while len(apart) < n:
        place = rng.uniform(margin, [SHAPE[1] - margin, SHAPE[0] - margin])
        if all(np.hypot(*(place - other)) > 9 for other in apart):
            apart.append(place)
    return np.array(apart)


def drawn(places, shape=SHAPE):
    y, x = np.mgrid[: shape[0], : shape[1]]
    return np.array([np.exp(-((x - a) ** 2 + (y - b) ** 2) / 12.5) for a, b in places], np.float32).reshape(-1, *shape)


def about_centre(angle, strain=((0, 0), (0, 0)), shift=(0, 0)):
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    matrix = np.array([[c, -s], [s, c]]) + np.array(strain)
    middle = np.array([SHAPE[1], SHAPE[0]]) / 2
    return np.column_stack([matrix, middle - matrix @ middle + np.array(shift)])


def moved(places, transform):
    return places @ transform[:, :2].T + transform[:, 2]


def write_session(folder, name, images, statuses=(), n=10):
    movie = recordings.movie(folder / f"m{name}.isxd", n, *images.shape[1:])
    path = folder / f"s{name}.isxd"
    write_cell_set(path, [formats.read_footer(movie)], images, np.full((len(images), n), 1.5), statuses=statuses)
    return str(path)


def outputs(folder, n):
    return [str(folder / f"out{i}.isxd") for i in range(n)]


def table(path):
    with Path(path).open(newline="") as file:
        return list(csv.reader(file))


@pytest.mark.parametrize(
    "truth",
    [
        about_centre(0, shift=(7.3, -4.6)),
        about_centre(6, shift=(-5, 3)),
        about_centre(-4, ((0.03, -0.01), (0.02, -0.02)), (4, 8)),
    ],
)
def test_a_known_transform_is_recovered(truth):
    common, mine, theirs = centres(20, 1), centres(26, 2)[20:], centres(26, 3)[20:]
    transform = align(cut_footprints(drawn([*common, *mine])), cut_footprints(drawn([*moved(common, truth), *theirs])))
    error = moved(common, transform) - moved(common, truth)
    assert np.sqrt((error**2).mean()) < 0.3


@pytest.mark.parametrize("n", [1, 2, 4])
def test_few_cells_determine_a_rigid_transform_only(n):
    truth = about_centre(3 if n > 3 else 0, shift=(2.4, -3.2))
    places = centres(n, 4)
    transform = align(cut_footprints(drawn(places)), cut_footprints(drawn(moved(places, truth))))
    assert np.abs(moved(places, transform) - moved(places, truth)).max() < 0.3
    assert transform[:, :2] @ transform[:, :2].T == pytest.approx(np.eye(2), abs=1e-9)


def test_sessions_that_did_not_move_stay_as_they_are_to_the_bit(tmp_path, context):
    images = drawn(centres(12, 5))
    images[0] -= 0.01
    files = [write_session(tmp_path, "a", images), write_session(tmp_path, "b", images)]
    outs = outputs(tmp_path, 2)
    longitudinal_registration(
        files, outs, csv_file=str(tmp_path / "m.csv"), transform_csv_file=str(tmp_path / "t.csv"), context=context
    )
    for out in outs:
        assert np.array_equal(read_cell_set(out).images, images)
    assert table(tmp_path / "t.csv") == [["1", "0", "0", "0", "1", "0"]] * 2
    assert table(tmp_path / "m.csv")[1:3] == [["0", "0", "0", "1"], ["0", "1", "0", "1"]]


def test_known_assignment_over_three_sessions(tmp_path, context):
    everyone = centres(24, 6, margin=20)
    truths = [IDENTITY, about_centre(3, shift=(5, -3)), about_centre(-5, shift=(-4, 6))]
    members = [np.r_[0:18], np.r_[4:22], np.r_[0:12, 18:24]]
    orders = [np.random.default_rng(i).permutation(those) for i, those in enumerate(members)]
    files = [
        write_session(tmp_path, i, drawn(moved(everyone[order], truth)))
        for i, (order, truth) in enumerate(zip(orders, truths))
    ]
    paths = {name: str(tmp_path / f"{name}.csv") for name in ("csv_file", "transform_csv_file", "crop_csv_file")}
    longitudinal_registration(files, outputs(tmp_path, 3), **paths, context=context)

    head, *rows = table(paths["csv_file"])
    assert head == ["global_cell_index", "local_cellset_index", "local_cell_index", "NCC"]
    groups: dict[str, set[int]] = {}
    for who, session, cell, ncc in rows:
        groups.setdefault(who, set()).add(int(orders[int(session)][int(cell)]))
        assert 0.5 <= float(ncc) <= 1.0001
    assert len(groups) == 24 and all(len(cells_of_one) == 1 for cells_of_one in groups.values())
    assert len(rows) == sum(map(len, members))
    for row, truth in zip(table(paths["transform_csv_file"]), truths):
        transform = np.array(row, float).reshape(2, 3)
        assert np.abs(moved(everyone, transform) - moved(everyone, truth)).max() < 0.3

    (crop,) = table(paths["crop_csv_file"])
    x, y, width, height = map(int, crop)
    for number, out in enumerate(outputs(tmp_path, 3)):
        by_isx, cells = isx.CellSet.read(out), read_cell_set(out)
        assert by_isx.spacing.num_pixels == (height, width)
        assert cells.footer["spacingInfo"]["topLeft"]["x"]["num"] == 3 * x
        assert (cells.traces == 1.5).all()
        expected = drawn(everyone[orders[number]])[:, y : y + height, x : x + width]
        assert np.abs(cells.images - expected).max() < 0.15
        assert cells.footer["SizeGlobalCS"] == 24
        in_table = {int(cell): int(who) for who, session, cell, _ in rows if int(session) == number}
        assert dict(enumerate(cells.footer["Matches"])) == in_table


def test_less_alike_than_asked_is_no_match():
    near = match_cells([drawn([[40, 40]]), drawn([[43, 40]])], [[0], [0]], 0.5)
    assert [match.known for match in near] == [0, 0]
    assert near[1].correlation == pytest.approx(np.exp(-9 / 25), abs=0.1)  # of uncut Gaussians
    apart = match_cells([drawn([[40, 40]]), drawn([[43, 40]])], [[0], [0]], 0.9)
    assert [match.known for match in apart] == [0, 1] and apart[1].correlation == 1
    none = match_cells([drawn([[40, 40]]), drawn([[80, 70]])], [[0], [0]], 0)
    assert [match.known for match in none] == [0, 1]


def test_only_chosen_cells_are_matched_but_all_are_kept(tmp_path, context):
    images = drawn(centres(3, 7))
    files = [write_session(tmp_path, i, images, ["accepted", "undecided", "rejected"]) for i in range(2)]
    for only, expected in ((False, {"0", "1"}), (True, {"0"})):
        longitudinal_registration(
            files,
            outputs(tmp_path, 2),
            csv_file=str(tmp_path / "m.csv"),
            accepted_cells_only=only,
            context=context,
        )
        assert {cell for _, _, cell, _ in table(tmp_path / "m.csv")[1:]} == expected
        assert read_cell_set(outputs(tmp_path, 2)[1]).n_cells == 3
        assert read_cell_set(outputs(tmp_path, 2)[1]).footer["Matches"][2] == -1


def test_movies_are_moved_and_cropped_like_their_cells(tmp_path, context):
    places = centres(12, 8)
    shift = about_centre(0, shift=(6, -5))
    sessions = [drawn(places), drawn(moved(places, shift))]
    files = [write_session(tmp_path, i, images) for i, images in enumerate(sessions)]
    data = [np.stack([images.sum(axis=0) * k for k in (1, 2, 3)]) for images in sessions]
    movies = [str(recordings.movie_from(tmp_path / f"f{i}.isxd", frames, dropped=[1])) for i, frames in enumerate(data)]
    outs = [str(tmp_path / f"o{i}.isxd") for i in range(2)]
    crop_file = str(tmp_path / "c.csv")
    longitudinal_registration(files, outputs(tmp_path, 2), movies, outs, crop_csv_file=crop_file, context=context)
    x, y, width, height = map(int, table(crop_file)[0])
    assert (x, y, width, height) == (0, 5, SHAPE[1] - 6, SHAPE[0] - 5)
    first, second = (isx.Movie.read(out) for out in outs)
    assert second.timing.dropped == [1] and second.spacing == first.spacing
    for frame in (0, 2, 3):
        # Float32 sums over cells round differently in the two fields.
        assert second.get_frame_data(frame) == pytest.approx(first.get_frame_data(frame), abs=1e-4)


@pytest.mark.parametrize("n", [0, 1])
def test_sessions_with_no_cell_or_one(tmp_path, context, warnings, n):
    files = [write_session(tmp_path, "a", drawn(centres(n, 1))), write_session(tmp_path, "b", drawn(centres(n, 1)))]
    longitudinal_registration(files, outputs(tmp_path, 2), csv_file=str(tmp_path / "m.csv"), context=context)
    assert len(table(tmp_path / "m.csv")) == 1 + 2 * n
    assert len(warnings) == (0 if n else 2)
    assert isx.CellSet.read(outputs(tmp_path, 2)[1]).num_cells == n


def test_fields_of_other_sizes_are_cropped_to_what_they_share(tmp_path, context):
    places = centres(12, 9)
    places = places[(places < [80, 70]).all(axis=1)]
    files = [write_session(tmp_path, "a", drawn(places)), write_session(tmp_path, "b", drawn(places, (80, 95)))]
    longitudinal_registration(files, outputs(tmp_path, 2), context=context)
    one, two = (read_cell_set(out) for out in outputs(tmp_path, 2))
    assert one.shape == two.shape == (80, 95)
    assert np.array_equal(one.images, two.images)


def test_a_movie_of_another_size_is_refused(tmp_path, context):
    files = [write_session(tmp_path, i, drawn(centres(3, 1))) for i in range(2)]
    movies = [str(recordings.movie(tmp_path / f"x{i}.isxd", 3, 20, 30)) for i in range(2)]
    message = r"frames of x0\.isxd have 30 x 20 px but the footprints in s0\.isxd 110 x 90 px"
    with pytest.raises(Unusable, match=message):
        longitudinal_registration(files, outputs(tmp_path, 2), movies, [], context=context)
    assert not Path(outputs(tmp_path, 2)[0]).exists()


def test_one_session_alone_is_refused(tmp_path, context):
    files = [write_session(tmp_path, "a", drawn(centres(3, 1)))]
    with pytest.raises(Unusable, match="there is only one cell set: give those of two sessions or more"):
        longitudinal_registration(files, outputs(tmp_path, 1), context=context)
    assert not Path(outputs(tmp_path, 1)[0]).exists()


def test_a_rectangle_within_a_mask():
    mask = np.ones((6, 8), bool)
    assert rectangle_within(mask) == (0, 0, 8, 6)
    mask[:2] = False
    mask[:, 7] = False
    assert rectangle_within(mask) == (0, 2, 7, 4)
    assert rectangle_within(np.zeros((3, 3), bool)) is None


def test_whole_pixels_need_no_interpolation():
    image = np.random.default_rng(0).normal(size=(20, 30))
    shifted = warped(image, np.array([[1, 0, 3], [0, 1, -2]]), (20, 30))
    assert np.array_equal(shifted[2:, :27], image[:-2, 3:])
    assert not shifted[:2].any() and not shifted[:, 27:].any()
