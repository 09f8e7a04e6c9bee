"""The HTML report in a real browser: headless Chromium, spoken to over a pipe."""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest

from edge_xray.classifier import Classifier
from edge_xray.kit_docs import render_page
from edge_xray.operating_point import Estimate
from edge_xray.reports import html
from edge_xray.results import Prediction, SkippedFilm
from edge_xray.results_folder import ResultsFolder
from edge_xray.scan import ScanOptions, scan
from edge_xray.scan_command import run_of

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
PHONE = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
FINGER = 24
"""Pixels of CSS that a target must have on each side (WCAG 2.2, 2.5.8)."""
ANSWER_SECONDS = 60.0
FILM = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' width='192' height='150'/%3E"
MARGIN_MM = 12.0
"""Of a printed report's pages."""

pytestmark = [
    pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine"),
    pytest.mark.skipif(sys.platform == "win32", reason="pipes are handed over by number"),
]


class Chromium:
    """A browser and one page, over the DevTools protocol: NUL-ended JSON on two pipes."""

    def __init__(self, profile: Path) -> None:
        take, self._send = os.pipe()
        self._receive, give = os.pipe()
        # The browser reads file descriptor 3 and writes 4.
        script = f'exec 3<&{take} 4>&{give}; exec "$@"'
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe"]
        self._process = subprocess.Popen(
            ["bash", "-c", script, "bash", BROWSER, *flags, f"--user-data-dir={profile}"],
            pass_fds=(take, give),
            stderr=subprocess.DEVNULL,
        )
        os.close(take)
        os.close(give)
        self._number, self._buffer, self._session = 0, b"", ""
        self.events: list[dict] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters):
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._send, json.dumps(message).encode() + b"\0")
        return self._wait(lambda answer: answer.get("id") == self._number)["result"]

    def _wait(self, wanted):
        deadline = time.monotonic() + ANSWER_SECONDS
        while time.monotonic() < deadline:
            while b"\0" not in self._buffer:
                self._buffer += os.read(self._receive, 1 << 16)
            line, self._buffer = self._buffer.split(b"\0", 1)
            answer = json.loads(line)
            if "method" in answer:
                self.events.append(answer)
            if wanted(answer):
                return answer
        raise TimeoutError

    def open(self, path: Path) -> None:
        self._go("Page.navigate", url=path.resolve().as_uri())

    def back(self) -> None:
        history = self.call("Page.getNavigationHistory")
        before = history["entries"][history["currentIndex"] - 1]["id"]
        self._go("Page.navigateToHistoryEntry", entryId=before)

    def _go(self, method: str, **parameters) -> None:
        self.events.clear()
        self.call(method, **parameters)
        if not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self._wait(lambda answer: answer.get("method") == "Page.loadEventFired")

    def run(self, script: str):
        return self.call("Runtime.evaluate", expression=script, returnByValue=True)["result"].get(
            "value"
        )

    def complaints(self) -> list[str]:
        self.run("0")
        return [
            json.dumps(event["params"])
            for event in self.events
            if event["method"]
            in ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled")
        ]

    def requests(self) -> list[str]:
        return [
            event["params"]["request"]["url"]
            for event in self.events
            if event["method"] == "Network.requestWillBeSent"
        ]

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(timeout=ANSWER_SECONDS)
        os.close(self._send)
        os.close(self._receive)


@pytest.fixture(scope="module")
def report(tmp_path_factory, write_film, tiny_model) -> Path:
    folder = tmp_path_factory.mktemp("report")
    for index in range(2):
        for label in ("normal", "bacterial", "viral"):
            write_film(folder / "films" / f"{label}-{index}.png", label, 930 + index)
    (folder / "films" / "<img src=x onerror=alert(1)>.jpg").write_text("no film")
    output = folder / "out"
    options = ScanOptions(pictures=output / "pictures")
    classifier = Classifier(tiny_model)
    with ResultsFolder(output, classifier, options) as results:
        rows = sorted(scan([folder / "films"], classifier, options), key=lambda row: row.urgency)
        return results.write_reports(rows, run_of(classifier, options), ["html"])[0]


@pytest.fixture(scope="module")
def odd_names(tmp_path_factory, tiny_model) -> Path:
    names = ("IM  1.jpeg", "IM 1.jpeg", unicodedata.normalize("NFD", "José.jpeg"))
    rows = [SkippedFilm(name, "", "damaged", "the file is damaged") for name in names]
    run = run_of(Classifier(tiny_model), ScanOptions())
    ((_, chunks),) = html.render_pages(rows, run, lambda row: b"")
    path = tmp_path_factory.mktemp("odd") / "results.html"
    path.write_text("".join(chunks), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    chromium = Chromium(tmp_path_factory.mktemp("profile"))
    yield chromium
    chromium.close()


@pytest.fixture
def page(browser, report):
    browser.call("Emulation.clearDeviceMetricsOverride")
    browser.call("Emulation.setEmulatedMedia", media="", features=[])
    browser.call("Emulation.setScriptExecutionDisabled", value=False)
    browser.open(report)
    return browser


KINDS = "Array.from(document.querySelectorAll('tbody tr')).filter(r => !r.hidden).map(r => r.dataset.kind)"
FILES = KINDS.replace("dataset.kind", "dataset.file.split('/').pop()")


def test_it_loads_offline_and_without_a_complaint(page):
    assert page.complaints() == []
    assert all(url.startswith(("file:", "data:")) for url in page.requests())
    assert sum(url.startswith("file:") for url in page.requests()) == 1
    loaded = "Array.from(document.images).every(i => { i.loading = 'eager'; return true })"
    assert page.run(loaded)
    assert page.run("document.images.length") == 6
    assert page.run("document.querySelectorAll('tbody tr').length") == 7


def test_the_most_urgent_stands_first_and_clicking_sorts(page):
    kinds = page.run(KINDS)
    assert kinds == ["urgent"] * 2 + ["supportive"] * 2 + ["none"] * 2 + ["skipped"]
    page.run("document.querySelector('#by-file button').click()")
    names = page.run(FILES)
    assert names[1:] == sorted(names[1:])
    assert page.run("document.getElementById('by-file').getAttribute('aria-sort')") == "ascending"
    page.run("document.querySelector('#by-urgency button').click()")
    assert page.run(KINDS) == kinds


def test_typing_and_ticking_filters(page):
    page.run("search.value = 'bacterial-1'; search.dispatchEvent(new Event('input'))")
    assert page.run(FILES) == ["bacterial-1.png"]
    page.run("search.value = ''; search.dispatchEvent(new Event('input'))")
    page.run("document.querySelector('input[value=none]').click()")
    assert "none" not in page.run(KINDS)
    assert page.run("shown.textContent") == "5 of 7 shown"


def test_who_comes_back_to_a_page_finds_the_list_as_its_boxes_say(page, odd_names):
    page.run("search.value = 'bacterial'; search.dispatchEvent(new Event('input'))")
    page.run("order.value = 'file'; order.dispatchEvent(new Event('change'))")
    page.run("document.querySelector('input[value=none]').click()")
    page.open(odd_names)
    page.back()
    assert page.run("search.value + order.value") == "bacterialfile"
    assert page.run(FILES) == ["bacterial-0.png", "bacterial-1.png"]
    assert page.run("shown.textContent") == "2 of 7 shown"
    assert page.run("document.getElementById('by-file').getAttribute('aria-sort')") == "ascending"


def test_names_that_differ_in_blanks_alone_look_different(page, odd_names):
    page.open(odd_names)
    names = page.run("Array.from(document.querySelectorAll('td.file')).map(cell => cell.innerText)")
    assert names[:2] == ["IM  1.jpeg", "IM 1.jpeg"]


def test_a_name_from_a_mac_is_found_as_it_is_typed(page, odd_names):
    page.open(odd_names)
    for typed in ("José", unicodedata.normalize("NFD", "JOSÉ")):
        page.run(f"search.value = '{typed}'; search.dispatchEvent(new Event('input'))")
        assert page.run("shown.textContent") == "1 of 3 shown"


def test_a_paper_says_which_films_it_lacks(page):
    paper = "document.getElementById('on-paper').innerText"
    seen = "document.getElementById('on-paper').getClientRects().length"
    page.call("Emulation.setEmulatedMedia", media="print")
    assert page.run(seen) == 0
    page.run("search.value = 'BACTERIAL'; search.dispatchEvent(new Event('input'))")
    page.run("document.querySelector('input[value=skipped]').click()")
    assert page.run(seen) == 1
    assert page.run(paper).strip() == (
        "On this paper: only 2 of 7 films. "
        "Left out: those marked “Not scored”; those without the words “bacterial”."
    )
    page.call("Emulation.setEmulatedMedia", media="screen")
    assert page.run(seen) == 0
    page.call("Emulation.setEmulatedMedia", media="print")
    page.run("document.querySelector('input[value=skipped]').click()")
    page.run("search.value = ''; search.dispatchEvent(new Event('input'))")
    assert page.run(seen) == 0


def test_a_phone_names_the_probability_and_keeps_the_columns_for_a_screen_reader(page):
    name = "document.querySelector('td.p .name')"
    assert page.run(f"{name}.getClientRects().length") == 0
    page.call("Emulation.setDeviceMetricsOverride", **PHONE)
    assert page.run(f"{name}.getClientRects().length") == 1
    assert page.run(f"{name}.innerText") == "Probability of pneumonia"
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    named = [(node["role"]["value"], node["name"]["value"]) for node in nodes if "name" in node]
    headers = [name.removesuffix(" ▲") for role, name in named if role == "columnheader"]
    assert headers == ["Film and heat map", "File", "What to do", "Probability of pneumonia"]
    roles = [role for role, _ in named]
    assert (roles.count("table"), roles.count("row"), roles.count("cell")) == (1, 8, 28)
    assert page.run("document.querySelector('thead').getBoundingClientRect().width") == 1
    page.run("document.querySelector('#by-file button').focus()")
    assert page.run("document.querySelector('thead').getBoundingClientRect().width") > 100
    assert page.run("document.scrollingElement.scrollWidth") <= PHONE["width"]


def test_it_fits_a_phone(page):
    page.call("Emulation.setDeviceMetricsOverride", **PHONE)
    assert page.run("document.scrollingElement.scrollWidth") <= PHONE["width"]
    assert page.run("document.images[0].getBoundingClientRect().width") > PHONE["width"] / 2


@pytest.mark.parametrize("width", [740, 768, 912, 1024])
def test_on_a_tablet_no_column_covers_another(page, width):
    page.call("Emulation.setDeviceMetricsOverride", **{**PHONE, "width": width})
    cells = "Array.from(document.querySelectorAll('th, tr:not(.paper) td'))"
    wide = page.run(f"{cells}.filter(c => c.scrollWidth > c.clientWidth).map(c => c.innerText)")
    assert wide == []


def test_a_finger_hits_the_page_that_it_points_to(page, tmp_path, tiny_model):
    rows = [SkippedFilm(f"{place}.jpeg", "", "damaged", "damaged") for place in range(1000)]
    run = run_of(Classifier(tiny_model), ScanOptions())
    for name, chunks in html.render_pages(rows, run, lambda row: b""):
        (tmp_path / name).write_text("".join(chunks), encoding="utf-8")
    page.open(tmp_path / "results.html")
    page.call("Emulation.setDeviceMetricsOverride", **PHONE)
    sizes = page.run(
        "Array.from(document.querySelectorAll('nav a')).map(a => a.getBoundingClientRect())"
        ".map(box => Math.min(box.width, box.height))"
    )
    assert len(sizes) == 6 and min(sizes) >= FINGER


def test_on_paper_what_to_do_has_more_room_than_the_name_and_no_text_is_larger(page):
    inside = int((210.0 - 2 * MARGIN_MM) / 25.4 * 96)  # pixels of CSS
    page.call("Emulation.setEmulatedMedia", media="print")
    page.call("Emulation.setDeviceMetricsOverride", **{**PHONE, "width": inside, "mobile": False})
    width = "document.getElementById('by-{}').getBoundingClientRect().width"
    assert page.run(width.format("urgency")) > 1.2 * page.run(width.format("file"))
    size = "parseFloat(getComputedStyle(document.querySelector('{}')).fontSize)"
    assert page.run(size.format("footer")) < page.run(size.format("td"))
    assert page.run(size.format("th")) < page.run(size.format("td"))


@pytest.mark.parametrize("width", [360, 1024])
def test_long_names_of_classes_stay_in_their_column(page, tmp_path, tiny_model, width):
    name = "a disease of the chest that has a long name"
    run = run_of(Classifier(tiny_model), ScanOptions())
    normal, *others = run.metadata.labels
    labels = (normal, *(replace(label, name=f"{name} {label.name}") for label in others))
    run = replace(run, metadata=replace(run.metadata, labels=labels))
    row = Prediction("a.jpeg", "", labels[1].name, "urgent", 0.9, (0.1, 0.8, 0.1))
    ((_, chunks),) = html.render_pages([row], run, lambda row: b"")
    (tmp_path / "results.html").write_text("".join(chunks), encoding="utf-8")
    page.call("Emulation.setDeviceMetricsOverride", **{**PHONE, "width": width})
    page.open(tmp_path / "results.html")
    assert page.run("document.scrollingElement.scrollWidth") <= width
    assert page.run("(e => e.scrollWidth <= e.clientWidth)(document.querySelector('td.p'))")


def test_it_follows_light_and_dark(page):
    grounds = []
    for value in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": value}]
        page.call("Emulation.setEmulatedMedia", features=features)
        grounds.append(page.run("getComputedStyle(document.body).backgroundColor"))
    assert grounds[0] == "rgb(255, 255, 255)"
    assert grounds[1] != grounds[0]


def test_it_reads_without_script(page, report):
    page.call("Emulation.setScriptExecutionDisabled", value=True)
    page.open(report)
    page.call("Emulation.setScriptExecutionDisabled", value=False)
    assert page.run(KINDS)[0] == "urgent"
    assert page.run("document.getElementById('tools').hidden")


def test_it_prints_on_a4(page):
    data = page.call("Page.printToPDF", preferCSSPageSize=True)["data"]
    pdf = base64.b64decode(data)
    assert pdf.startswith(b"%PDF")
    width = page.run("matchMedia('print').matches")
    assert width is False
    assert b"/MediaBox [0 0 594" in pdf or b"/MediaBox [0 0 595" in pdf


def test_a_page_of_a_kit_fits_a_phone_and_is_printed_without_empty_sheets(page, tmp_path):
    words = f"# For the clinic\n\nHash `{'0a' * 32}`.\n\n## Every day\n\n![list](list.svg)\n"
    (tmp_path / "page.html").write_text(render_page(words, "docs/page.md"), encoding="utf-8")
    picture = '<svg xmlns="http://www.w3.org/2000/svg" width="900" height="1200"/>'
    (tmp_path / "list.svg").write_text(picture, encoding="utf-8")
    page.call("Emulation.setDeviceMetricsOverride", **PHONE)
    page.open(tmp_path / "page.html")
    assert page.run("document.scrollingElement.scrollWidth") <= PHONE["width"]
    assert page.run("document.querySelectorAll('main h1, main h2').length") == 2
    page.call("Emulation.clearDeviceMetricsOverride")
    page.call("Emulation.setEmulatedMedia", media="print")
    height = page.run("document.images[0].getBoundingClientRect().height")
    assert 0 < height < 0.4 * (297.0 - 2 * MARGIN_MM) / 25.4 * 96
    assert page.run("getComputedStyle(document.querySelector('h2')).breakAfter") == "avoid"


@pytest.mark.parametrize("name", ["lite0.evaluation", "tiny.evaluation", "comparison"])
def test_what_a_clinical_lead_signs_loses_no_column_on_paper(browser, name):
    (path,) = (Path(__file__).resolve().parents[2] / "models").glob(f"*{name}.html")
    browser.open(path)
    assert "A4 landscape" in path.read_text(encoding="utf-8")
    inside = int((297.0 - 2 * MARGIN_MM) / 25.4 * 96)  # pixels of CSS
    paper = {"width": inside, "height": 700, "deviceScaleFactor": 1, "mobile": False}
    browser.call("Emulation.setEmulatedMedia", media="print")
    browser.call("Emulation.setDeviceMetricsOverride", **paper)
    try:
        # Tables that scroll on a screen are as wide as they are on paper.
        assert browser.run("document.scrollingElement.scrollWidth") <= inside
    finally:
        browser.call("Emulation.setEmulatedMedia", media="")
        browser.call("Emulation.clearDeviceMetricsOverride")


@pytest.fixture(scope="module")
def comparison(tmp_path_factory) -> Path:
    """What `edge-xray compare` and `evaluate` write, with names and intervals as long as they come."""
    pytest.importorskip("jinja2")
    plots = pytest.importorskip("edge_xray_trainer.plots")
    from edge_xray_trainer import pages
    from edge_xray_trainer.tables import Table

    names = ("edge-xray-lite0", "edge-xray-tiny", "edge-xray-baseline", "edge-xray-lite0-float32")
    share = Estimate(0.95, 0.928, 0.966)
    places = dict(
        zip(names, ((size, share) for size in (3.983, 0.5449, 0.3767, 13.48)), strict=True)
    )
    figures = ("AUC", "accuracy", "sensitivity", "specificity", "class accuracy")
    table = Table(
        "Figures",
        ("model", *figures, "AUC bacterial vs viral", "ECE"),
        tuple((name, *[share] * 7) for name in names),
        "What it means.",
    )
    pairs = [{"text": "Alike.", "pictures": [plots.Picture(FILM, "a"), plots.Picture(FILM, "b")]}]
    path = tmp_path_factory.mktemp("comparison") / "page.html"
    path.write_text(
        pages.render_page(
            "audit.html",
            title="Comparison",
            summary="Four models.",
            findings=[],
            tables=[table],
            pictures=[plots.scatter_plot("Size.", places, "size in MB", "accuracy")],
            examples=pairs,
            provenance={"Command": "edge-xray compare"},
        ),
        encoding="utf-8",
    )
    return path


def test_a_wide_table_fits_a_laptop_and_is_reached_by_the_keyboard_on_a_phone(browser, comparison):
    browser.open(comparison)
    laptop = {"width": 1440, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.call("Emulation.setDeviceMetricsOverride", **laptop)
    wide = "(e => e.scrollWidth > e.clientWidth)(document.querySelector('.scroll'))"
    assert browser.run(wide) is False
    browser.call("Emulation.setDeviceMetricsOverride", **PHONE)
    assert browser.run(wide) is True
    assert browser.run("document.querySelector('.scroll').tabIndex") == 0
    nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    named = [(node["role"]["value"], node["name"]["value"]) for node in nodes if "name" in node]
    assert ("region", "Figures") in named and ("rowheader", "edge-xray-tiny") in named
    # A name is not broken at each hyphen.
    lines = (
        "Math.max(...Array.from(document.querySelectorAll('tbody th')).map(e => e.clientHeight))"
    )
    assert browser.run(lines) < 60


def test_films_that_are_alike_stand_side_by_side(browser, comparison):
    browser.open(comparison)
    for width in (1200, 1440, 1920):
        screen = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.call("Emulation.setDeviceMetricsOverride", **screen)
        tops = "Array.from(document.querySelectorAll('.pair img')).map(e => e.getBoundingClientRect().top)"
        assert len(set(browser.run(tops))) == 1


def test_no_heading_ends_a_sheet_and_no_note_is_larger_than_the_text(browser, comparison):
    browser.open(comparison)
    browser.call("Emulation.clearDeviceMetricsOverride")
    browser.call("Emulation.setEmulatedMedia", media="print")
    try:
        style = "getComputedStyle(document.querySelector('{}')).{}"
        assert browser.run(style.format("h2", "breakAfter")) == "avoid"
        size = "parseFloat(" + style.format("{}", "fontSize") + ")"
        assert browser.run(size.format(".note")) < browser.run(size.format("p.quiet"))
        assert browser.run(size.format("footer")) < browser.run(size.format("p.quiet"))
    finally:
        browser.call("Emulation.setEmulatedMedia", media="")


def test_a_plot_of_models_keeps_its_legend_off_the_points_and_its_numbers_apart(
    browser, comparison, tmp_path
):
    page = comparison.read_text(encoding="utf-8")
    picture = page.partition("data:image/svg+xml;base64,")[2].partition('"')[0]
    (tmp_path / "plot.svg").write_bytes(base64.b64decode(picture))
    browser.open(tmp_path / "plot.svg")
    box = "document.querySelector('{}').getBoundingClientRect().{}"
    assert browser.run(box.format("#legend_1", "bottom")) <= browser.run(
        box.format("#patch_2", "top")
    )
    boxes = browser.run(
        "Array.from(document.querySelectorAll('[id^=xtick_]')).map(e => e.querySelector('text'))"
        ".filter(Boolean).map(e => e.getBoundingClientRect()).map(b => [b.left, b.right])"
    )
    assert len(boxes) >= 3
    boxes.sort()
    assert all(left[1] < right[0] for left, right in itertools.pairwise(boxes))
