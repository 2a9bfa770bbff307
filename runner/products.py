"""Recordings that were made from others in the input: a recipe that runs on those does not run on them again."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from recording.findings import RecordingInfo
from study.facts import Member
from study.products import Made, Search


def made_from_others(infos: Mapping[str, RecordingInfo], takes: Callable[[str], bool]) -> dict[str, Made]:
    """Products, by path, of recordings that the recipe runs on: it takes their kind, and they are not interleaved.

    The colours and planes that an interleaved recording was split into are what a recipe can run on.
    """
    folders: dict[str, list[Member]] = {}
    for path, info in infos.items():
        if takes(info.kind):
            one = Member(path, info)
            folders.setdefault(one.folder, []).append(one)
    found = {}
    for members in folders.values():
        parents = Search([one for one in members if one.origin.n_colours == 1 and len(one.origin.planes) < 2])
        found |= {one.path: made for one in members for made in [parents.parent(one)] if made}
    return found
