"""The page in a headless Chromium: what is seen, and what a click, a tap and the keyboard show."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from elusive.config.run import ReportSettings
from elusive.reporting import plots, write_report
from elusive.reporting.comparison import write_comparison
from tests.reporting.browser import Page, chromium, opened
from tests.reporting.runs import ARMS, make_run

CHROMIUM = chromium()
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
SHOWN = (*ARMS, "key-dropout-contrast", "insert-contrast+reorder")
AXE = "node_modules/axe-core/axe.min.js"
"""Where `npm install axe-core` puts it, in this checkout or with --global."""


def axe() -> Path | None:
    roots = (Path(__file__).parents[2], Path("/usr/lib"), Path("/usr/local/lib"))
    return next((path for root in roots if (path := root / AXE).exists()), None)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run, with markup in a document, a question and the title."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(plots, "draw", lambda results, longest, losses: {})  # drawing takes most of the time
        title = "People <img src=x onerror=window.hacked=1>"
        run = make_run(tmp_path_factory.mktemp("run"), evil=True, each=True, arms=SHOWN, title=title)
        return write_report(run, ReportSettings())


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    assert CHROMIUM is not None
    with opened(CHROMIUM) as tab:
        yield tab


def shaded(browser: Page, row: int, token: int) -> float:
    """How strongly a token is coloured."""
    return float(
        browser.value(
            f"document.querySelectorAll('#rows .tokens')[{row}].querySelector('[data-token=\"{token}\"]')"
            ".style.getPropertyValue('--k')"
        )
    )


def test_the_first_screen_says_what_came_out(browser: Page, page: Path) -> None:
    browser.open(page)
    (headline,) = browser.visible(".headline")
    assert headline.startswith("contrast-cues answers .611 of the questions, plain .417 (+.194 [")
    bottom = browser.value("document.querySelector('.advice').getBoundingClientRect().bottom")
    assert bottom < 900
    assert browser.visible("h1") == ["People <img src=x onerror=window.hacked=1>"]
    assert browser.value("window.hacked") is None
    assert browser.refused == []


def test_a_click_on_a_token_shows_what_its_cue_attends_to(browser: Page, page: Path) -> None:
    browser.open(page)
    assert browser.visible("#first-documents") == []
    assert browser.visible("#view > h3") == ["person-0"]
    assert browser.visible("#rows .arm") == [
        "large model attends", "small model attends", "large minus small", *ARMS[1:],
        "key-dropout-contrast", "insert-contrast+reorder",
    ]  # fmt: skip
    browser.click("#rows .tokens [data-token='16']")  # Town0, in the sentence of the city
    assert browser.visible("#view .cues [aria-pressed=true]") == ["city: She spent her early years in Town0, Norway"]
    # From there the large model attends to the name most, and the small one to the token before; nothing lies behind.
    assert shaded(browser, 0, 1) == 1
    assert shaded(browser, 1, 15) == 1
    assert shaded(browser, 0, 1) > shaded(browser, 0, 2)
    assert shaded(browser, 0, 17) == 0
    shown = browser.visible("#token")[0]
    assert "Token \u201cTown0\u201d, 17 of " in shown
    assert "of the city" in shown
    assert [cell for cell in browser.visible("#token td.left") if "with" in cell] == [
        "stays with .700", *["stays with .683"] * 2, "seen with .683",
    ]  # fmt: skip
    browser.click("#rows .tokens [data-token='0']")
    written = "Part of a clue that is written by insert-contrast+reorder (into 2 sentences)."
    assert written in browser.visible("#token")[0]


def test_clues_stand_in_front_of_their_sentences(browser: Page, page: Path) -> None:
    for script, place in ((True, "#rows .tokens"), (False, ".document .tokens")):
        browser.open(page, script=script)
        text = next(one for one in browser.visible(place) if one.count("Ada0 Quill") == 3)
        assert "Ada0 Quill She spent" in text.replace("\u00a0", " ")


def test_tokens_are_reached_by_keyboard(browser: Page, page: Path) -> None:
    browser.open(page)
    browser.value("document.querySelector('#rows .tokens [tabindex=\"0\"]').focus()")
    browser.press("ArrowRight", "ArrowRight", "ArrowDown", "Enter")
    assert "Token \u201cwas\u201d, 3 of " in browser.visible("#token")[0]
    assert browser.value("document.activeElement.textContent") == "was"
    rows = "[...document.querySelectorAll('#rows .tokens')]"
    assert browser.value(f"{rows}.indexOf(document.activeElement.parentNode)") == 1
    stops = browser.value(f"{rows}.map((row) => row.querySelectorAll('[tabindex=\"0\"]').length)")
    assert set(stops) == {1}  # a row is one stop of the tabulator


def test_documents_are_searched_and_sorted(browser: Page, page: Path) -> None:
    browser.open(page)
    browser.choose("#search", "town3")
    assert browser.visible("#found") == ["1 document"]
    browser.click("#list button")
    assert browser.visible("#view > h3") == ["person-3"]
    browser.choose("#search", "")
    browser.choose("#order", "answers")
    # About the company random-matched knows 6 of 12 people, attention 5, contrast-cues and the two others 7.
    first = browser.visible("#list button")[0]
    assert first.startswith(("person-5", "person-0", "person-1", "person-6"))
    assert "pairs of arms differ" in first


def test_answers_are_filtered_by_who_is_right_and_by_field(browser: Page, page: Path) -> None:
    browser.open(page)
    browser.choose("#right", "contrast-cues")
    browser.choose("#wrong", "random-matched")
    assert browser.visible("#asked-found") == ["1 question"]  # company of person 6 alone
    (card,) = browser.visible("#cards .card")
    assert "What is the company of Ada6?" in card
    assert "F1 .250" in card
    browser.choose("#field", "city")
    assert browser.visible("#cards .card") == []
    browser.choose("#right", "")
    browser.choose("#wrong", "")
    browser.choose("#field", "")
    assert len(browser.visible("#cards .card")) == 20
    browser.click("#more")
    assert len(browser.visible("#cards .card")) == 36
    assert browser.visible("#more") == []


@pytest.mark.parametrize("dark", [False, True])
def test_the_narrow_page_fits_and_takes_taps(browser: Page, page: Path, dark: bool) -> None:
    browser.open(page, width=390, dark=dark)
    assert browser.value("document.documentElement.scrollWidth") == 390
    browser.click("#rows .tokens [data-token='16']")
    assert "Token \u201cTown0\u201d" in browser.visible("#token")[0]
    ends = browser.value("[...document.querySelectorAll('.card dd')].map((one) => one.getBoundingClientRect().right)")
    assert max(ends) <= 390
    paper = browser.value("getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(19, 20, 22)" if dark else "rgb(253, 253, 252)")


def test_all_that_matters_is_there_without_the_script(browser: Page, page: Path) -> None:
    browser.open(page, script=False)
    assert browser.visible("#browser, #asked, #cards, #more") == []
    assert len(browser.visible(".document")) == 3
    assert len(browser.visible("#first-answers .card")) == 9
    assert "seen with 0." in browser.value("document.querySelector('#first-documents').innerHTML")


@pytest.mark.skipif(axe() is None, reason="axe-core is not installed: npm install axe-core, here or with --global")
def test_axe_finds_nothing(browser: Page, page: Path) -> None:
    found = axe()
    assert found is not None
    run = page.parents[1]
    both = write_comparison([run, make_run(page.parent / "other")], page.parent / "both.html")
    for one, width, dark in ((page, 1280, False), (page, 390, True), (both, 1280, True), (both, 390, False)):
        browser.open(one, width=width, dark=dark)
        if one == page:
            browser.click("#rows .tokens [data-token='16']")
        browser.value(found.read_text(encoding="utf-8") + ";0")
        described = "[one.id, ...one.nodes.map((node) => node.html + node.failureSummary)]"
        assert browser.value(f"axe.run().then((found) => found.violations.map((one) => {described}))") == []
