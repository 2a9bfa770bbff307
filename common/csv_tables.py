"""Tables that people write: CSV as spreadsheets save it, in any country."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

SEPARATORS = ",;\t"
_COMMA = re.compile(r"[-+]?\d+,\d+")
_THOUSANDS = re.compile(r"[-+]?\d{1,3},\d{3}")


@dataclass(frozen=True)
class Table:
    """Names of columns, without spaces around them and in lower case, and the rows that are not empty."""

    columns: tuple[str, ...]
    lines: tuple[tuple[int, tuple[str, ...]], ...]  # with their numbers in the file, from 1
    separator: str = ","

    def rows(self) -> Iterator[tuple[int, dict[str, str]]]:
        """Rows, by column. A row that ends early has empty cells; of columns with one name, the first counts."""
        places = {name: self.columns.index(name) for name in self.columns}
        for number, line in self.lines:
            yield number, {name: line[at] if at < len(line) else "" for name, at in places.items()}

    def decimal_comma(self, column: str) -> bool:
        """Whether a comma is this column's decimal sign: 5,2 is, 1,234 between commas may be a thousand."""
        if self.separator != ",":
            return True
        texts = [row[column].strip() for _, row in self.rows()]
        return any(_COMMA.fullmatch(text) and not _THOUSANDS.fullmatch(text) for text in texts)


def number(text: str, decimal_comma: bool = False) -> float:
    """NaN if the text is no number."""
    text = text.strip()
    if decimal_comma and _COMMA.match(text):
        text = text.replace(",", ".", 1)
    try:
        return float(text)
    except ValueError:
        return math.nan


def text_of(content: bytes) -> str:
    """Spreadsheets save UTF-8 with or without a mark, UTF-16, or Windows' own code page."""
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return content.decode("utf-16", "replace")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", "replace")


def read(text: str) -> Table:
    """The separator is that of `,`, `;` and tabulators which the first line has most of. Raises csv.Error."""
    text = text.removeprefix("\ufeff")
    first, before = text.partition("\n")[0], 0
    if first.casefold().startswith("sep="):  # what some spreadsheets put before the table
        text = text.partition("\n")[2]
        first, before = text.partition("\n")[0], 1
    separator = max(SEPARATORS, key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    lines = [(reader.line_num + before, tuple(line)) for line in reader]
    columns = tuple(name.strip().casefold() for name in lines[0][1]) if lines else ()
    return Table(columns, tuple(line for line in lines[1:] if any(map(str.strip, line[1]))), separator)
