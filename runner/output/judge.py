"""How a run that came to its end went: its exit code and its last message."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from protocol.overview import LEFT_OUT, Followed, Row
from runner.endings import DONE, OUT_OF_MEMORY, SOME_FAILED, Ending
from runner.events import counted, listed
from runner.state import RunState, container_facts, software


def judge(rows: Sequence[Row], state: RunState, facts: dict[str, Any], followed: Sequence[Followed] = ()) -> Ending:
    """Whether all succeeded; `facts` go into the sentinel, beside the counts."""
    statuses = Counter(row.status for row in rows)
    failed, left_out, unchanged = statuses["failed"], statuses[LEFT_OUT], facts.get("unchanged", 0)
    count = len(rows) - left_out
    made_by = {"isx": state.api.facts, "software": software(state.api), "container": container_facts()}
    facts = {"recordings": count, "failed": failed, "left_out": left_out, **facts, **made_by}
    unfollowed = [animal.animal for animal in followed if animal.status == "failed"]
    if followed:
        facts["animals"] = len(followed)
    earlier = f", {unchanged} of them earlier" if unchanged else ""
    besides = f"; {left_out} left out" if left_out else ""
    if failed:
        message = f"{failed} of {count} failed, {count - failed} done{earlier}{besides}; no sentinel"
        if starved := facts.get("out_of_memory"):
            message += f"; {starved} failed because memory ran out: give the run more, or lower WORKERS"
        return Ending(OUT_OF_MEMORY if starved else SOME_FAILED, message, facts)
    if unfollowed:
        message = (
            f"{counted(count, 'recording')} done{earlier}{besides}; the cells of {listed(unfollowed)} could not be "
        )
        return Ending(SOME_FAILED, message + "followed; no sentinel", facts)
    over = f"; cells of {counted(len(followed), 'animal')} followed" if followed else ""
    return Ending(DONE, f"{counted(count, 'recording')}, all done{earlier}{besides}{over}", facts)
