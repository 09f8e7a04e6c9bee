"""HTML: the triage list as one self-contained file, or as pages of `PAGE_FILMS` films each.

Nothing is loaded from anywhere: styles, script and pictures are within, and a Content-Security-Policy
allows these and nothing else. Without script the list reads the same; with it, it sorts and filters. A paper
that lacks films of the list says so: it is handed on without what hides them.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Final

from edge_xray.metadata import DISCLAIMER
from edge_xray.reports import words
from edge_xray.results import Prediction, Row, Run, Tally

PAGE_FILMS: Final = 250
"""Films a page: about 3 MB with their pictures, which an old phone still opens."""

SHARES: Final = 5
"""Classes whose probability stands beside a film; of more the most probable, as 20 would leave room for three films a sheet."""

FIRST_PAGE: Final = "results.html"

Picture = Callable[[Row], bytes]
"""Gives the picture of a film: JPEG, or empty if there is none."""

_ASSETS: Final = Path(__file__).with_name("assets")
_SKIPPED: Final = "skipped"
_KINDS: Final = {**words.TRIAGE_WORDS, _SKIPPED: words.NOT_SCORED}


def page_name(page: int) -> str:
    """File name of a page, counted from 1."""
    return FIRST_PAGE if page == 1 else f"results-{page}.html"


def render_pages(
    rows: Sequence[Row], run: Run, picture: Picture
) -> Iterator[tuple[str, Iterator[str]]]:
    """The files of a report.

    Args:
        rows: most urgent first.
        run: model and operating point.
        picture: gives the pictures; none is held longer than it takes to write it.

    Yields:
        File name and the chunks of its text; at least one page.
    """
    pages = max(1, -(-len(rows) // PAGE_FILMS))
    tally = tally_of(rows)
    for page in range(1, pages + 1):
        part = rows[(page - 1) * PAGE_FILMS : page * PAGE_FILMS]
        yield page_name(page), render(part, run, picture, tally, page, pages)


def tally_of(rows: Sequence[Row]) -> Tally:
    """Count rows by kind."""
    tally = Tally()
    for row in rows:
        tally.add(row)
    return tally


def render(
    rows: Sequence[Row], run: Run, picture: Picture, tally: Tally, page: int = 1, pages: int = 1
) -> Iterator[str]:
    """One page.

    Args:
        rows: of this page.
        run: model and operating point.
        picture: gives the pictures.
        tally: of all pages.
        page: which, from 1.
        pages: of how many.
    """
    style = (_ASSETS / "report.css").read_text(encoding="utf-8")
    script = (_ASSETS / "report.js").read_text(encoding="utf-8")
    policy = (
        "default-src 'none'; img-src data:; "
        f"style-src '{_source_hash(style)}'; script-src '{_source_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    finding = escape(run.metadata.finding)
    part = f" · page {page} of {pages}" if pages > 1 else ""
    yield (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>Triage list: {finding}{part}</title>\n<style>{style}</style>\n</head>\n<body>\n"
    )
    yield f"<header>\n<h1>Triage list: {finding}{part}</h1>\n"
    yield f'<p class="disclaimer">{escape(DISCLAIMER)}</p>\n'
    yield (
        f'<p class="quiet">{escape(str(tally))}. Scored by {escape(run.metadata.name)} '
        f"{escape(run.metadata.version)}, {escape(run.point.name)}; {escape(run.finished)}.</p>\n"
    )
    if run.lifted:
        yield (
            f'<p class="remarks">Scanned with {escape(", ".join(run.lifted))}: films outside the '
            "model&#x27;s intended use were scored; how well is not known.</p>\n"
        )
    if run.metadata.evidence_map:
        yield (
            f'<p class="quiet">Colour shows what looked like {finding}: yellow a little, red most. '
            "Where no sign was found it was not enough.</p>\n"
        )
    yield _tally(tally)
    if tally.not_scored:
        yield f'<p class="remarks">{escape(words.NOT_SCORED_NOTE)}</p>\n'
    yield "</header>\n"
    yield _navigation(page, pages)
    yield _tools(pages)
    # The roles are said because a table laid out as cards, on a phone, loses them in some browsers.
    yield '<main><table role="table">\n<thead role="rowgroup"><tr role="row">'
    for name, text in (
        ("film", _pictured(run)),
        ("file", "File"),
        ("urgency", "What to do"),
        ("probability", f"Probability of {finding}"),
    ):
        yield f'<th role="columnheader" scope="col" id="by-{name}">{text}</th>'
    yield f'</tr>\n{_on_paper(len(rows), tally.films, part)}</thead>\n<tbody role="rowgroup">\n'
    for place, row in enumerate(rows):
        yield _row(row, run, picture, place)
    yield "</tbody>\n</table></main>\n"
    yield _navigation(page, pages)
    yield _footer(run)
    yield f"<script>{script}</script>\n</body>\n</html>\n"


def _source_hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"sha256-{base64.b64encode(digest).decode('ascii')}"


def _tally(tally: Tally) -> str:
    counts = {**tally.triage, _SKIPPED: tally.not_scored}
    items = "".join(
        f'<li class="{kind}"><b>{count}</b>{escape(_KINDS[kind])}</li>'
        for kind, count in counts.items()
    )
    return f'<ul class="tally">{items}</ul>\n'


def _on_paper(count: int, films: int, part: str) -> str:
    """The row that only paper shows, under the headers of each sheet, where films are missing on it."""
    hidden = " hidden" if count == films else ""
    return (
        f'<tr role="row" class="paper" id="on-paper" data-films="{films}"{hidden}>'
        f'<td role="cell" colspan="4">On this paper: only <span id="on-paper-count">{count}</span> of {films} films{part}.'
        '<span id="left-out"></span></td></tr>'
    )


def _navigation(page: int, pages: int) -> str:
    if pages == 1:
        return ""
    links = " ".join(
        f'<span aria-current="page">{number}</span>'
        if number == page
        else f'<a href="{page_name(number)}">{number}</a>'
        for number in range(1, pages + 1)
    )
    return f'<nav aria-label="Pages">Pages, most urgent first: {links}</nav>\n'


def _tools(pages: int) -> str:
    where = "On this page" if pages > 1 else "Find"
    boxes = " ".join(
        f'<label class="{kind}"><input type="checkbox" name="kind" value="{kind}" checked> '
        f"{escape(name)}</label>"
        for kind, name in _KINDS.items()
    )
    return (
        '<div class="tools" id="tools" role="search" hidden>\n'
        f'<input type="search" id="search" placeholder="{where}: file, words" aria-label="{where}">\n'
        '<label>Order <select id="order"><option value="urgency">most urgent first</option>'
        '<option value="probability">most probable first</option>'
        '<option value="file">by file</option></select></label>\n'
        f'{boxes}\n<span class="quiet" id="shown" role="status"></span>\n</div>\n'
    )


def _row(row: Row, run: Run, picture: Picture, place: int) -> str:
    kind = row.triage if isinstance(row, Prediction) else _SKIPPED
    p = row.p_finding if isinstance(row, Prediction) else -1.0
    remarks = "".join(f'<p class="remarks">{escape(words.sentence(w))}</p>' for w in row.warnings)
    advice = escape(words.advice(row, run.metadata))
    patient = f"<small>Patient {escape(row.patient)}</small>" if row.patient else ""
    size = ""
    if isinstance(row, Prediction):
        size = f"<small>{escape(row.format)} {row.width}×{row.height}</small>"
    return (
        f'<tr role="row" class="{kind}" data-kind="{kind}" data-place="{place}" data-p="{p}" '
        f'data-file="{escape(row.path)}">'
        f'<td role="cell" class="film">{_image(row, run, picture)}</td>'
        f'<td role="cell" class="file">{escape(row.path)}{size}{patient}</td>'
        f'<td role="cell" class="todo"><b>{escape(words.triage_words(row))}</b>{advice}{remarks}</td>'
        f'<td role="cell" class="p"><span class="name">Probability of {escape(run.metadata.finding)}</span>'
        f"{_probability(row, run)}</td></tr>\n"
    )


def _pictured(run: Run) -> str:
    """What the picture of a scored film shows."""
    return "Film and heat map" if run.metadata.evidence_map else "Film"


def _image(row: Row, run: Run, picture: Picture) -> str:
    data = picture(row)
    if not data:
        return '<span class="quiet">no picture</span>'
    text = base64.b64encode(data).decode("ascii")
    what = _pictured(run) if isinstance(row, Prediction) else "Film"
    return (
        f'<img src="data:image/jpeg;base64,{text}" alt="{what} of {escape(row.path)}" '
        'loading="lazy" decoding="async">'
    )


def _probability(row: Row, run: Run) -> str:
    if not isinstance(row, Prediction):
        return "–"
    shares = list(zip(run.metadata.label_names, row.probabilities, strict=True))
    if len(shares) > SHARES + 1:  # a single other one takes no more room by its name
        shares.sort(key=lambda share: -share[1])
        rest = sum(p for _, p in shares[SHARES:])
        shares[SHARES:] = [(f"{len(shares) - SHARES} others", rest)]
    listed = "".join(f"<small>{escape(f'{name} {words.percent(p)}')}</small>" for name, p in shares)
    return (
        f"<b>{escape(words.percent(row.p_finding))}</b> {words.probability_words(row.p_finding)}"
        f'<progress max="1" value="{row.p_finding:.3f}" aria-hidden="true"></progress>{listed}'
    )


def _footer(run: Run) -> str:
    use = run.metadata.intended_use
    facts = {
        "Operating point": words.operating_point(run),
        "Intended use": use.summary,
        "Not for": use.not_for,
        "Model file": f"SHA-256 {run.model_sha256}",
        "Made by": f"edge-xray {run.version}, {run.runtime}",
    }
    items = "".join(
        f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts.items() if text
    )
    return f"<footer><dl>{items}</dl></footer>\n"
