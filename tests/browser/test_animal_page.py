"""The page of an animal in a real browser: days are flipped through, and what is promised can be seen."""

from __future__ import annotations

from pathlib import Path

import pytest
from selenium.webdriver.common.keys import Keys

from tests.followed import run, table, write_study

DAYS = [f"m1/day{n}/s{n}" for n in range(4)]
SHOWN = "return document.querySelector('.flip figure:not([hidden]) img').getBoundingClientRect().toJSON()"


@pytest.fixture(scope="module")
def animal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of four days."""
    root = tmp_path_factory.mktemp("animal")
    write_study(root / "data", n=len(DAYS))
    ran = run(root)
    assert ran.code == 0, ran.stderr
    return root / "out/animals/m1"


def overlays(browser) -> list[str]:
    """Captions of the days that are visible."""
    return [caption.text for caption in browser.all(".flip figcaption") if caption.is_displayed()]


def test_days_are_flipped_through_by_key_and_button_at_one_place(browser, animal):
    browser.open(animal / "m1.html")
    assert overlays(browser) == DAYS[:1]
    place = browser.run(
        "return document.querySelector('.flip figure:not([hidden]) img').getBoundingClientRect().toJSON()"
    )
    for key, day in ((Keys.RIGHT, 1), (Keys.RIGHT, 2), (Keys.LEFT, 1), (Keys.LEFT, 0), (Keys.LEFT, 3), (Keys.RIGHT, 0)):
        browser.press("body", key)
        assert overlays(browser) == [DAYS[day]]
        assert browser.text(".flip output") == f"{day + 1} of 4"
    browser.find("[data-flip='1']").click()
    assert overlays(browser) == DAYS[1:2]
    browser.press("body", Keys.CONTROL, Keys.RIGHT)
    now = browser.run(
        "return document.querySelector('.flip figure:not([hidden]) img').getBoundingClientRect().toJSON()"
    )
    assert {name: now[name] for name in ("left", "width", "height")} == {
        name: place[name] for name in ("left", "width", "height")
    }
    browser.assert_quiet()


def test_without_scripts_all_days_are_there(browser, animal):
    browser.scripts(False)
    try:
        browser.open(animal / "m1.html")
        assert overlays(browser) == DAYS
    finally:
        browser.scripts(True)


def test_followed_cells_have_a_column_for_each_day(browser, animal):
    browser.open(animal / "m1.html")
    assert [heading.text for heading in browser.all("#cells thead th")] == ["Cell", *DAYS]
    rows = table(animal / "m1-cells.csv")
    presence = {row["animal_cell"]: row for row in table(animal / "m1-presence.csv")}
    shown = browser.all("#cells tbody tr")
    assert len(shown) == min(60, sum(int(row["n_sessions"]) > 1 for row in presence.values()))
    first = shown[0].find_elements("css selector", "th, td")
    number = first[0].text
    for day, place in zip(DAYS, first[1:]):
        its = [row["cell"] for row in rows if row["animal_cell"] == number and row["session"] == day]
        assert bool(its) == bool(int(presence[number][day])) == bool(place.text)
        assert not its or place.text.startswith(its[0])
        pictures = place.find_elements("css selector", "img, svg")
        assert len(pictures) == 2 * len(its) and all(picture.is_displayed() for picture in pictures)


def test_doubtful_pairs_come_first_and_one_number_says_how_well_days_fit(browser, animal):
    browser.open(animal / "m1.html")
    assert "The days match to within 0." in browser.text("header")
    assert browser.run("return [...document.querySelectorAll('main section')].map(each => each.id)")[:2] == [
        "doubtful",
        "days",
    ]
    listed = [float(cell.text) for cell in browser.all("#doubtful tbody td:first-child")]
    expected = [float(row["probability"]) for row in table(animal / "m1-doubtful.csv")][:30]
    assert listed == pytest.approx(expected, abs=0.006)
    alts = [picture.get_attribute("alt") for picture in browser.all("#days figure img")]
    assert alts == ["Presence of each cell by session", "Part of the cells that later sessions have again"]
    loaded = browser.run("return [...document.images].every(each => each.complete && each.naturalWidth > 0)")
    assert loaded
