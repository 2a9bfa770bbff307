"""What has become of each recording of a run, on record and in its log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from recording.findings import RecordingInfo
from runner.recordings import Recording
from runner.records import Record, read_record, write_record
from runner.state import RunState
from runner.work.unit import Unit

if TYPE_CHECKING:  # a run with nothing to do needs no workers, nor the time to import them
    from runner.workers.supervise import Verdict


@dataclass
class Outcomes:
    """What has become of each recording of a run so far."""

    state: RunState
    records: dict[str, Record] = field(default_factory=dict)  # by relative path: as this run knows them
    n_unchanged: int = 0
    n_out_of_memory: int = 0  # recordings that failed, and would not have with more of it

    def take_over(self, units: Sequence[Unit]) -> list[Unit]:
        """Note what an earlier run has done; returns what is to be done."""
        for unit in units:
            if unit.done:
                self.succeed(unit.recordings, unit.done)
                self.n_unchanged += len(unit.recordings)
        return [unit for unit in units if not unit.done]

    def succeed(self, recordings: Sequence[Recording], record: Record) -> None:
        """They have the results that are on record."""
        self.records.update((recording.relative, record) for recording in recordings)

    def fail(
        self,
        recordings: Sequence[Recording],
        reason: str,
        infos: Mapping[str, RecordingInfo],
        verdict: Verdict | None = None,
        said: Sequence[Recording] | None = None,
    ) -> None:
        """Put a failure on record. Earlier results are kept: they are true of the input as it was then.

        `said` are those of which the log says so at once: all, unless the others may still be done.
        """
        output = self.state.output
        kinds = {one.relative: infos[one.relative].kind if one.relative in infos else "" for one in recordings}
        kept = read_record(output, recordings[0]) or Record([], "")
        record = Record(
            inputs=[recording.relative for recording in recordings],
            status="failed",
            kind=kinds[recordings[0].relative],
            reason=reason,
            results=kept.results,
            products=kept.products,
            prints=kept.prints,
            rooms=kept.rooms,
            followed=kept.followed,
            numbers=kept.numbers,
            sizes=kept.sizes,
            recipe=kept.recipe,
            warnings=verdict.warnings if verdict else [],
            seconds=verdict.seconds if verdict else 0.0,
            infos={name: infos[name].facts for name in kinds if name in infos},
        )
        self.records.update((recording.relative, record) for recording in recordings)
        self.say_failed(recordings if said is None else said, reason, infos)
        try:
            write_record(output, recordings, record)
        except OSError as error:
            self.state.log(
                "record-failed",
                f"{recordings[0].relative}: its record cannot be written: {error.strerror or error}",
                "warning",
            )

    def say_failed(self, recordings: Sequence[Recording], reason: str, infos: Mapping[str, RecordingInfo]) -> None:
        for name in (recording.relative for recording in recordings):
            kind = infos[name].kind if name in infos else ""
            self.state.log("recording-failed", f"{name}: {reason}", "error", path=name, kind=kind, reason=reason)
