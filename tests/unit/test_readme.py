"""The README's tables say what the code does."""

from __future__ import annotations

import re

import pytest

from runner.settings import EXIT_CODES, OPTIONS
from tests.launch import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def table(header: str) -> list[list[str]]:
    """The cells of the table whose first column has this header."""
    _, _, rest = README.partition(f"| {header} |")
    rows = [line.strip("|").split("|") for line in rest.splitlines()[2:]]
    end = next(number for number, cells in enumerate(rows) if len(cells) < 2)
    return [[cell.strip() for cell in cells] for cells in rows[:end]]


def names(cell: str) -> list[str]:
    return re.findall(r"`([A-Z_0-9]+|[a-z]+_proxy)`", cell)


def test_every_setting_is_in_the_table():
    assert [name for row in table("environment") for name in names(row[0])] == [option.variable for option in OPTIONS]


def test_defaults_of_settings():
    defaults = {name: row[1] for row in table("environment") for name in names(row[0])}
    for option in OPTIONS:
        if option.default:
            assert defaults[option.variable] == f"`{option.default}`"


def test_every_exit_code_is_in_the_table():
    documented = [int(code) for row in table("exit code") for code in row[0].split(", ")]
    assert documented == [int(code) for code in re.findall(r"^  (\d+)  ", EXIT_CODES, re.MULTILINE)]


def test_every_build_variable_is_in_the_table():
    variables = re.findall(r'^variable "(\w+)"', (ROOT / "docker-bake.hcl").read_text(), re.MULTILINE)
    assert sorted(name for row in table("variable") for name in names(row[0])) == sorted(variables)


def test_make_targets_that_are_named_exist():
    menu = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z][a-z-]+)\b(?= |`|$)", README, re.MULTILINE)) <= menu


@pytest.mark.parametrize("page", sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("docs/*.md")), ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_lines_of_pages_are_short():
    """Tables have a line per row, and bench.py writes the page of benchmarks."""
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]:
        for number, line in enumerate(page.read_text("utf-8").splitlines(), 1):
            assert len(line) <= 120 or line.startswith("|") or page.stem == "benchmarks", f"{page.name}:{number}"
