"""Cells of CSV files, which people open in spreadsheets."""

from __future__ import annotations

import re

_FORMULA = re.compile("['\\s]*[=+\\-@＝＋－＠]|'*[\t\r\n]")  # some spreadsheets skip spaces


def cell(text: str) -> str:
    """The text for a cell of a CSV file: one that a spreadsheet would run as a formula gets `'` before it.

    So does one that begins with `'` and is then such a text: what was there is always had by taking one `'` off.
    Numbers stay as they are. (OWASP, "CSV Injection")
    """
    if not _FORMULA.match(text):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text
