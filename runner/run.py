"""The way of a run, from the preflight to the report: input, work, workers, output."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Any

from native import loading
from runner import animals, places
from runner.endings import Ending, writing
from runner.input import read, tables
from runner.input.discover import Discovery
from runner.input.earlier import look_back
from runner.input.read import Input
from runner.output.judge import judge
from runner.output.outcomes import Outcomes
from runner.output.report import Made, write_report
from runner.output.rows import left_out_rows, rows_of, unreadable_rows
from runner.output_folder import Folder
from runner.preflight import refuse_too_few_files, refuse_too_few_processes, report_preflight
from runner.staging import forget_kept_steps, staging_of
from runner.state import Conditions, RunState, conditions
from runner.work.groups import only_inspected
from runner.work.units import folders_of_steps, units_of


def run(state: RunState) -> Ending:
    """Everything between the lock and the sentinel. Raises RunError, Stopped."""
    began, shard, log = time.monotonic(), state.settings.shard, state.log
    refuse_too_few_processes(state.settings.workers or 1)
    refuse_too_few_files(state.settings.workers or 1)
    with ExitStack() as until_the_end:
        discovery, staging = _find(state, until_the_end)
        copies = staging.anywhere / "copies"
        wanted = conditions(state, copies)

        input = read.understand(discovery, wanted, copies, state)
        places.refuse_among(input.related.owners.items(), state.settings.sentinel, state.output.path)
        read.report(discovery, input, shard, log)
        earlier = look_back(input, state)
        units = units_of(input, wanted, earlier)
        _report_products(input, wanted, state)
        for sentence in tables.shared(reader for unit in units for reader in unit.tables):
            log("shared-table", sentence, "warning")

        outcomes = Outcomes(state)
        for recording in input.broken:
            outcomes.fail([recording], input.related.problems[recording.relative], {})
        todo = outcomes.take_over(units)
        done = [unit for unit in units if unit.done]
        forget_kept_steps(state.output, (folder for unit in done for folder in folders_of_steps(unit, input.related)))
        forks = None
        if todo:
            from runner.output.settle import Settlement  # takes a while, and mostly all is done
            from runner.workers.carry_out import carry_out, fork_server_for

            settlement = Settlement(input, wanted, staging, earlier, outcomes)
            forks = until_the_end.enter_context(fork_server_for(todo, wanted.nwb, staging, log))
            carry_out(todo, wanted, staging, state, forks, settlement.settle, settlement.refuse)

        rows = rows_of(input.recordings, outcomes.records)
        if not shard or shard.index == 1:
            rows += unreadable_rows(discovery, log) + left_out_rows(discovery)
        followed = []
        if not shard:
            known = outcomes.records.values()
            followed = animals.follow(discovery.recordings, known, state, staging, wanted.recipe.follow)
            is_unchanged = not todo and all(animal.is_earlier for animal in followed)
            with writing(state.output.path):
                made = Made(wanted.software, followed, time.monotonic() - began, is_unchanged)
                write_report(state, staging, rows, made, forks)
    return judge(rows, state, _facts(outcomes, wanted), followed)


def _find(state: RunState, until_the_end: ExitStack) -> tuple[Discovery, Folder]:
    """What is in the input, and a place for what is being made. Raises NoApi, NoInput, Unwritable."""
    probe = loading.start_probe(state.api)  # works while this process looks for recordings
    try:
        with writing(state.output.path):
            staging = until_the_end.enter_context(staging_of(state.output, state.settings.shard))
        discovery = read.find_recordings(state.settings, state.tick)
    finally:
        loaded = loading.finish_probe(probe)
    report_preflight(state.api, loaded, state.log)
    read.refuse_without_recordings(discovery, state.settings.input_dir)
    return discovery, staging


def _report_products(input: Input, wanted: Conditions, state: RunState) -> None:
    sentence, made_from = only_inspected(input.sessions, wanted.recipe, input.related)
    if sentence:
        state.log("products", sentence, products=made_from)


def _facts(outcomes: Outcomes, wanted: Conditions) -> dict[str, Any]:
    """Facts for the sentinel, beside the counts."""
    shard = outcomes.state.settings.shard
    facts: dict[str, Any] = {"unchanged": outcomes.n_unchanged, "shard": str(shard or "1/1")}
    facts["conditions"] = wanted.digest
    if not wanted.recipe.follow:
        facts["follow"] = False
    if outcomes.n_out_of_memory:
        facts["out_of_memory"] = outcomes.n_out_of_memory
    return facts
