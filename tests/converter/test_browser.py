"""The report in a real browser: no network, no complaint, nothing wider than a phone, printable."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

BROWSER = next(
    (
        path
        for name in ("chromium", "chromium-browser", "google-chrome")
        if (path := shutil.which(name))
    ),
    None,
)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine")

PHONE_WIDTH = 390
A4_POINTS = (595, 842)

PROBE = """<!DOCTYPE html><meta charset="utf-8"><iframe id="frame" src="report.html"
style="width:390px;height:800px;border:0"></iframe><pre id="out"></pre><script>
document.getElementById('frame').onload = event => {
  const page = event.target.contentDocument, root = page.documentElement;
  document.getElementById('out').textContent = JSON.stringify({
    width: root.scrollWidth, title: page.title,
    broken: [...page.images].filter(image => !image.complete || !image.naturalWidth).length,
    images: page.images.length,
    styled: getComputedStyle(page.querySelector('.verdict')).color,
  });
};
</script>"""


@pytest.fixture(scope="module")
def report(run_cli, tiny_float, tiny_model, parity_films, tmp_path_factory):
    stem = tmp_path_factory.mktemp("browser") / "report"
    run_cli(
        "parity", tiny_float, tiny_model, "--data", parity_films / "films", "-o", stem,
        "--resamples", 100, "--no-timing",
    )  # fmt: skip
    return stem.with_suffix(".html")


def browse(*arguments, cwd: Path):
    return subprocess.run(
        [
            BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
            "--allow-file-access-from-files", "--host-resolver-rules=MAP * ~NOTFOUND",
            "--virtual-time-budget=5000", f"--user-data-dir={cwd / 'profile'}", *arguments,
        ],
        capture_output=True, text=True, timeout=600, check=True, cwd=cwd,
    )  # fmt: skip


def test_it_opens_offline_without_complaint_and_fits_a_phone(report):
    (report.parent / "probe.html").write_text(PROBE, encoding="utf-8")
    done = browse("--dump-dom", (report.parent / "probe.html").as_uri(), cwd=report.parent)
    found = json.loads(done.stdout.partition('<pre id="out">')[2].partition("</pre>")[0])
    assert found["title"].startswith("Parity")
    assert found["width"] <= PHONE_WIDTH
    assert found["images"] > 0 and found["broken"] == 0
    # White on green or red: the style was not kept out by the page's own policy.
    assert found["styled"] == "rgb(255, 255, 255)"
    complaints = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert complaints == []


def test_it_prints_on_a4(report):
    browse(
        f"--print-to-pdf={report.parent / 'report.pdf'}", "--no-pdf-header-footer", report.as_uri(),
        cwd=report.parent,
    )  # fmt: skip
    pdf = (report.parent / "report.pdf").read_bytes()
    box = pdf.partition(b"/MediaBox [")[2].partition(b"]")[0].split()
    assert [float(number) for number in box[2:]] == pytest.approx(A4_POINTS, abs=2)
