"""The docs as HTML that opens from a stick: Markdown in, one small page each out."""

from __future__ import annotations

import html
import posixpath
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import quote

PAGES: Final = (
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "docs/*.md",
    "models/*.md",
)
"""Which Markdown files of the repository become pages."""

START: Final = "index.html"
"""What README.md becomes."""

LINK: Final = re.compile(r'(?:href|src)="([^":#]+)(?=["#])')
"""A relative link of a page, without its anchor."""

POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self' data:"
STYLE: Final = """
:root{color-scheme:light dark}
body{font:1rem/1.55 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem}
h1,h2,h3{line-height:1.2}
table{border-collapse:collapse;display:block;overflow-x:auto}
th,td{border:1px solid #8886;padding:.35rem .6rem;text-align:left;vertical-align:top}
pre{overflow-x:auto;padding:.7rem;background:#8881;border-radius:4px}
img{max-width:100%;height:auto}
code{font:.92em ui-monospace,monospace;overflow-wrap:anywhere}
nav{font-size:.9rem;margin-bottom:2rem}
@media print{nav{display:none}body{max-width:none;margin:0}pre{white-space:pre-wrap}
h1,h2,h3{break-after:avoid}tr{break-inside:avoid}img{max-height:9cm}}
"""


MOVED: Final = {"README.md": START}
"""Pages that stand elsewhere in the kit than in the repository."""


def page_name(markdown: str) -> str:
    """Where a Markdown file's page goes in the kit.

    Args:
        markdown: path of the file, relative to the repository, with forward slashes.
    """
    return MOVED.get(markdown, re.sub(r"\.md$", ".html", markdown))


def render_docs(root: Path, remark: str = "", own: Sequence[str] = ()) -> dict[str, bytes]:
    """Render every page, with the pictures and files that pages link to.

    Args:
        root: the repository.
        remark: stands above every page.
        own: names of more pages, which every page leads to below the remark.

    Returns:
        Name in the kit to content; pages are UTF-8.
    """
    sources = sorted(path for pattern in PAGES for path in root.glob(pattern))
    files: dict[str, bytes] = {}
    for path in sources:
        name = path.relative_to(root).as_posix()
        page = render_page(path.read_text(encoding="utf-8"), name, remark, own)
        files[page_name(name)] = page.encode()
        for link in LINK.findall(page):
            target = posixpath.normpath(posixpath.join(posixpath.dirname(page_name(name)), link))
            linked = root / target
            if not target.startswith("..") and linked.is_file():
                files.setdefault(target, linked.read_bytes())
    return files


def render_page(markdown: str, name: str, remark: str = "", own: Sequence[str] = ()) -> str:
    """One page.

    Args:
        markdown: CommonMark with tables.
        name: of the file, relative to the repository; its links are rewritten to pages.
        remark: stands above the page.
        own: names of pages in the kit that it leads to below the remark.
    """
    from markdown_it import MarkdownIt

    title = next(
        (line[2:] for line in markdown.splitlines() if line.startswith("# ")), Path(name).stem
    )
    # Raw HTML stays text: a page says what its Markdown says and can do nothing.
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown)
    body = re.sub(r'(?<=href=")([^":#][^":]*)(?=")', lambda match: _page_link(match[1], name), body)
    body = re.sub(r"<(h[1-6])>(.*?)</\1>", _with_anchor, body)
    start = _page_link(posixpath.relpath("README.md", posixpath.dirname(name)), name)
    home = "" if name == "README.md" else f'<nav><a href="{start}">edge-xray</a></nav>\n'
    above = f"<p><strong>{html.escape(remark)}</strong></p>\n" if remark else ""
    if own:
        folder = posixpath.dirname(page_name(name)) or "."
        links = (
            f'<a href="{quote(posixpath.relpath(page, folder))}">{html.escape(posixpath.basename(page))}</a>'
            for page in own
        )
        above += f"<p>Pages about this model: {', '.join(links)}</p>\n"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width,initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f"<title>{html.escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"{home}<main>\n{above}{body}</main>\n</body>\n</html>\n"
    )


def _page_link(link: str, name: str) -> str:
    """A link of a Markdown file as its page needs it.

    Args:
        link: relative, as it stands in the file.
        name: of the file, relative to the repository.
    """
    path, hash_sign, anchor = link.partition("#")
    target = posixpath.normpath(posixpath.join(posixpath.dirname(name), path))
    folder = posixpath.dirname(page_name(name))
    slash = "/" if path.endswith("/") else ""
    return f"{posixpath.relpath(page_name(target), folder or '.')}{slash}{hash_sign}{anchor}"


def _with_anchor(match: re.Match[str]) -> str:
    """A heading with the anchor that GitHub gives it, so links into a page work as there."""
    words = html.unescape(re.sub(r"<[^>]+>", "", match[2]))
    anchor = re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", words).lower().strip())
    return f'<{match[1]} id="{html.escape(anchor)}">{match[2]}</{match[1]}>'
