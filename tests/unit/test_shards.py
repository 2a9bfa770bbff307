from __future__ import annotations

import random

import pytest

from runner.shards import Shard, assign, count_from, shard_from, unasked

SLURM = {
    "SLURM_ARRAY_TASK_ID": "7",
    "SLURM_ARRAY_TASK_MIN": "5",
    "SLURM_ARRAY_TASK_MAX": "9",
    "SLURM_ARRAY_TASK_COUNT": "5",
}


HUGE = [  # text, environment, message
    ("1/100001", {}, "SHARD asks for 100001 shards: there may be 1 to 100000"),
    ("1/99999999999999999999", {}, "SHARD has a number of 20 digits: there may be 1 to 100000 shards"),
    ("1/" + "9" * 5000, {}, "SHARD has a number of 5000 digits"),
    ("9" * 5000 + "/2", {}, "SHARD has a number of 5000 digits"),
    ("1/0", {}, "SHARD asks for 0 shards"),
    ("", {"SHARD_INDEX": "0", "SHARD_COUNT": "99999999999"}, "SHARD_INDEX asks for 99999999999 shards"),
    ("", {"SHARD_INDEX": "9" * 5000, "SHARD_COUNT": "2"}, "SHARD_INDEX has a number of 5000 digits"),
]


@pytest.mark.parametrize(
    ("text", "environment", "expected"),
    [
        ("", {}, None),
        ("2/8", {}, Shard(2, 8)),
        ("2/8", {"SHARD_INDEX": "0", "SHARD_COUNT": "3", **SLURM}, Shard(2, 8)),
        ("", {"SHARD_INDEX": "0", "SHARD_COUNT": "3"}, Shard(1, 3)),
        ("", {"SHARD_INDEX": "2", "SHARD_COUNT": "3", **SLURM}, Shard(3, 3)),
        ("100000/100000", {}, Shard(100_000, 100_000)),
        ("", SLURM, None),
        ("", {"SLURM_ARRAY_TASK_ID": "0", "SLURM_ARRAY_TASK_COUNT": "1"}, None),
        ("", {"JOB_COMPLETION_INDEX": "1"}, None),
        ("", {"SHARD_COUNT": "", "SHARD_INDEX": ""}, None),
    ],
)
def test_shard_from(text, environment, expected):
    assert shard_from(text, environment) == expected


@pytest.mark.parametrize(
    ("text", "environment", "message"),
    [
        ("0/3", {}, "part 0"),
        ("4/3", {}, "no such part"),
        ("1-3", {}, "must be I/N"),
        ("", {"SHARD_INDEX": "3", "SHARD_COUNT": "3"}, "part 4 (counted from 1) of 3"),
        ("", {"SHARD_INDEX": "x", "SHARD_COUNT": "3"}, "SHARD_INDEX must be a whole number"),
        ("", {"SHARD_INDEX": "1"}, "SHARD_INDEX needs SHARD_COUNT"),
        ("", {"SHARD_COUNT": "3"}, "SHARD_COUNT needs an index"),
        ("", {"SHARD_COUNT": "3", "JOB_COMPLETION_INDEX": "1"}, "JOB_COMPLETION_INDEX alone does not count as one"),
        (
            "",
            {"SHARD_COUNT": "3", **SLURM},
            "SHARD_COUNT needs an index: set SHARD_INDEX, from 0 to SHARD_COUNT - 1; SLURM",
        ),
        *[(text, env, message) for text, env, message in HUGE],
    ],
)
def test_shards_that_make_no_sense(text, environment, message):
    with pytest.raises(ValueError, match=r"(?s).*") as error:
        shard_from(text, environment)
    assert message in str(error.value)


def test_what_is_said_of_a_scheduler_that_is_not_followed():
    assert unasked({}) == unasked({"SLURM_ARRAY_TASK_ID": ""}) == ""
    said = (
        "SLURM_ARRAY_TASK_ID is 7, but no shard was requested: this run processes all recordings (SHARD selects a part)"
    )
    assert unasked(SLURM) == said
    both = unasked({**SLURM, "JOB_COMPLETION_INDEX": "0"})
    assert both.startswith("SLURM_ARRAY_TASK_ID is 7 and JOB_COMPLETION_INDEX is 0, but")


@pytest.mark.parametrize("count", ["100001", "9" * 20, "9" * 5000, "0", "-1", "x"])
def test_counts_for_gathering_that_make_no_sense(count):
    for text, environment in ((f"1/{count}", {}), ("", {"SHARD_COUNT": count})):
        with pytest.raises(ValueError, match="SHARD"):
            count_from(text, environment)


def test_count_for_gathering():
    assert count_from("", {}) is None
    assert count_from("", {"SHARD_COUNT": "5"}) == 5
    assert count_from("1/8", {"SHARD_COUNT": "5"}) == 8


@pytest.mark.parametrize("count", [1, 2, 7, 100])
def test_shards_cover_everything_exactly_once(count):
    generator = random.Random(1)
    sizes = [generator.randrange(0, 10**9) for _ in range(60)]
    shards = assign(range(60), sizes, count)
    assert len(shards) == count
    assert sorted(item for shard in shards for item in shard) == list(range(60))
    assert assign(range(60), sizes, count) == shards


def test_shards_are_balanced_by_bytes():
    generator = random.Random(2)
    sizes = [generator.randrange(0, 10**9) for _ in range(200)]
    loads = [sum(sizes[item] for item in shard) for shard in assign(range(200), sizes, 4)]
    assert max(loads) < 1.02 * min(loads)


def test_empty_files_are_spread_too():
    assert [len(shard) for shard in assign(range(8), [0] * 8, 4)] == [2, 2, 2, 2]
