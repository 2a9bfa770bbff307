"""From recordings, sessions and records to units: what is done, and what is to be done. Nothing is opened."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from protocol.job import Options
from recording.findings import RecordingInfo
from runner.input.beside import Beside
from runner.input.discover import name_results
from runner.input.earlier import Earlier
from runner.input.read import Input
from runner.input.relate import Related, folders_of
from runner.recipe import RecipeChoice
from runner.recordings import Recording
from runner.records import Record
from runner.state import Conditions
from runner.work.groups import only_inspected
from runner.work.units import inspected_instead, tried_again, units_of, without
from study.relations import relate
from tests.unit.test_relations import one

SERIES = RecipeChoice("/recipes/mine.toml", "1", True, ("movie",))
FILES = replace(SERIES, works_on_series=False)
DAY = [
    one("m_part1.isxd", 0),
    one("m_part2.isxd", 20),
    one("m.gpio", 0, 60, uuid="u"),
    one("alone.isxd", 7200, animal="other"),
]


def input_of(infos: list[tuple[str, RecordingInfo]], **beside: object) -> Input:
    recordings = name_results([Recording(path, size=1) for path, _ in infos])
    study = relate(dict(infos), [])
    folders, own = folders_of(recordings, study, frozenset())
    related = Related({recording.relative: recording for recording in recordings}, dict(infos), {}, study, folders, own)
    return Input(Path("/data"), related, study.sessions, [], Beside(**beside))


def conditions(recipe: RecipeChoice = RecipeChoice(), code: str = "c") -> Conditions:  # noqa: B008 - frozen
    return Conditions(recipe, Options(), {"isx": "1"}, code)


def shown(input: Input, recipe: RecipeChoice = RecipeChoice(), earlier: dict | None = None) -> list[str]:  # noqa: B008
    """As text: folder: parts + others, and what is done with them."""
    texts = []
    for unit in units_of(input, conditions(recipe), Earlier(earlier or {})):
        parts, others = (" ".join(recording.relative for recording in those) for those in (unit.parts, unit.others))
        state = "done" if unit.done else unit.recipe.name
        texts.append(f"{unit.results}: {parts}{f' + {others}' if others else ''}, {state}")
    return sorted(texts)


def test_a_session_is_a_unit_and_each_part_where_a_recipe_wants_files():
    input = input_of(DAY)
    whole = "m: m_part1.isxd m_part2.isxd + m.gpio"
    assert shown(input) == ["alone: alone.isxd, inspect", f"{whole}, inspect"]
    assert shown(input, SERIES) == ["alone: alone.isxd, mine.toml", f"{whole}, mine.toml"]
    assert shown(input, FILES) == [
        "alone: alone.isxd, mine.toml",
        "m: m_part1.isxd + m.gpio, mine.toml",
        "m_part2: m_part2.isxd, mine.toml",
    ]
    assert shown(input, replace(SERIES, kinds=("cell_set",))) == shown(input), "what it does not take is inspected"


def test_a_unit_is_done_if_an_earlier_run_did_just_this():
    input = input_of(DAY)
    units = {unit.results: unit for unit in units_of(input, conditions(), Earlier())}
    names = [recording.relative for recording in units["m"].recordings]
    record = Record(names, "done", "movie", fingerprint=units["m"].fingerprint, results="m")
    done = dict.fromkeys(names, record)
    assert [line.rpartition(", ")[2] for line in shown(input, earlier=done)] == ["inspect", "done"]
    for other in (replace(record, fingerprint="other"), replace(record, inputs=names[:2])):
        assert [line.rpartition(", ")[2] for line in shown(input, earlier=dict.fromkeys(names, other))] == [
            "inspect",
            "inspect",
        ]
    assert not any(unit.done for unit in units_of(input, conditions(code="new"), Earlier(done))), "other code"
    assert not any(unit.done for unit in units_of(input_of(DAY[:2]), conditions(), Earlier(done))), (
        "the GPIO recording is gone"
    )


def test_what_lies_beside_a_session_decides_its_results():
    plain = {unit.results: unit for unit in units_of(input_of(DAY), conditions(), Earlier())}
    decided = input_of(DAY, decisions={("", "m"): "cell,status\nC0,rejected\n"})
    units = {unit.results: unit for unit in units_of(decided, conditions(), Earlier())}
    assert units["m"].session.decisions.endswith("rejected\n") and units["m"].fingerprint != plain["m"].fingerprint
    assert units["alone"] == plain["alone"]
    reads = replace(SERIES, beside=("times.csv",))
    prints = [
        {
            unit.results: unit.fingerprint
            for unit in units_of(input_of(DAY, tables=tables), conditions(reads), Earlier())
        }
        for tables in (
            {},
            {Path("/data/times.csv"): ["times.csv", 9, 9]},
            {Path("/data/m.times.csv"): ["m.times.csv", 9, 9]},
        )
    ]
    assert [prints[0][name] != prints[1][name] for name in ("m", "alone")] == [True, True], "a table of all sessions"
    assert [prints[0][name] != prints[2][name] for name in ("m", "alone")] == [True, False], "one of a session's own"


def test_products_are_inspected_and_the_log_says_why():
    input = input_of([one("m.isxd"), one("m-PP.isxd", is_made=True)])
    assert shown(input, SERIES) == ["m: m.isxd + m-PP.isxd, mine.toml"]
    sentence, made_from = only_inspected(input.sessions, SERIES, input.related)
    assert sentence.startswith(
        "only inspected, because the recipe runs on what it was made from: m-PP.isxd (from m.isxd, by "
    )
    assert made_from == {"m-PP.isxd": "m.isxd"}
    assert only_inspected(input.sessions, RecipeChoice(), input.related) == ("", {})


def test_what_is_tried_instead():
    input = input_of(DAY)
    (unit,) = [unit for unit in units_of(input, conditions(SERIES), Earlier()) if unit.others]
    again = tried_again(unit, 7)
    assert (again.is_retried, again.log, replace(again, is_retried=False, log=None)) == (True, 7, unit)
    rests = {
        name: without(unit, {name: "no"}, input, conditions(SERIES), Earlier())
        for name in ("m_part1.isxd", "m_part2.isxd", "m.gpio")
    }
    assert {
        name: [[recording.relative for recording in rest.parts], [recording.relative for recording in rest.others]]
        for name, rest in rests.items()
    } == {
        "m_part1.isxd": [["m_part2.isxd"], ["m.gpio"]],
        "m_part2.isxd": [["m_part1.isxd"], ["m.gpio"]],
        "m.gpio": [["m_part1.isxd", "m_part2.isxd"], []],
    }
    for name, rest in rests.items():
        assert (rest.results, rest.recipe, rest.is_retried, rest.left_out) == ("m", SERIES, True, (name,))
        assert rest.warnings == (f"{name} is left out of the session: no",)
        assert rest.fingerprint != unit.fingerprint and name not in {one.path.name for one in rest.session.members}
    last = unit
    for name in ("m_part1.isxd", "m.gpio"):
        last = without(last, {name: "no"}, input, conditions(SERIES), Earlier())
    assert (last.name, last.left_out, len(last.warnings)) == ("m_part2.isxd", ("m.gpio", "m_part1.isxd"), 2)
    failed = inspected_instead(unit, "no cells", ["look"], 7)
    rest = without(failed, {"m_part1.isxd": "no"}, input, conditions(SERIES), Earlier())
    assert (rest.failure, rest.warnings[0], rest.fingerprint.endswith(" inspected")) == ("no cells", "look", True)
    beside = without(
        failed, dict.fromkeys(["m_part1.isxd", "m_part2.isxd"], "no"), input, conditions(SERIES), Earlier()
    )
    assert (beside.name, beside.kind, beside.failure, beside.results) == ("m.gpio", "gpio", "", "m")
    assert beside.warnings == tuple(f"m_part{n}.isxd is left out of the session: no" for n in (1, 2))
    inspected = inspected_instead(unit, "no cells", ["look"], 7)
    assert (inspected.recipe.is_inspect, inspected.failure, inspected.warnings, inspected.log) == (
        True,
        "no cells",
        ("look",),
        7,
    )
    assert inspected.fingerprint != unit.fingerprint
