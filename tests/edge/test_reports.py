from __future__ import annotations

import base64
import csv as csv_module
import hashlib
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import jsonschema
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edge_xray.calibration import ScoreCalibration
from edge_xray.input_spec import InputSpec
from edge_xray.metadata import DISCLAIMER, GoldenVectors, IntendedUse, Label, ModelMetadata
from edge_xray.operating_point import Estimate, OperatingPoint
from edge_xray.reports import csv, html, jsonl, model_text, words
from edge_xray.reports.console import print_table
from edge_xray.results import Prediction, Run, SkippedFilm, from_record

METADATA = ModelMetadata(
    name="edge-xray-test",
    version="2",
    labels=(
        Label("normal", "none", "Nothing found."),
        Label("bacterial", "urgent", "See a clinician now."),
        Label("viral", "supportive", "Supportive care."),
    ),
    input=InputSpec(32, 32),
    operating_points=(
        OperatingPoint(
            "balanced",
            0.4,
            0.3,
            0.5,
            "by hand",
            "made-up films",
            100,
            Estimate(0.98, 0.95, 0.99),
            Estimate(0.9, 0.85, 0.94),
        ),
    ),
    intended_use=IntendedUse("For tests.", "Anything else.", ("CHEST",), ("DX",), ("AP",), 1, 5),
)
RUN = Run(METADATA, "a" * 64, METADATA.operating_point(), "made 1.0", "0.1.0", "2026-01-02 03:04")
SHA = "b" * 64
SCORED = Prediction(
    "films/a.jpg", SHA, "bacterial", "urgent", 0.93, (0.07, 0.9, 0.03), (), "JPEG", 900, 800
)
REVIEW = Prediction("b.jpg", SHA, "viral", "review", 0.45, (0.55, 0.1, 0.35), ("odd",), "PNG", 9, 8)
SKIPPED = SkippedFilm("c.jpg", "", "truncated", "the file ends before the film does")
ROWS = [SCORED, REVIEW, SKIPPED]

anything = st.text(max_size=40)
rows = st.one_of(
    st.builds(
        Prediction,
        path=anything,
        sha256=st.just(SHA),
        label=st.sampled_from(METADATA.label_names),
        triage=st.sampled_from(["urgent", "review", "supportive", "none"]),
        p_finding=st.floats(0, 1),
        probabilities=st.tuples(*[st.floats(0, 1)] * 3),
        warnings=st.lists(anything, max_size=2).map(tuple),
        format=st.sampled_from(["JPEG", "PNG", "TIFF", "BMP", "DICOM"]),
        width=st.integers(1, 9999),
        height=st.integers(1, 9999),
        patient=anything,
        heatmap=anything,
    ),
    st.builds(
        SkippedFilm,
        path=anything,
        sha256=st.sampled_from(["", SHA]),
        reason=st.sampled_from(["empty_file", "damaged"]),
        message=anything,
        patient=anything,
    ),
)


@given(rows)
def test_the_journal_gives_back_what_it_was_given(row):
    assert from_record(json.loads(json.dumps(row.to_record()))) == row


def test_of_many_classes_a_film_has_the_most_probable_beside_it():
    names = [f"kind{place}" for place in range(8)]
    labels = tuple(Label(name, "none" if name == "kind0" else "urgent", "") for name in names)
    row = replace(SCORED, label="kind6", probabilities=(0.1, 0, 0.06, 0, 0.07, 0, 0.7, 0.07))
    run = replace(RUN, metadata=replace(METADATA, labels=labels))
    ((_, chunks),) = html.render_pages([row], run, lambda row: b"")
    shown = re.findall("<small>(.*?)</small>", "".join(chunks))[1:]
    assert shown == [
        "kind6 70 %",
        "kind0 10 %",
        "kind4 7 %",
        "kind7 7 %",
        "kind2 6 %",
        "3 others &lt;1 %",
    ]
    row = replace(SCORED, label="kind1", probabilities=(0.1, 0.5, 0.1, 0.1, 0.1, 0.1))
    run = replace(RUN, metadata=replace(METADATA, labels=labels[:6]))
    ((_, chunks),) = html.render_pages([row], run, lambda row: b"")
    shown = re.findall("<small>(.*?)</small>", "".join(chunks))[1:]
    assert shown == [f"{name} {'50' if name == 'kind1' else '10'} %" for name in names[:6]]
    ((_, chunks),) = html.render_pages([SCORED], RUN, lambda row: b"")
    shown = re.findall("<small>(.*?)</small>", "".join(chunks))[1:]
    assert shown == ["normal 7 %", "bacterial 90 %", "viral 3 %"]


def test_no_heat_map_is_named_where_the_model_gives_none():
    run = replace(RUN, metadata=replace(METADATA, evidence_map=False))
    ((_, chunks),) = html.render_pages([SCORED], run, lambda row: b"JPEG")
    text = "".join(chunks)
    assert "heat map" not in text and 'alt="Film of films/a.jpg"' in text
    ((_, chunks),) = html.render_pages([SCORED], RUN, lambda row: b"JPEG")
    text = "".join(chunks)
    assert 'id="by-film">Film and heat map<' in text
    assert 'alt="Film and heat map of films/a.jpg"' in text


def test_the_csv_contract():
    first = "path,sha256,status,reason,label,triage,p_pneumonia,p_normal,p_bacterial,p_viral"
    text = "".join(csv.render(ROWS, RUN))
    assert text.startswith(f"{first},model,operating_point,")
    table = list(csv_module.DictReader(io.StringIO(text)))
    assert len(table) == 3
    assert table[0]["p_pneumonia"] == "0.930000"
    assert table[0]["model"] == "edge-xray-test 2"
    assert (table[0]["status"], table[0]["label"], table[0]["triage"]) == (
        "scored",
        "bacterial",
        "urgent",
    )
    assert (table[2]["status"], table[2]["reason"]) == ("not_scored", "truncated")
    assert table[2]["p_pneumonia"] == table[2]["label"] == table[2]["triage"] == ""
    assert all(row["operating_point"] == "balanced" for row in table)


def test_a_class_named_like_the_finding_has_no_second_column():
    two = ModelMetadata(
        "two",
        "1",
        (Label("tumor", "urgent", "Now."), Label("healthy", "none", "Nothing.")),
        InputSpec(32, 32),
        (OperatingPoint("x", 0.5, 0.5, 0.5),),
        finding="tumor",
    )
    assert csv.columns(two)[6:8] == ["p_tumor", "p_healthy"]
    run = Run(two, "a" * 64, two.operating_point(), "", "", "")
    row = Prediction("a", SHA, "tumor", "urgent", 0.8, (0.8, 0.2))
    (line,) = csv_module.DictReader(io.StringIO("".join(csv.render([row], run))))
    assert (line["p_tumor"], line["p_healthy"]) == ("0.800000", "0.200000")


@given(st.lists(rows, max_size=4))
@example([SkippedFilm("a.dcm", SHA, "not_an_image", "", patient="a\0b")])
def test_no_csv_cell_starts_a_formula_and_every_line_has_all_cells(many):
    text = "".join(csv.render(many, RUN))
    # Python 3.10 writes none, and many a reader ends there.
    assert "\0" not in text
    lines = list(csv_module.reader(io.StringIO(text, newline="")))
    assert {len(line) for line in lines} == {len(csv.columns(METADATA))}
    assert len(lines) == len(many) + 1
    assert not any(cell.startswith(tuple("=+-@\t\r\n")) for line in lines for cell in line)


@given(st.lists(st.text("ab;|\t \"'=+-@,\n"), min_size=3, max_size=3))
@example(["a;=1+1;x.jpeg", "", ""])
@example(["a.jpeg", 'no film; "=1+1"', "|  @x"])
def test_no_part_of_a_cell_starts_a_formula_where_a_spreadsheet_splits_otherwise(texts):
    path, message, patient = texts
    row = SkippedFilm(path, SHA, "not_an_image", message, patient=patient)
    text = "".join(csv.render([row], RUN))
    for delimiter in ";|\t":
        parts = text.splitlines()[1].split(delimiter)
        (cells,) = list(csv_module.reader([text.splitlines()[1]], delimiter=delimiter))
        assert not any(part.lstrip().startswith(tuple("=+-@")) for part in [*parts, *cells])


@pytest.fixture(scope="module")
def schema():
    schema = json.loads(jsonl.SCHEMA_FILE.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@given(rows)
def test_every_json_line_obeys_the_published_schema(schema, row):
    (line,) = jsonl.render([row], RUN)
    assert line.endswith("\n")
    schema.validate(json.loads(line))


def test_the_schema_is_strict_where_it_matters(schema):
    good = jsonl.to_object(SCORED, RUN)
    for change in (
        {"p_finding": 1.2},
        {"triage": "soon"},
        {"sha256": "x"},
        {"status": "not_scored"},
    ):
        assert not schema.is_valid({**good, **change})
    assert not schema.is_valid({key: good[key] for key in good if key != "model_sha256"})


class _Page(HTMLParser):
    """Collects what a page holds; balanced tags are checked by the browser test."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.script = ""
        self.style = ""
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        if self._inside == "script":
            self.script += data
        elif self._inside == "style":
            self.style += data
        else:
            self.text += data


def _page(many, **changes) -> _Page:
    pages = list(
        html.render_pages(
            many, RUN, lambda row: b"\xff\xd8picture\xff\xd9" if row.pictured else b""
        )
    )
    return _Page("".join(pages[0][1]))


def test_the_report_loads_nothing_and_allows_only_itself():
    page = _page(
        [*ROWS, Prediction("d", SHA, "normal", "none", 0.1, (0.9, 0.05, 0.05), pictured=True)]
    )
    policy = next(
        attributes["content"]
        for tag, attributes in page.tags
        if attributes.get("http-equiv") == "Content-Security-Policy"
    )
    for kind, content in (("style", page.style), ("script", page.script)):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for tag, attributes in page.tags:
        assert not {"style", "onclick", "onload", "onerror"} & set(attributes)
        assert tag not in ("iframe", "object", "embed", "form", "base")
        for link in (attributes.get("src"), attributes.get("href")):
            assert link is None or link.startswith("data:image/jpeg;base64,")
    assert not re.search(r"url\(|@import", page.style)


def test_the_report_says_what_a_reader_needs_once():
    page = _page(ROWS)
    assert page.text.count(DISCLAIMER) == page.text.count(words.NOT_SCORED_NOTE) == 1
    for words_ in (
        "Urgent",
        "See a clinician now.",
        "93 %",
        "very high",
        "Odd.",
        words.REVIEW_ADVICE,
    ):
        assert words_ in page.text
    assert "The file ends before the film does." in page.text
    assert "sensitivity 98.0 % (95.0–99.0)" in page.text
    assert "a" * 64 in page.text


def test_that_not_scored_is_not_without_a_sign_is_said_only_where_there_are_such_films(monkeypatch):
    assert words.NOT_SCORED_NOTE not in _page([SCORED, REVIEW]).text
    said = [" ".join(_table("60", monkeypatch, many).split()) for many in (ROWS, [SCORED])]
    assert [text.count(words.NOT_SCORED_NOTE) for text in said] == [1, 0]


def test_the_paper_of_one_page_of_several_says_that_it_lacks_films():
    (paper,) = (tags for tag, tags in _page(ROWS).tags if tags.get("id") == "on-paper")
    assert "hidden" in paper
    page = _page([SCORED] * (html.PAGE_FILMS + 1))
    (paper,) = (tags for tag, tags in page.tags if tags.get("id") == "on-paper")
    assert "hidden" not in paper
    assert "On this paper: only 250 of 251 films · page 1 of 2." in page.text


@given(rows)
def test_nothing_from_a_film_becomes_markup(row):
    plain = _page([SCORED])
    assert len(_page([row]).tags) - len(plain.tags) <= 12
    evil = SkippedFilm('"><script>alert(1)</script>.jpg', "", "damaged", "<img src=x onerror=y>")
    page = _page([evil])
    assert sum(tag == "script" for tag, _ in page.tags) == 1
    assert not any(tag == "img" for tag, _ in page.tags)
    assert "<script>alert(1)</script>.jpg" in page.text


def test_many_films_are_split_over_pages_with_the_most_urgent_first():
    many = [SkippedFilm(f"{i:05}.jpg", "", "damaged", "x") for i in range(10_000)]
    names, biggest = [], 0
    for name, chunks in html.render_pages([SCORED, *many], RUN, lambda row: b""):
        text = "".join(chunks)
        names.append(name)
        biggest = max(biggest, len(text))
        if name == html.FIRST_PAGE:
            assert "films/a.jpg" in text
            assert 'href="results-2.html"' in text
    assert len(names) == len(set(names)) == -(-10_001 // html.PAGE_FILMS)
    assert biggest < 500_000


def test_a_report_of_no_films_is_a_page():
    ((name, chunks),) = html.render_pages([], RUN, lambda row: b"")
    assert name == "results.html"
    assert "0 films" in "".join(chunks)


def _table(width: str | None, monkeypatch, many=ROWS, limit=None) -> str:
    monkeypatch.setenv("COLUMNS", width) if width else monkeypatch.delenv("COLUMNS", raising=False)
    stream = io.StringIO()
    print_table(many, html.tally_of(many), RUN, stream, limit)
    return stream.getvalue()


@pytest.mark.parametrize("width", ["60", "100", None])
def test_the_table_fits_its_width_and_keeps_every_word(width, monkeypatch):
    text = _table(width, monkeypatch)
    assert max(map(len, text.splitlines())) <= int(width or 120)
    for word in ("a.jpg", "Urgent", "93 %", "Odd.", "Not scored"):
        assert word in text
    assert text.count(DISCLAIMER) == 1
    assert "\x1b" not in text
    assert "3 films: 1 urgent, 1 to review, 1 not scored." in text


def test_the_column_of_a_finding_keeps_its_capitals():
    run, stream = (
        replace(RUN, metadata=replace(METADATA, finding="signs of COVID-19")),
        io.StringIO(),
    )
    print_table(ROWS, html.tally_of(ROWS), run, stream)
    assert "Signs of COVID-19" in " ".join(stream.getvalue().split())


@pytest.mark.parametrize("width", ["0", "1"])
def test_a_width_that_has_room_for_nothing_is_not_believed(width, monkeypatch):
    assert _table(width, monkeypatch) == _table(None, monkeypatch)


def test_a_long_table_says_how_many_it_leaves_out(monkeypatch):
    many = [SkippedFilm(f"{i}.jpg", "", "damaged", "x") for i in range(30)]
    text = _table("80", monkeypatch, many, limit=10)
    assert "… and 20 more" in text
    assert "[red]" in _table("80", monkeypatch, [SkippedFilm("[red]x", "", "damaged", "[/]")])


def test_probabilities_in_words():
    assert [words.percent(p) for p in (0.0, 0.004, 0.005, 0.0051, 0.5)] == [
        *("<1 %", "<1 %", "<1 %", "1 %", "50 %")
    ]
    assert [words.percent(p) for p in (0.994, 0.9949, 0.995, 0.996, 1.0)] == [
        *("99 %", "99 %", ">99 %", ">99 %", ">99 %")
    ]
    said = [words.probability_words(p) for p in (0.0, 0.05, 0.3, 0.6, 0.9)]
    assert said == ["very low", "low", "moderate", "high", "very high"]


def test_the_operating_point_in_one_line():
    line = "balanced: a finding from probability 0.400"
    review = ", review from 0.300 to 0.500"
    fitted = (
        "; where it was fitted (on other films it can do less well): sensitivity 98.0 % (95.0–99.0), "
        "specificity 90.0 % (85.0–94.0) on 100 films"
    )
    for changes, said in (
        ({}, f"{line}{review}{fitted} (made-up films)"),
        ({"measured_on": ""}, f"{line}{review}{fitted}"),
        ({"review_low": 0.4, "review_high": 0.4}, f"{line}{fitted} (made-up films)"),
        ({"sensitivity": None}, line + review),
        ({"specificity": None}, line + review),
    ):
        run = replace(RUN, point=replace(RUN.point, **changes))
        assert words.operating_point(run) == said


def test_a_film_in_one_line():
    assert [words.row_line(row, RUN) for row in ROWS] == [
        "Urgent (93 %): films/a.jpg: See a clinician now.",
        "To review (45 %): b.jpg: Not sure: a clinician must read this film soon. [odd]",
        "Not scored: c.jpg: The file ends before the film does.",
    ]


def test_what_a_model_says_of_itself():
    text = "".join(model_text.render(METADATA, "c" * 64, "m.tflite", 4_000_000))
    for words_ in (
        "edge-xray-test 2",
        "4.00 MB",
        "For tests.",
        "Anything else.",
        "age 1 to 5 years",
        "view AP",
        "bacterial: urgent. See a clinician now.",
        "sensitivity 98.0 % (95.0–99.0)",
        "chosen by: by hand",
        "on others it can do less well",
    ):
        assert words_ in text
    # Models of one's own have none.
    assert "card" not in text
    assert text.count(DISCLAIMER) == 1


def told_of(**changes):
    """What `edge-xray info` says first, line by line, and all that follows."""
    model = replace(METADATA, **changes)
    first, *others = "".join(model_text.render(model, "c" * 64, "m.tflite", 1)).split("\n\n")
    column = len("Score calibration  ")
    return {line[:column].rstrip(): line[column:] for line in first.splitlines()}, others


def test_a_model_says_how_it_runs_and_what_its_scores_were_fitted_on():
    facts, _ = told_of()
    assert "Network" not in facts and "Licence" not in facts
    assert (facts["Heat map"], facts["Golden answers"]) == ("yes", "none")
    assert facts["Input"] == "32x32 grey pixels, resized bicubic"
    assert facts["Score calibration"] == "none"
    facts, _ = told_of(
        architecture="net",
        delegate=False,
        evidence_map=False,
        output="logits",
        input=InputSpec(32, 40, 3),
        calibration=ScoreCalibration(1.25, "validation films", 90, 0.5),
        golden=GoldenVectors(((0.0, 1.0, 2.0),) * 3, 0.1),
    )
    assert facts["Network"] == "net, built-in kernels only, no delegate"
    assert (facts["Heat map"], facts["Golden answers"]) == ("no", "3")
    assert facts["Input"] == "32x40 RGB pixels, resized bicubic"
    fitted = "temperature 1.25, of the finding 0.5, fitted on 90 films"
    assert facts["Score calibration"] == f"{fitted} (validation films)"
    facts, _ = told_of(calibration=ScoreCalibration(1.25, "", 90, 0.5))
    assert facts["Score calibration"] == fitted


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (1, 5, ", age 1 to 5 years"),
        (0, 0.5, ", age 0 to 0.5 years"),
        (1, None, ", age from 1 years"),
        (None, 5, ", age up to 5 years"),
        (None, None, ""),
    ],
)
def test_a_model_says_for_whom_it_is(low, high, said):
    use = replace(
        METADATA.intended_use,
        body_part=("CHEST", "THORAX"),
        views=(),
        age_min_years=low,
        age_max_years=high,
    )
    facts, _ = told_of(intended_use=use)
    assert facts["Films"] == f"body part CHEST or THORAX, modality DX{said}"


def test_a_model_says_what_was_measured_and_nothing_that_was_not():
    point = replace(METADATA.operating_points[0], specificity=None, measured_on="", rule="")
    figures = {
        "auc": 0.98765, "films": 12, "none": {}, "many": [0.5] * 9, "deep": {"few": [1, {"b": "c"}]}
    }  # fmt: skip
    _, (_, points, measured, _) = told_of(operating_points=(point,), metrics=figures)
    assert points.splitlines()[2:] == [
        "  balanced: from probability 0.4000, review 0.3000 to 0.5000",
        "    sensitivity 98.0 % (95.0–99.0), specificity not measured; 100 films",
    ]
    assert measured.splitlines() == [
        *("Figures", "  auc: 0.9877", "  films: 12", "  none: {}", "  many: 9, with --json"),
        *("  deep", "    few", "      - 1", "      -", "        b: c"),
    ]
    _, (_, points, _) = told_of(operating_points=(replace(point, sensitivity=None),))
    assert len(points.splitlines()) == 3
