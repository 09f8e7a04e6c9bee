"""Make the pictures of the docs from a scan of samples/: the list in a terminal, the report in a browser.

    python docs/make_pictures.py

Needs the shipped model, the dicom extra and Chromium. Writes docs/pictures/.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from PIL import Image
from rich.console import Console
from rich.text import Text

ROOT: Final = Path(__file__).resolve().parents[1]
PICTURES: Final = ROOT / "docs" / "pictures"
COLUMNS: Final = 96
"""Width of the terminal, in characters."""
WINDOWS: Final = {"report.png": (1200, 900)}
"""Width and height of the browser's window, in CSS pixels, for each picture."""
BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome")


def scan(folder: Path) -> str:
    """Scan copies of the samples in a folder; gives what the terminal shows, colours and talk included."""
    films = folder / "films"
    films.mkdir()
    for path in sorted((ROOT / "samples").iterdir()):
        if path.suffix in {".jpeg", ".dcm"}:
            shutil.copy(path, films)
    finished = subprocess.run(
        [sys.executable, "-m", "edge_xray", "scan", "films"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
        env={**os.environ, "FORCE_COLOR": "1", "COLUMNS": str(COLUMNS), "TERM": "xterm-256color"},
    )
    return finished.stdout


def terminal_picture(shown: str) -> str:
    """What a terminal shows as SVG, without the fonts that rich would fetch from the web."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi("$ edge-xray scan films\n" + shown))
    # The identifier is given, for rich's own changes with every run.
    svg = console.export_svg(title="edge-xray", unique_id="list")
    return re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)


def browser_picture(browser: str, page: Path, size: tuple[int, int], target: Path) -> None:
    """What a browser shows of a page."""
    with tempfile.TemporaryDirectory() as profile:
        shot = Path(profile) / "shot.png"
        command = [browser, "--headless", "--no-sandbox", "--hide-scrollbars", "--disable-gpu"]
        subprocess.run(  # noqa: S603
            [
                *command,
                f"--user-data-dir={profile}/profile",
                f"--window-size={size[0]},{size[1]}",
                f"--screenshot={shot}",
                page.as_uri(),
            ],
            check=True,
            capture_output=True,
            timeout=120,
        )
        with Image.open(shot) as image:
            image.convert("RGB").save(target, optimize=True)


def main() -> int:
    """Scan once and make every picture."""
    argparse.ArgumentParser(
        description="Make the pictures of the docs; takes no options."
    ).parse_args()
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        sys.stderr.write(f"expected one of {', '.join(BROWSERS)} on the path, found none\n")
        return 2
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        shown = scan(Path(scratch))
        (PICTURES / "list.svg").write_text(terminal_picture(shown), encoding="utf-8")
        page = Path(scratch) / "edge-xray-results" / "results.html"
        for name, size in WINDOWS.items():
            browser_picture(browser, page, size, PICTURES / name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
