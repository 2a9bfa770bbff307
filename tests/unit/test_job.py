"""What PID 1 and its workers exchange: it survives the journey, and what is malformed is refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from protocol.job import (
    At,
    Caution,
    Failure,
    Job,
    Malformed,
    Options,
    Progress,
    RecipeFacts,
    Result,
    event_from_json,
    event_to_json,
)

JOB = Job(
    inputs=(Path("/data/a µ.isxd"), Path("/data/b.isxd")),
    kind="movie",
    stem="a µ",
    staging=Path("/output/.staging/1/results"),
    scratch=Path("/output/.staging/1/scratch"),
    recipe="inspect",
    options=Options(movie_tiff=True),
    provenance={"fingerprint": "abc", "software": {"isx": "1"}},
    results=Path("/output/a"),
    threads=2,
    events_fd=7,
)


def test_a_job_arrives_as_it_was_sent():
    assert Job.from_json(JOB.to_json()) == JOB


@pytest.mark.parametrize(
    "event",
    [
        Progress(0.25),
        Caution("dim"),
        At(Path("/data/a.isxd")),
        At(),
        Failure("too dark"),
        Result(("a.json",), "fine", None),
        Result((), "", "A"),
    ],
)
def test_an_event_arrives_as_it_was_sent(event):
    assert event_from_json(event_to_json(event)) == event


def test_a_recipe_s_facts_arrive_as_they_were_sent():
    facts = RecipeFacts("series", ("movie",), "ab", nwb=True, beside=("events.csv",))
    assert RecipeFacts.from_json(facts.to_json()) == facts


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": 7}, "job: kind is 7"),
        ({"inputs": "/data/a.isxd"}, "job: inputs is '/data/a.isxd'"),
        ({"inputs": ["a.isxd"]}, "job: inputs is ['a.isxd']"),
        ({"staging": "here"}, "job: staging is 'here'"),
        ({"threads": True}, "job: threads is True"),
        ({"options": {"movie_mp5": True}}, "options: unknown field movie_mp5"),
        ({"options": {"movie_mp4": 1}}, "options: movie_mp4 is 1"),
        ({"options": []}, "options: not a JSON object"),
        ({"speed": 3}, "job: unknown field speed"),
    ],
)
def test_a_malformed_job_is_refused_by_name(change, message):
    with pytest.raises(Malformed) as refused:
        Job.from_json(json.dumps({**json.loads(JOB.to_json()), **change}))
    assert str(refused.value) == message


def test_a_missing_field_is_named():
    content = json.loads(JOB.to_json())
    del content["stem"]
    with pytest.raises(Malformed, match="job: no stem"):
        Job.from_json(json.dumps(content))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"nonsense", "not JSON"),
        (b"[]", "no event"),
        (b"{}", "no event"),
        (b'{"event": "progress", "done": "x"}', "progress: done is 'x'"),
        (b'{"event": "progress", "done": NaN}', "progress: done is nan"),
        (b'{"event": "progress", "done": 1' + b"0" * 400 + b"}", "progress: done is 1000"),
        (b'{"event": "error"}', "failure: no reason"),
        (b'{"event": "result", "products": [1]}', r"result: products is \[1\]"),
        (b"[" * 100_000, "not JSON"),
    ],
)
def test_a_malformed_event_is_refused_by_name(line, message):
    with pytest.raises(Malformed, match=message):
        event_from_json(line)


def test_an_unknown_event_is_passed_over():
    assert event_from_json(b'{"event": "joke", "text": "x"}') is None
