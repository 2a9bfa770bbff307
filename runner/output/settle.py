"""What is done about the end of a worker: its results are published, or its failure is put on record."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from common.sentences import merged
from native import loading
from protocol.job import INSPECT
from recording.findings import RecordingInfo
from runner.edits import EDITABLE, print_of
from runner.endings import NoApi, why_unwritten
from runner.events import duration
from runner.input.earlier import Earlier
from runner.input.read import Input
from runner.input.relate import unchanged_input
from runner.output.outcomes import Outcomes
from runner.output.publish import BadProducts, checked_products, foreign, publish, withdraw
from runner.output_folder import Folder
from runner.recordings import Recording
from runner.records import Record, are_there, read_record, write_record
from runner.staging import forget_kept_steps
from runner.state import Conditions, RunState
from runner.work.unit import Unit, named
from runner.work.units import folders_of_steps, inspected_instead, tried_again, without
from runner.workers.jobs import Workplace
from runner.workers.supervise import Verdict

SYNC_RATE = 5_000_000  # bytes a second at which a very slow disk takes results in


@dataclass
class Settlement:
    """Settles what the workers of a run have done."""

    input: Input
    conditions: Conditions
    staging: Folder
    earlier: Earlier
    outcomes: Outcomes
    import_works: bool = False  # known once a worker has failed

    @property
    def state(self) -> RunState:
        return self.outcomes.state

    @property
    def infos(self) -> Mapping[str, RecordingInfo]:
        return self.input.related.infos

    def settle(self, place: Workplace, verdict: Verdict) -> list[Unit]:
        """Publish the results, or put the failure on record; returns what is to be done instead. Raises NoApi."""
        if not verdict.ok:
            self._blame_the_api()
        unit = place.unit
        verdict.reason = place.as_seen(verdict.reason)
        names = {recording.file for recording in unit.inputs}
        verdict.warnings = merged([*unit.warnings, *map(place.as_seen, verdict.warnings)], names)
        problem = self._change_of_input(unit)
        if not problem and (unusable := self._unusable(unit, verdict)):
            instead = self._leave_out(unusable, verdict, place)
        else:
            if problem := problem or (self._publish(unit, verdict, place) if verdict.ok else ""):
                verdict = replace(verdict, ok=False, reason=problem, died=False, out_of_memory=False)
            instead = [] if verdict.ok else self._settle_failure(place, verdict, may_be_inspected=not problem)
        note_in_log(place.log, verdict)
        place.close()
        self.staging.remove_tree(place.name)
        return instead

    def refuse(self, unit: Unit, reason: str) -> None:
        """No worker can have it."""
        if unit.failure:  # that of its parts was said before
            self.outcomes.say_failed(unit.others, unit.failure, self.infos)
        else:
            self.outcomes.fail(unit.recordings, reason, self.infos)

    # ---- failures

    def _blame_the_api(self) -> None:
        """After the first failure, check whether isx can be imported at all. Raises NoApi."""
        if not self.import_works:
            error = loading.import_error(self.state.tick)
            if error:
                raise NoApi(loading.diagnosis(self.state.api, error))
            self.import_works = True

    def _change_of_input(self, unit: Unit) -> str:
        changes = (unchanged_input(recording, self.input.root / recording.relative) for recording in unit.inputs)
        return next(filter(None, changes), "")

    def _unusable(self, unit: Unit, verdict: Verdict) -> dict[str, str]:
        """Recordings without which the rest of the session is done anew, and why; empty if there is no need."""
        if verdict.ok:
            failed = self._failed(unit, verdict)
            return failed if unit.parts[0].relative in failed else {}
        if not (verdict.died and unit.is_retried and len(unit.recordings) > 1):
            return {}
        members = unit.recordings if unit.recipe.is_inspect else unit.others
        at_fault = [one.relative for one in members if (self.input.root / one.relative).absolute() == verdict.at]
        return dict.fromkeys(at_fault, verdict.reason)

    def _leave_out(self, unusable: Mapping[str, str], verdict: Verdict, place: Workplace) -> list[Unit]:
        """Put these on record as failed; returns the rest of their session."""
        unit, related = place.unit, self.input.related
        lead = unit.recordings[0].relative
        for path, reason in unusable.items():
            if unit.failure and path in [part.relative for part in unit.parts]:
                self._say_not_inspected(path, reason)
                continue
            self.outcomes.n_out_of_memory += verdict.out_of_memory
            own = replace(verdict, warnings=[]) if path == lead else None  # whose log this is
            self.outcomes.fail([related.recordings[path]], reason, self.infos, own)
        rest = without(unit, unusable, self.input, self.conditions, self.earlier)
        if lead not in unusable:
            rest = replace(rest, log=os.dup(place.log))
        return [rest]

    def _say_not_inspected(self, name: str, reason: str) -> None:
        self.state.log("recording-warning", f"{name}: it could not be inspected either: {reason}", "warning", path=name)

    def _settle_failure(self, place: Workplace, verdict: Verdict, may_be_inspected: bool) -> list[Unit]:
        """Say it, put it on record, and return what is tried instead."""
        unit = place.unit
        if verdict.died and not unit.is_retried:
            said = f"{unit.name}: will be tried once more when nothing else runs: {verdict.reason}"
            self.state.log("tried-again", said, "warning", path=unit.name, reason=verdict.reason)
            return [tried_again(unit, os.dup(place.log))]
        if unit.failure:
            self._say_not_inspected(unit.name, verdict.reason)
            self.outcomes.say_failed(unit.others, unit.failure, self.infos)
            return []
        final = unit.recipe.is_inspect or not may_be_inspected or self._has_results_of_a_recipe(unit)
        failed = unit.recordings if final else unit.parts
        self.outcomes.n_out_of_memory += len(failed) if verdict.out_of_memory else 0
        self.outcomes.fail(unit.recordings, verdict.reason, self.infos, verdict, said=failed)
        return [] if final else [inspected_instead(unit, verdict.reason, verdict.warnings, os.dup(place.log))]

    def _has_results_of_a_recipe(self, unit: Unit) -> bool:
        """They stay as they are: they may have taken days."""
        record = read_record(self.state.output, unit.recordings[0])
        by_recipe = record is not None and bool(record.results) and record.recipe != INSPECT
        return bool(record and by_recipe and are_there(self.state.output, record))

    # ---- results

    def _publish(self, unit: Unit, verdict: Verdict, place: Workplace) -> str:
        """Returns why not, or nothing."""
        state, output, staging = self.state, self.state.output, place.staging
        failed = self._failed(unit, verdict)
        sound = [recording for recording in unit.recordings if recording.relative not in failed]
        try:
            record = self._record(unit, sound, verdict, staging)
            old = self._of_this_folder(unit)
            if theirs := foreign(output, record, old):
                return f"its results cannot be written: {theirs} exists already and no run made it; move it away"
            self._withdraw_results_elsewhere(unit)
            state.heart.beat(within=120 + sum(record.products.values()) / SYNC_RATE)
            for recording in unit.recordings[1:]:  # of a run in which each was a session of its own
                with contextlib.suppress(OSError):
                    output.remove(recording.log)
            publish(output, staging, sound, record, old)
            if not unit.failure:
                forget_kept_steps(output, folders_of_steps(unit, self.input.related))
        except BadProducts as error:
            return str(error)
        except OSError as error:
            return why_unwritten(error)
        self.outcomes.succeed(sound, record)
        for path, reason in failed.items():
            self.outcomes.fail([self.input.related.recordings[path]], reason, self.infos)
        if unit.failure:
            self._done_after_all(unit, record)
            state.log("recording-inspected", f"{unit.name}: inspected, because its recipe failed", path=unit.name)
            return ""
        name = named(sound)
        message = f"{name}: {record.summary or 'done'} ({duration(verdict.seconds)})"
        state.log("recording-done", message, path=name, kind=unit.kind, seconds=verdict.seconds)
        for warning in verdict.warnings:
            state.log("recording-warning", f"{name}: {warning}", "warning", path=name)
        for sentence in verdict.advice:
            state.log("recording-advice", f"{name}: {sentence}", path=name)
        return ""

    def _of_this_folder(self, unit: Unit) -> Record | None:
        """What an earlier run left there, whichever recording led then."""
        records = [record for one in unit.recordings if (record := read_record(self.state.output, one))]
        return next((record for record in records if record.results == unit.results), None)

    def _done_after_all(self, unit: Unit, record: Record) -> None:
        """What was recorded beside parts whose recipe failed is as it would be without a recipe."""
        for recording in unit.others:
            if self.outcomes.records[recording.relative] is record:
                theirs = replace(
                    record, inputs=[recording.relative], status="done", reason="", inspected=False, parts=0
                )
                write_record(self.state.output, [recording], theirs)
                self.outcomes.records[recording.relative] = theirs

    def _failed(self, unit: Unit, verdict: Verdict) -> dict[str, str]:
        """Recordings of the session that the worker could not use, and why: the others have their results."""
        root = self.input.root
        by_path = {str((root / recording.relative).absolute()): recording.relative for recording in unit.recordings}
        return {by_path[path]: reason for path, reason in verdict.result.failed.items() if path in by_path}

    def _withdraw_results_elsewhere(self, unit: Unit) -> None:
        """Results of a recording that joined or left a session go, unless others have taken their place."""
        output, owners = self.state.output, self.input.related.owners
        for recording in unit.recordings:
            old = read_record(output, recording)
            if old and old.results not in ("", unit.results):
                owner = owners.get(old.results, recording.relative)
                if owner in [part.relative for part in unit.recordings]:
                    withdraw(output, old)

    def _record(self, unit: Unit, recordings: Sequence[Recording], verdict: Verdict, staging: Path) -> Record:
        """Raises BadProducts, OSError."""
        products = checked_products(verdict.result.products, staging, unit.results.rpartition("/")[2])
        return Record(
            inputs=[recording.relative for recording in recordings],
            status="failed" if unit.failure else "done",
            reason=unit.failure,
            kind=unit.kind,
            recipe=unit.recipe.name,
            inspected=bool(unit.failure),
            fingerprint=unit.fingerprint,
            results=unit.results,
            products=products,
            prints={name: print_of(staging / name) for name in products if name.endswith(EDITABLE)},
            rooms=[room for room in verdict.result.rooms if room.file in products],
            summary=verdict.result.summary,
            thumbnail=verdict.result.thumbnail,
            warnings=verdict.warnings,
            advice=verdict.advice,
            seconds=verdict.seconds + (self.outcomes.records[recordings[0].relative].seconds if unit.failure else 0.0),
            parts=sum(recording in recordings for recording in unit.parts),
            animal=unit.session.animal,
            start=unit.session.start.isoformat() if unit.session.start else "",
            code=self.conditions.code,
            infos={recording.relative: self.input.related.infos[recording.relative].facts for recording in recordings},
            stamps={recording.relative: [recording.size, recording.mtime_ns] for recording in recordings},
        )


def note_in_log(log: int, verdict: Verdict) -> None:
    line = f"done in {verdict.seconds} s" if verdict.ok else f"failed after {verdict.seconds} s: {verdict.reason}"
    with contextlib.suppress(OSError):  # the disk is full: the run's own log has said it
        os.write(log, (line + "\n").encode("utf-8", "backslashreplace"))
