"""What of a session a recipe runs on: the parts, not what was made of them."""

from __future__ import annotations

from collections.abc import Iterable

from runner.events import MANY
from runner.input.relate import Related
from runner.recipe import RecipeChoice
from study.relations import Session


def run_on(session: Session, used: RecipeChoice, related: Related) -> list[tuple[str, ...]]:
    """Paths that the recipe runs on together, the leading ones first.

    Colours and planes that an interleaved recording was split into are run on in its place; products are where the
    recipe takes none of the parts, and what was recorded beside these where it takes no product either.
    """
    infos, takes = related.infos, used.takes
    streams = [stream for stream in session.streams if takes(infos[stream[0]].kind)]
    split = [
        path for path in session.products if takes(infos[path].kind) and _is_interleaved(origin(path, related), related)
    ]
    whole = [stream for stream in streams if not (split and _is_interleaved(stream[0], related))]
    products = split or ([] if streams else [path for path in session.products if takes(infos[path].kind)])
    series: dict[object, list[str]] = {}
    for path in products:
        label = path.removeprefix(origin(path, related).rpartition(".")[0])
        series.setdefault((label, infos[path].series_key), []).append(path)
    beside = [] if streams or products else [path for path in session.companions if takes(infos[path].kind)]
    for path in beside:
        series.setdefault((infos[path].kind, infos[path].series_key), []).append(path)
    order = {path: number for number, path in enumerate(session.parts)}
    return [
        *whole,
        *(tuple(sorted(paths, key=lambda path: order.get(origin(path, related), -1))) for paths in series.values()),
    ]


def origin(path: str, related: Related) -> str:
    """What a product was made from in the end."""
    made_from = related.study.made_from
    while path in made_from:
        path = made_from[path]
    return path


def _is_interleaved(path: str, related: Related) -> bool:
    stated = related.infos[path].origin
    return stated.n_colours > 1 or len(stated.planes) > 1


def only_inspected(sessions: Iterable[Session], used: RecipeChoice, related: Related) -> tuple[str, dict[str, str]]:
    """Products that the recipe takes and is not run on: a sentence or "", and what each is made from."""
    if used.is_inspect:
        return "", {}
    takes, infos, made = used.takes, related.infos, related.study.made
    products = []
    for session in sessions:
        theirs = {path for group in run_on(session, used, related) for path in group}
        products += [path for path in session.products if takes(infos[path].kind) and path not in theirs]
    if not products:
        return "", {}
    named = [f"{path} (from {made[path].parent.file}, by {made[path].reason})" for path in products[:MANY]]
    more = f" and {len(products) - MANY} more" if len(products) > MANY else ""
    were = "it was" if len(products) == 1 else "they were"
    sentence = f"only inspected, because the recipe runs on what {were} made from: {', '.join(named)}{more}"
    return sentence, {path: made[path].parent.path for path in products}
