"""Reports as one HTML file that opens offline, prints on A4 and needs no script.

Nothing is loaded from anywhere: a Content-Security-Policy allows the one style sheet, by its hash,
and pictures within the file. All text is escaped by the template engine.
"""

from __future__ import annotations

import base64
import hashlib
import io
import re
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from edge_xray.metadata import DISCLAIMER
from edge_xray_trainer.tables import cell_text, is_number

THUMBNAIL_SIDE = 192
"""Larger side of a film in a report, in pixels."""

THUMBNAIL_QUALITY = 80


def anchor(title: str) -> str:
    """What a link calls a heading: the rule of Markdown's, so that one link serves both kinds of page."""
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def render_page(template: str, **context: Any) -> str:
    """Render a template of this package to a self-contained page.

    Args:
        template: file name below ``templates/``.
        context: what the template shows.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("edge_xray_trainer"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = cell_text
    environment.filters["anchor"] = anchor
    environment.tests["flush_right"] = is_number
    style = (files("edge_xray_trainer") / "templates" / "report.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode("ascii")
    policy = (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; "
        "base-uri 'none'; form-action 'none'"
    )
    page = environment.get_template(template)
    return page.render(style=style, policy=policy, disclaimer=DISCLAIMER, **context)


def thumbnail(pixels: NDArray[np.uint8]) -> str:
    """A small picture of a film as a ``data:`` address.

    Args:
        pixels: uint8, (H, W) or (H, W, 3), 0..255.
    """
    image = Image.fromarray(pixels)
    image.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=THUMBNAIL_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
