"""The trace page in a real browser: what it shows, what moves it, that nothing in a trace can act."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dgemma_engine.wire import Candidate, Cell, Choice, Draft, Filled
from dgemma_lsp.trace import trace_page
from tests.editors.chromium import Page, chromium
from tests.editors.installed import find_chromium

if sys.platform == "win32":
    pytest.skip("the browser is driven over pipes that Windows does not hand on", allow_module_level=True)
BROWSER = find_chromium()

FILLER = "<|filler|>"
HOSTILE = [
    "<img src=x onerror=alert(1)>",
    "</script><script>alert(2)</script>",
    "<!--<script>",
    "\u202ereversed\u2028",
    "\0\x1b[31m",
    "\ud800",
    "{{7*7}}${1}",
]


def free(text: str, state: str, entropy: float) -> Cell:
    others = (Choice(f"{text}{n}", 0.1 / n) for n in range(1, 5))
    return Cell(text, state, entropy, (Choice(text, 0.6), *others))


def draft(index: int, texts: str, *cells: Cell, canvas: int = 0) -> Draft:
    return Draft(1, index, 8, 10.0 * index, (*cells, Cell(",\n    tail", "pinned")), (texts,), canvas)


def filled(*texts: str, passes: int = 3) -> Filled:
    candidates = tuple(Candidate((text,), -1.5, passes, "converged") for text in texts)
    ms = {"queue": 1.0, "load": 20.0, "prefill": 8.0, "passes": 30.0, "rank": 4.0, "total": 65.0}
    return Filled(1, candidates, ms, {"prefix": 90, "reused": 60, "canvas": 64, "canvases": 2})


DRAFTS = [
    draft(1, "[", free("zebra", "noise", 3.0), free("]", "noise", 1.2), free(" the", "noise", 2.0)),
    draft(1, ")", free(")", "accepted", 0.1), canvas=1),
    draft(2, "]", free("]", "accepted", 0.05), free("\n    ", "accepted", 0.6), free(FILLER, "noise", 0.9)),
    draft(3, "]\n    ", free("]", "accepted", 0.0), free("\n    ", "accepted", 0.1), free(FILLER, "accepted", 0.1)),
    draft(3, "]\n    ", *(Cell(text, "accepted") for text in ("]", "\n    ", FILLER))),
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    assert BROWSER is not None
    with chromium(BROWSER, tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trace") / "trace.html"
    before, after = "values = [\n    1, [2", ",\n    tail]\n"
    path.write_text(trace_page("values.py:2:10", before, after, DRAFTS, filled("]\n    ", ")"), ["]\n    ", ")"]))
    return path


@pytest.fixture
def page(browser: Page, path: Path) -> Page:
    browser.open(path)
    return browser


def cells(page: Page) -> list[str]:
    return page.run("[...document.querySelectorAll('#cells [data-row]')].map((cell) => cell.textContent)")


def where(page: Page) -> str:
    return text(page, "#where")


def text(page: Page, selector: str) -> str:
    return page.run(f"document.querySelector({selector!r}).textContent")


def until(page: Page, name: str) -> None:
    """Wait until the pass of this name is shown."""
    page.run(
        f"""new Promise((resolve) => {{
            const check = () => where.textContent === {name!r} && resolve(true);
            new MutationObserver(check).observe(where, {{ childList: true }});
            check();
        }})"""
    )


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 1000, 1600])
def test_it_opens_from_a_file_without_a_complaint_or_a_request(browser: Page, path: Path, dark: bool, width: int):
    browser.open(path, width=width, dark=dark)
    assert browser.run("document.title") == "values.py:2:10 · trace of a fill"
    assert browser.problems == []
    assert browser.requests == [path.as_uri()]
    assert browser.run("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("dark", [False, True])
def test_it_is_drawn_in_the_colours_that_are_preferred(browser: Page, path: Path, dark: bool):
    image = pytest.importorskip("matplotlib.image", reason="reads the screenshots; pip install -e '.[dev]'")
    browser.open(path, dark=dark)
    pixels = image.imread(io.BytesIO(browser.screenshot()))[..., :3]
    assert (pixels.mean() < 0.3) if dark else (pixels.mean() > 0.8)
    colours = {tuple(colour) for colour in (255 * pixels.reshape(-1, 3)).round().astype(int)[::7].tolist()}
    assert len(colours) > 100


def test_it_starts_with_the_first_pass_of_the_chosen_canvas_amid_the_document(page: Page):
    assert where(page) == "pass 1 of 3"
    assert cells(page) == ["zebra", "]", "·the"]
    assert page.run("[...code.querySelectorAll('.line')].map((line) => line.textContent)") == [
        "1values = [",
        "2    1, [2zebra]·the,",
        "4    tail]",
    ]


def test_the_address_says_where_to_start(browser: Page, path: Path):
    browser.open(path, hash_="#canvas=1&pass=3&row=2")
    assert where(browser) == "pass 3 of 3"
    assert text(browser, "#cells [aria-selected=true]").startswith("⏎")
    browser.open(path, hash_="#canvas=99&pass=99&row=x")
    assert (where(browser), cells(browser)) == ("pass 1 of 1", [")"])


def test_the_slider_moves_the_canvas(page: Page):
    page.run("slider.focus()")
    page.press("ArrowRight")
    assert where(page) == "pass 2 of 3"
    assert cells(page) == ["]", "⏎\n····", ""]
    page.run("slider.value = 3; slider.dispatchEvent(new Event('input'))")
    assert where(page) == "as offered"


def test_keys_step_through_the_passes_and_never_past_them(page: Page):
    seen = []
    for key in ("ArrowLeft", "ArrowRight", "ArrowRight", "End", "ArrowRight", "ArrowLeft", "Home"):
        page.press(key)
        seen.append(where(page))
    assert seen == [
        "pass 1 of 3", "pass 2 of 3", "pass 3 of 3", "as offered", "as offered", "pass 3 of 3", "pass 1 of 3"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("button", "start", "end"),
    [("forward", 1, 2), ("back", 3, 2), ("first", 3, 1), ("last", 1, 4)],
)
def test_buttons_step_through_the_passes(browser: Page, path: Path, button: str, start: int, end: int):
    browser.open(path, hash_=f"#pass={start}")
    browser.click(f"#{button}")
    assert browser.run("Number(slider.value) + 1") == end


def test_it_plays_to_the_end_and_stops(page: Page):
    page.press(" ")
    assert page.run("play.getAttribute('aria-label')") == "Pause"
    until(page, "as offered")
    assert page.run("play.getAttribute('aria-label')") == "Play"
    page.click("#play")
    until(page, "pass 1 of 3")
    page.press(" ")
    assert page.run("play.getAttribute('aria-label')") == "Play"


def test_pointing_at_a_cell_shows_what_it_might_become(page: Page):
    page.hover("#cells [data-row='2']")
    assert "row 3 of 3" in text(page, "#inspector")
    assert "2.00 nats" in text(page, "#inspector")
    choices = page.run("[...document.querySelectorAll('.choices li')].map((one) => one.getAttribute('aria-label'))")
    assert choices == [" the, 60 %", " the1, 10 %", " the2, 5.0 %", " the3, 3.3 %", " the4, 2.5 %"]
    widths = page.run("[...document.querySelectorAll('.choices i')].map((bar) => bar.getBoundingClientRect().width)")
    assert sorted(widths, reverse=True) == widths
    assert widths[0] > 5 * widths[1]
    page.hover("h1")
    assert "row 1 of 3" in text(page, "#inspector")


def test_the_focus_moves_over_rows_and_stays_on_one_from_pass_to_pass(page: Page):
    page.run("document.querySelector('#cells [aria-selected=true]').focus()")
    page.press("ArrowDown")
    assert "row 2 of 3" in text(page, "#inspector")
    page.press("ArrowRight")
    assert where(page) == "pass 2 of 3"
    assert page.run("document.activeElement.dataset.row") == "1"
    assert page.run("document.activeElement.getAttribute('aria-label')") == (
        "row 2: line end, space, space, space, space, accepted, 0.60 nats"
    )
    page.press("ArrowUp")
    assert page.run("document.activeElement.dataset.row") == "0"


def test_tabs_show_every_canvas_and_which_was_chosen(page: Page):
    tabs = page.run("[...document.querySelectorAll('[role=tab]')].map((tab) => tab.innerText.split('\\n').join('|'))")
    assert tabs == ["3 rows chosen|]⏎····|3 passes", "1 row|)|1 pass"]
    page.click("#tab-1")
    assert cells(page) == [")"]
    page.press("ArrowLeft")
    assert page.run("document.activeElement.id") == "tab-0"
    assert cells(page) == ["zebra", "]", "·the"]


def test_the_map_tells_what_it_is_pointed_at_and_a_click_goes_there(page: Page):
    left, top, step, height = page.run(
        "(() => { const box = heatmap.getBoundingClientRect();"
        " return [box.x + 34, box.y + 20, (box.width - 36) / 3, (box.height - 22) / 3]; })()"
    )
    page.move(left + 1.5 * step, top + 2.5 * height)
    assert text(page, "#pointed") == "row 2, pass 3line end, space, space, space, space, accepted0.10 nats"
    page.click_at(left + 1.5 * step, top + 1.5 * height)
    assert where(page) == "pass 2 of 3"
    assert "row 2 of 3" in text(page, "#inspector")


def test_a_hole_longer_than_a_canvas_goes_on_after_what_is_written(browser: Page, tmp_path: Path):
    drafts = [
        draft(1, "one", free("one", "accepted", 0.1)),
        draft(2, "one", free("one", "accepted", 0.1)),
        draft(1, "one\ntwo", free("two", "noise", 1.0), canvas=1),
        draft(1, "one\ntwo", Cell("two", "accepted"), canvas=1),
    ]
    path = tmp_path / "trace.html"
    path.write_text(trace_page("long", "x = ", ",\n    tail", drafts, filled("one\ntwo"), ["one\ntwo"]))
    browser.open(path)
    lines = browser.run("[...code.querySelectorAll('.line')].map((line) => line.textContent)")
    assert lines == ["1x = one", "2two,", "3    tail"]
    tabs = browser.run("[...document.querySelectorAll('[role=tab] .rows')].map((tab) => tab.textContent)")
    assert tabs == ["1 row chosen", "1 row chosen"]


def test_a_fill_without_drafts_shows_its_figures(browser: Page, tmp_path: Path):
    path = tmp_path / "trace.html"
    path.write_text(trace_page("none", "a", "b", [], filled("x"), ["x"]))
    browser.open(path)
    assert browser.problems == []
    assert "no drafts" in text(browser, "#stage")
    assert text(browser, ".candidates .text") == "x"


def test_figures_are_shown(page: Page):
    assert text(page, "#summary") == "3 passes, settled65 ms2 canvases tried2 candidates"
    assert page.run("[...document.querySelectorAll('#time .stages > *')].map((part) => part.textContent)") == [
        *("waiting", "1.0 ms", "loading", "20 ms", "prefill", "8.0 ms", "passes", "30 ms", "ranking", "4.0 ms"),
        *("rest", "2.0 ms", "total", "65 ms"),
    ]
    assert page.run("[...document.querySelectorAll('.columns-chart b')].map((bar) => bar.textContent)") == [
        "10", "10", "10"
    ]  # fmt: skip
    assert text(page, "#tokens").startswith("Tokensprefix90from the cache60encoded30")
    assert page.run("[...document.querySelectorAll('.candidates .text')].map((one) => one.textContent)") == [
        "]⏎\n····",
        ")",
    ]


def test_every_control_has_a_name(page: Page):
    wanted = {"button", "slider", "tab", "tablist", "tabpanel", "listbox", "option", "img", "image", "region"}
    named = [(role, name) for role, name in page.names() if role in wanted]
    assert [pair for pair in named if not pair[1]] == []
    assert {role for role, _ in named} >= {"button", "slider", "tab", "listbox", "option"}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    drafts = [
        draft(1, "".join(HOSTILE), *(free(one, state, 1.0) for one in HOSTILE)) for state in ("noise", "accepted")
    ]
    everything = "\n".join(HOSTILE)
    answer = filled(*HOSTILE)
    path = tmp_path_factory.mktemp("hostile") / "trace.html"
    path.write_text(trace_page(everything, everything, everything, drafts, answer, HOSTILE), encoding="utf-8")
    return path


def test_hostile_text_stays_text(browser: Page, hostile: Path):
    browser.open(hostile)
    browser.press("End")
    browser.hover("#cells [data-row='1']")
    assert browser.problems == []
    assert browser.requests == [hostile.as_uri()]
    assert browser.run("document.querySelectorAll('script').length") == 2
    assert browser.run("document.querySelectorAll('img, iframe, object, [onerror]').length") == 0
    shown = [one.replace(" ", "·") for one in HOSTILE[:3]]
    assert cells(browser)[:3] == shown
    assert cells(browser)[3:6] == ["U+202EreversedU+2028", "U+0000U+001B[31m", "U+D800"]
    assert HOSTILE[0] in text(browser, "#code")
    assert HOSTILE[0] in text(browser, "h1")
    assert text(browser, ".choices .token") == shown[1]


def test_the_policy_stops_what_a_mistake_would_let_through(page: Page):
    blocked = page.run(
        """new Promise((resolve) => {
            document.addEventListener("securitypolicyviolation", (event) => resolve(event.effectiveDirective));
            new Image().src = "http://127.0.0.1:9/";
        })"""
    )
    assert blocked == "img-src"
    assert "TrustedHTML" in page.run("try { code.innerHTML = '<b>'; 'done' } catch (error) { error.message }")


def test_a_long_trace_works_and_says_what_was_left_out(browser: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("dgemma_lsp.trace.CHOICE_CELLS", 10_000)
    drafts = [
        draft(index, "x", *(free(f" t{index % 7}{row}", "noise", (index + row) % 50 / 10) for row in range(50)))
        for index in range(1, 1001)
    ]
    path = tmp_path / "trace.html"
    path.write_text(trace_page("long", "before\n" * 90, "\nafter" * 90, drafts, filled("x", passes=1000), ["x"]))
    browser.open(path, hash_="#pass=500")
    assert where(browser) == "pass 500 of 1000"
    assert browser.run("code.querySelectorAll('.cut').length") == 2
    assert "likeliest tokens of one pass in 5" in text(browser, "#notes")
    assert "those of one pass in 5" in text(browser, "#inspector")
    browser.press("ArrowRight")
    assert browser.run("document.querySelectorAll('.choices li').length") == 5
    browser.press("End")
    assert where(browser) == "pass 1000 of 1000"
    assert browser.run("scroller.scrollTop > 0")
    assert browser.problems == []
