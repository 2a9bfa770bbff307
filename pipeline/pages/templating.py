"""Templates, styles and scripts of pages, and the policy that lets a page use its own and nothing else."""

from __future__ import annotations

import functools
import hashlib
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import jinja2

from common.text import duration, printable

HERE = Path(__file__).parent

# When a run knows all of its pages, it writes links and comparisons between these marks. The room is fixed, so that the
# file's size, by which results count as complete, stays.
NEIGHBOURS, OTHERS = "neighbours", "others"
BYTES = {NEIGHBOURS: 3000, OTHERS: 9000}


@functools.cache
def environment() -> jinja2.Environment:
    """Everything is escaped: names and metadata are foreign text."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"link": link, "address": address, "printable": printable, "duration": duration}
    return made


def room(mark: str) -> str:
    """An empty one, between its marks."""
    return f"<!--{mark}-->{' ' * BYTES[mark]}<!--/{mark}-->"


@functools.cache
def asset(name: str) -> str:
    """A style or a script."""
    return (HERE / name).read_text(encoding="utf-8").strip()


def link(name: str) -> str:
    """A relative address: to a file beside the page, or below it."""
    return f"./{address(name)}"


def address(path: str) -> str:
    """A path as part of an address, its bytes as they are on disk."""
    return quote(path.encode("utf-8", "surrogateescape"))


def policy(styles: Sequence[str], scripts: Sequence[str], media: str = "img-src data:") -> str:
    """The Content-Security-Policy: a page's own styles and scripts, by their digests, and `media`."""
    return (
        f"default-src 'none'; style-src {_digests(styles)}; script-src {_digests(scripts)}; {media}; "
        "base-uri 'none'; form-action 'none'"
    )


def _digests(texts: Sequence[str]) -> str:
    digests = [f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in texts]
    return " ".join(digests) if digests else "'none'"
