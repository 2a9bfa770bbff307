"""deploy/slurm/submit.py: which shards, which commands, what is refused. The cluster tests run it for real."""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "deploy/slurm"))

import submit

from runner import own
from tests.trees import sentinel

NEW, OLD = 2_000_000_000, 1_000_000_000


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def places(tmp_path) -> list[str]:
    """image, input, output."""
    (tmp_path / "isx.sif").touch()
    for folder in ("input", "output"):
        (tmp_path / folder).mkdir()
    (tmp_path / "input/a.isxd").touch()
    return [str(tmp_path / name) for name in ("isx.sif", "input", "output")]


def finish(output: str, *shards: str) -> None:
    """Sentinels that are newer than the input, whose time of change is now."""
    for shard in shards:
        file = Path(output, f"done.marker.{shard}")
        file.write_text(sentinel(shard.replace("-of-", "/")))
        os.utime(file, (NEW, NEW))


def commands(capsys) -> list[list[str]]:
    return [shlex.split(line) for line in capsys.readouterr().out.splitlines() if line.startswith("sbatch")]


@pytest.mark.parametrize(
    "indices, text",
    [([], ""), ([3], "3"), ([1, 2, 3], "1-3"), ([1, 3, 4, 7], "1,3-4,7"), (list(range(1, 1001)), "1-1000")],
)
def test_ranges(indices, text):
    assert submit.ranges(indices) == text


def test_what_is_submitted(places, capsys):
    options = ["--shards", "8", "--memory", "8G", "--time", "4:00:00", "--at-once", "2", "--sbatch=--partition=long"]
    assert submit.main([*places, *options, "--dry-run", "--", "--recipe", "standard"]) == 0
    array, gather = commands(capsys)
    assert {"--array=1-8%2", "--mem=8G", "--time=4:00:00", "--partition=long", "--cpus-per-task=1"} <= set(array)
    assert {"--dependency=afterok:ARRAY", "--kill-on-invalid-dep=yes", "--partition=long"} <= set(gather)
    for command, script in ((array, "array.sh"), (gather, "gather.sh")):
        at = command.index(str(submit.HERE / script))
        assert command[at + 1] == "8", "the number of shards is passed along"
        assert command[at + 2] == str(submit.HERE / "with-scratch.sh")
        assert command[-2:] == ["--recipe", "standard"]
        assert command[-3] == places[0]


def test_paths_that_a_list_of_mounts_must_quote(places, tmp_path, capsys):
    awkward = tmp_path / 'a, "b": c'
    awkward.mkdir()
    assert submit.main([places[0], str(awkward), places[2], "--bind", str(awkward), "--dry-run"]) == 0
    array, _ = commands(capsys)
    quoted = f'{tmp_path}/a, ""b"": c'
    assert f'type=bind,"source={quoted}","destination=/data",ro' in array
    assert f'type=bind,"source={places[2]}","destination=/output"' in array
    assert f'type=bind,"source={quoted}","destination={quoted}",ro' in array


REDO = {
    "one is missing": (["1-of-3", "3-of-3"], [], "2"),
    "all but one are missing": (["2-of-3"], [], "1,3"),
    "of another number of shards": (["1-of-2"], ["--shards", "3"], "1-3"),
    "nothing was done": ([], ["--shards", "2"], "1-2"),
}


@pytest.mark.parametrize("done, options, array", REDO.values(), ids=REDO)
def test_redo(done, options, array, places, capsys):
    finish(places[2], *done)
    assert submit.main([*places, "--redo", *options, "--dry-run"]) == 0
    assert f"--array={array}" in commands(capsys)[0]


@pytest.mark.parametrize("again", ["--redo", "--gather"])
def test_what_the_image_was_told_still_holds(again, places, tmp_path, capsys):
    recipes = tmp_path / "recipes"
    recipes.mkdir()
    told = [*places, "--shards", "3", "--bind", str(recipes), "--", "--recipe", f"{recipes}/mine.toml"]
    submit.prepare(submit.parse(told), [1, 2, 3])
    finish(places[2], "1-of-3")
    assert submit.main([*places, again, "--dry-run"]) == 0
    said = capsys.readouterr()
    for command in map(shlex.split, said.out.splitlines()):
        if command[0] == "sbatch":
            assert command[-2:] == ["--recipe", f"{recipes}/mine.toml"]
            assert f'type=bind,"source={recipes}","destination={recipes}",ro' in command
    assert said.err == f"as before: --bind={recipes} -- --recipe {recipes}/mine.toml\n"
    assert submit.main([*places, again, "--dry-run", "--", "--recipe", "standard"]) == 0
    assert all(command[-2:] == ["--recipe", "standard"] for command in commands(capsys))


def test_a_colleague_who_can_write_to_the_output_decides_nothing(places, home, tmp_path, capsys):
    """Neither what is bound nor what the image is told: both decide what runs as the user who submits."""
    told = [*places, "--shards", "3", "--", "--recipe", "standard"]
    submit.prepare(submit.parse(told), [1, 2, 3])
    capsys.readouterr()
    evil = json.dumps({"bind": [str(tmp_path)], "for_image": ["--recipe", f"{tmp_path}/evil.toml"]})
    for path in Path(places[2]).rglob("*"):
        if path.is_file():
            path.write_text(evil)
    (Path(places[2]) / "logs/slurm").mkdir(parents=True)
    Path(places[2], "logs/slurm/submitted.json").write_text(evil)
    assert submit.main([*places, "--redo", "--shards", "3", "--dry-run"]) == 0
    said = capsys.readouterr()
    assert "evil" not in said.out + said.err
    assert f"source={tmp_path}" + '"' not in said.out
    assert "--recipe standard" in said.out
    (kept,) = home.rglob("*.json")
    assert kept.parent.stat().st_mode & 0o077 == 0


def test_redo_where_all_is_done_only_gathers(places, capsys):
    finish(places[2], "1-of-2", "2-of-2")
    assert submit.main([*places, "--redo", "--dry-run"]) == 0
    (gather,) = commands(capsys)
    assert not any(word.startswith("--dependency") for word in gather)


def test_redo_after_a_change_of_the_input_looks_at_all_shards(places, capsys):
    finish(places[2], "1-of-3", "2-of-3")
    os.utime(Path(places[2], "done.marker.1-of-3"), (OLD, OLD))
    assert submit.main([*places, "--redo", "--dry-run"]) == 0
    said = capsys.readouterr()
    assert "--array=1-3" in said.out
    assert "the input has changed since: all shards run again and skip what is done" in said.err


def test_sentinels_of_an_earlier_run_do_not_speak_for_this_one(places):
    finish(places[2], "1-of-2", "2-of-2", "1-of-5")
    Path(places[2], "done.marker").write_text(sentinel())
    options = submit.parse([*places, "--shards", "2"])
    submit.prepare(options, [2])
    assert [file.name for file in Path(places[2]).glob("done.marker*")] == ["done.marker.1-of-2"]


def test_a_folder_is_bound_under_the_name_by_which_it_was_called(places, tmp_path, capsys, monkeypatch):
    """Recipes and links in the input call it so, and half of a cluster's paths lead over links."""
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    monkeypatch.chdir(tmp_path)
    assert submit.main([*places, "--bind", "input/../link", "--dry-run"]) == 0
    array, _ = commands(capsys)
    assert f'type=bind,"source={tmp_path}/real","destination={tmp_path}/link",ro' in array


def test_charliecloud_needs_a_folder_to_mount_at(places, tmp_path):
    image, recipes = tmp_path / "isx", tmp_path / "recipes"
    for folder in (image, recipes):
        folder.mkdir()
    options = submit.parse([str(image), *places[1:], "--bind", str(recipes)])
    submit.prepare(options, [1])
    place = image / recipes.relative_to("/")
    assert place.is_dir()
    place.rmdir()
    place.touch()
    with pytest.raises(submit.SubmitError, match=f"--bind needs a folder in the image, {place}: File exists"):
        submit.prepare(options, [1])


REFUSED = {
    "no image": (lambda image, i, o: [image + "x", i, o], "there is no image {image}x: 'make sif' builds one"),
    "no input": (lambda image, i, o: [image, i + "x", o], "{input}x is not a folder"),
    "no number": (
        lambda image, i, o: [image, i, o, "--redo"],
        "{output} does not state how many shards there were: give --shards",
    ),
    "logs in the output": (
        lambda image, i, o: [image, i, o, "--logs", f"{o}/logs/slurm"],
        "--logs {output}/logs/slurm lies in the output, where others could plant links that Slurm follows",
    ),
    "no Slurm": (
        lambda image, i, o: [image, i, o],
        "there is no sbatch: submit from a machine of the cluster, or see --dry-run",
    ),
}


@pytest.mark.parametrize("arguments, message", REFUSED.values(), ids=REFUSED)
def test_refused(arguments, message, places, capsys, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert submit.main(arguments(*places)) == 1
    expected = message.format(**dict(zip(("image", "input", "output"), places)))
    assert capsys.readouterr().err == f"submit.py: {expected}\n"


def test_an_output_that_cannot_be_written(places, tmp_path, capsys, monkeypatch):
    (tmp_path / "sbatch").touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert submit.main([places[0], places[1], str(tmp_path / "isx.sif/results")]) == 1
    said = capsys.readouterr().err
    assert said == f"submit.py: {tmp_path}/isx.sif/results: Not a directory\n"


def test_what_sbatch_says_comes_through(places, tmp_path, capsys, monkeypatch):
    fake = tmp_path / "sbatch"
    fake.write_text("#!/bin/sh\necho >&2 'sbatch: error: invalid partition'\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert submit.main(places) == 1
    assert capsys.readouterr().err == "submit.py: sbatch refuses (1): sbatch: error: invalid partition\n"


def test_without_a_home_folder_it_says_what_to_give_again(home, tmp_path, capsys):
    home.touch()  # a file: nothing can be written below it
    submit.remember(submit.argparse.Namespace(output=tmp_path / "output", bind=[], for_image=[], logs=tmp_path))
    assert "cannot be written: " in capsys.readouterr().err


SBATCH = """#!/bin/sh
# As Slurm does: appends to the log, whatever is there.
for word; do case "$word" in --output=*) log=${word#--output=} ;; esac; done
log=$(printf %s "$log" | sed -e 's/%A_%a/1_1/' -e 's/%j/2/' -e 's/%%/%/g')
echo "a line of the job" >> "$log" || exit 1
echo 1
"""


@pytest.fixture
def slurm(tmp_path, monkeypatch) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/sbatch").write_text(SBATCH)
    (tmp_path / "bin/sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")


def plant(place: Path, target: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(target)


@pytest.mark.parametrize("place", ["logs", "logs/slurm", "logs/slurm/1_1.log", "logs/slurm/2.log"])
def test_links_that_a_neighbour_plants_in_the_output_lead_slurm_nowhere(places, home, tmp_path, slurm, capsys, place):
    victim = tmp_path / "victim"
    if place.endswith(".log"):
        victim.write_text("theirs")
    else:
        victim.mkdir()
    plant(Path(places[2], place), victim)
    assert submit.main([*places, "--shards", "2"]) == 0, capsys.readouterr().err
    assert victim.is_dir() or victim.read_text() == "theirs"
    assert victim.is_file() or list(victim.iterdir()) == []
    (logs,) = [line[5:] for line in capsys.readouterr().out.splitlines() if line.startswith("logs ")]
    assert Path(logs).is_relative_to(home)
    assert Path(logs).stat().st_mode & 0o777 == 0o700
    assert {path.name: path.read_text() for path in Path(logs).iterdir()} == {
        "1_1.log": "a line of the job\n",
        "2.log": "a line of the job\n",
    }


def test_logs_elsewhere_and_again(places, tmp_path, slurm, capsys):
    elsewhere = tmp_path / "50 % logs"
    assert submit.main([*places, "--shards", "2", "--logs", str(elsewhere)]) == 0
    finish(places[2], "1-of-2")
    assert submit.main([*places, "--redo"]) == 0
    assert (elsewhere / "2.log").read_text() == "a line of the job\n" * 2
    assert capsys.readouterr().out.count(f"logs {elsewhere}\n") == 2


def test_a_folder_for_logs_that_cannot_be_made(places, tmp_path, slurm, capsys):
    assert submit.main([*places, "--logs", f"{places[0]}/x"]) == 1
    said = capsys.readouterr().err
    assert said == f"submit.py: the folder {places[0]}/x cannot be made: Not a directory; give another with --logs\n"


OPEN = {  # which folder, from the logs' one upwards, gets which rights; and whether others could plant a link then
    "others may write": (0, 0o777, True),
    "a group may write": (0, 0o770, True),
    "others may add files": (0, 0o1777, True),
    "others may read": (0, 0o755, False),
    "others may write above it": (1, 0o777, True),
    "a group may write far above it": (2, 0o2775, True),
    "as in /tmp": (1, 0o1777, False),
}


@pytest.mark.parametrize("above, mode, is_open", OPEN.values(), ids=OPEN)
def test_logs_where_a_neighbour_could_plant_a_link(places, tmp_path, slurm, capsys, above, mode, is_open):
    if os.getuid() != 0:
        pytest.skip("only root can give a folder to another group")
    logs = tmp_path / "lab/me/logs"
    logs.mkdir(parents=True)
    place = (logs, *logs.parents)[above]
    os.chown(place, -1, 12345)  # nobody's private group
    place.chmod(mode)
    finish(places[2], "1-of-2")
    before = sentinel("1/2")
    assert submit.main([*places, "--shards", "2", "--logs", str(logs)]) == int(is_open)
    said = capsys.readouterr().err
    if is_open:
        assert said == (
            f"submit.py: the folder of logs {logs} is not safe: others may write to {place} and could plant links, "
            "which Slurm follows; give another with --logs\n"
        )
        assert list(logs.iterdir()) == []
        assert Path(places[2], "done.marker.1-of-2").read_text() == before
    else:
        assert {path.name for path in logs.iterdir()} == {"1_1.log", "2.log"}


def test_logs_in_a_folder_of_somebody_else(places, tmp_path, slurm, capsys):
    if os.getuid() != 0:
        pytest.skip("only root can give a folder to somebody else")
    logs = tmp_path / "logs"
    logs.mkdir()
    os.chown(logs, 12345, -1)
    assert submit.main([*places, "--logs", str(logs)]) == 1
    assert f"others may write to {logs} and could plant links" in capsys.readouterr().err


def test_what_is_remembered_where_others_may_write_is_not_used(places, home, capsys):
    submit.prepare(submit.parse([*places, "--shards", "3", "--", "--recipe", "standard"]), [1, 2, 3])
    (home / "isx-submit").chmod(0o777)
    assert submit.main([*places, "--shards", "3", "--redo", "--dry-run"]) == 1
    (kept,) = (home / "isx-submit").glob("*.json")
    said = capsys.readouterr().err
    assert said == (
        f"submit.py: {kept} is not used, as others may write to {home}/isx-submit: take that right from them\n"
    )


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"bind": 5}', '{"bind": [], "for_image": [5], "logs": ""}'])
def test_what_is_remembered_and_cannot_be_read_must_be_given_again(places, home, capsys, content):
    """As a full disk leaves it."""
    submit.prepare(submit.parse([*places, "--shards", "3", "--", "--recipe", "standard"]), [1, 2, 3])
    (kept,) = (home / "isx-submit").glob("*.json")
    kept.write_text(content)
    assert submit.main([*places, "--shards", "3", "--redo", "--dry-run"]) == 0
    note = f"{kept} cannot be read: if --bind or options after -- were used, give them again"
    assert capsys.readouterr().err == f"{places[2]}: {note}\n"


def as_it_is(path: Path) -> tuple[int, ...]:
    status = path.lstat()
    return status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns


FOREIGN = {
    "a table": lambda path: path.write_text("a,b\n"),
    "empty": lambda path: path.touch(),
    "a link": lambda path: path.symlink_to("../isx.sif"),
    "a folder": lambda path: path.mkdir(),
    "a FIFO": os.mkfifo,
}


@pytest.mark.parametrize("make", FOREIGN.values(), ids=FOREIGN)
def test_what_only_has_the_name_of_a_sentinel_is_neither_removed_nor_counted(places, slurm, capsys, make):
    output = Path(places[2])
    make(output / "done.marker.7-of-9")
    before = as_it_is(output / "done.marker.7-of-9")
    assert submit.main([*places, "--shards", "2"]) == 0
    assert submit.main([*places, "--redo", "--dry-run"]) == 1, "nothing tells how many shards there were"
    for name in ("done.marker", "done.marker.2-of-2"):
        make(output / name)
        capsys.readouterr()
        assert submit.main([*places, "--shards", "2"]) == 1
        said = f"submit.py: {output}/{name} is not a sentinel of an earlier run and is not touched: move it away\n"
        assert capsys.readouterr().err == said
        (output / name).rename(output / f"kept {name}")
    assert as_it_is(output / "done.marker.7-of-9") == before


@pytest.mark.parametrize(
    "content", [sentinel(), sentinel("2/9"), "{}", "[]", "", "[" * 100_000, '{"version": 1}', "\xff"]
)
def test_it_takes_for_a_sentinel_what_the_image_does(tmp_path, content):
    (tmp_path / "done.marker").write_text(content)
    assert submit.sentinel(tmp_path / "done.marker") == own.sentinel_content(content.encode())


@pytest.mark.parametrize("count", ["100001", "99999999999999999999", "9" * 5000, "0", "-1", "\u00b2"])
def test_more_shards_than_anybody_has(places, capsys, count):
    with pytest.raises(SystemExit):
        submit.main([*places, "--shards", count, "--dry-run"])
    assert "argument --shards: must be " in capsys.readouterr().err


def test_a_planted_count_is_no_count(places, capsys):
    finish(places[2], "1-of-99999999999")
    finish(places[2], "2-of-3")
    assert submit.main([*places, "--redo", "--dry-run"]) == 0
    assert "--array=1,3" in commands(capsys)[0]
