"""What has become of each recording of a run, on record and in its log."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

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
        self, recordings: Sequence[Recording], reason: str, kind: str = "", verdict: Verdict | None = None
    ) -> None:
        """Put a failure on record. Earlier results are kept: they are true of the input as it was then."""
        output = self.state.output
        kept = read_record(output, recordings[0]) or Record([], "")
        record = Record(
            inputs=[recording.relative for recording in recordings],
            status="failed",
            kind=kind,
            reason=reason,
            results=kept.results,
            products=kept.products,
            prints=kept.prints if kept.status != "publishing" else {},
            rooms=kept.rooms,
            followed=kept.followed,
            numbers=kept.numbers,
            sizes=kept.sizes,
            recipe=kept.recipe,
            warnings=verdict.warnings if verdict else [],
            seconds=verdict.seconds if verdict else 0.0,
        )
        for recording in recordings:
            self.records[recording.relative] = record
            message = f"{recording.relative}: {reason}"
            self.state.log("recording-failed", message, "error", path=recording.relative, kind=kind, reason=reason)
        try:
            write_record(output, recordings, record)
        except OSError as error:
            self.state.log(
                "record-failed", f"{recordings[0].relative}: its record cannot be written: {error}", "warning"
            )
