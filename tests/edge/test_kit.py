"""`edge-xray kit build`: the right wheels for a target, the same bytes twice, pages that lead somewhere."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import tree_sitter
import tree_sitter_powershell
import typer
from packaging.requirements import Requirement
from typer.testing import CliRunner

from edge_xray import kit, kit_wheels, toolbox
from edge_xray.cli import main
from edge_xray.errors import ModelError, UsageError
from edge_xray.kit import build_kit
from edge_xray.kit_docs import render_page
from edge_xray.kit_targets import TARGETS
from edge_xray.kit_wheels import collect, read_wheel

ROOT = Path(__file__).resolve().parents[2]


def fake_wheel(
    folder: Path,
    name: str,
    version: str = "1.0",
    tag: str = "py3-none-any",
    requires: tuple[str, ...] = (),
    licence: str = "License-Expression: MIT",
    extra_files: dict[str, bytes] | None = None,
) -> Path:
    """A wheel with nothing in it but what it requires."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{name.replace('-', '_')}-{version}"
    info = f"{stem}.dist-info"
    lines = ["Metadata-Version: 2.4", f"Name: {name}", f"Version: {version}", licence]
    lines += [f"Requires-Dist: {line}" for line in requires]
    path = folder / f"{stem}-{tag}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{stem.partition('-')[0]}/__init__.py", "")
        archive.writestr(f"{info}/METADATA", "\n".join(lines) + "\n")
        archive.writestr(
            f"{info}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n"
        )
        for member, data in (extra_files or {}).items():
            archive.writestr(member.replace("INFO", info), data)
        archive.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wheels of everything that the drawn-up project can ask for, and more."""
    folder = tmp_path_factory.mktemp("shelf")
    fake_wheel(folder, "numpy", "2.0", "cp311-cp311-manylinux_2_27_aarch64")
    fake_wheel(folder, "numpy", "2.0", "cp311-cp311-manylinux_2_27_x86_64")
    fake_wheel(folder, "numpy", "1.9", "cp311-cp311-win_amd64")
    fake_wheel(folder, "runtime", "2.1", "cp311-cp311-manylinux_2_27_aarch64", ("numpy",))
    fake_wheel(folder, "runtime", "2.1", "cp311-cp311-win_amd64", ("numpy>=1", "bar"))
    fake_wheel(folder, "small-runtime", "2.14", "cp311-cp311-manylinux_2_34_armv7l", ("numpy",))
    fake_wheel(folder, "bar", "4.0", requires=('colour; platform_system == "Windows"',))
    fake_wheel(folder, "bar", "5.0", requires=('colour; platform_system == "Windows"',))
    fake_wheel(folder, "colour", licence="Classifier: License :: OSI Approved :: BSD License")
    needs = ('older; python_version < "3.11"', 'pyjpegls; platform_machine == "armv7l"')
    fake_wheel(folder, "dicom-reader", requires=needs)
    fake_wheel(folder, "pip", "25.0")
    return folder


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    lite0 = {"file": "edge-xray-lite0.tflite", "sha256": "0" * 64}
    models = {"default": "edge-xray-lite0", "models": {"edge-xray-lite0": lite0}}
    return fake_wheel(
        tmp_path_factory.mktemp("project"),
        "edge-xray",
        "9.9.9",
        requires=(
            "numpy>=1.5",
            "bar<5",
            "runtime; platform_machine != 'armv7l'",
            "small-runtime; platform_machine == 'armv7l'",
            'dicom-reader>=1; extra == "dicom"',
            'tensorflow; extra == "train"',
        ),
        extra_files={"edge_xray/models/models.json": json.dumps(models).encode()},
    )


def names(wheels: list) -> list[str]:
    return [f"{wheel.name} {wheel.version}" for wheel in wheels]


@pytest.mark.parametrize(
    ("target", "extras", "expected"),
    [
        ("rpi64", (), ["bar 4.0", "edge-xray 9.9.9", "numpy 2.0", "runtime 2.1"]),
        (
            "rpi64",
            ("dicom",),
            ["bar 4.0", "dicom-reader 1.0", "edge-xray 9.9.9", "numpy 2.0", "runtime 2.1"],
        ),
        # No numpy, which the system gives, and no JPEG-LS, which no wheel there can read.
        (
            "rpi32",
            ("dicom",),
            ["bar 4.0", "dicom-reader 1.0", "edge-xray 9.9.9", "small-runtime 2.14"],
        ),
        ("windows", (), ["bar 4.0", "colour 1.0", "edge-xray 9.9.9", "numpy 1.9", "runtime 2.1"]),
    ],
)
def test_markers_are_read_as_the_target_reads_them(
    target: str,
    extras: tuple[str, ...],
    expected: list[str],
    project: Path,
    shelf: Path,
    tmp_path: Path,
) -> None:
    wheels = collect(project, TARGETS[target], "3.11", tmp_path, extras=extras, find_links=shelf)
    assert names(wheels) == expected
    machine = TARGETS[target].tags[0].rsplit("_", 1)[-1]
    assert all("none-any" in w.path.name or machine in w.path.name for w in wheels)


def test_a_decoder_without_a_wheel_for_a_python_is_not_asked_for_there() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    requirement = Requirement(re.search(r'^  "(pyjpegls.*)",$', text, re.M)[1])
    target = TARGETS["linux-x86_64"]
    assert requirement.marker.evaluate(target.environment("3.13"))
    assert not requirement.marker.evaluate(target.environment("3.14"))


def test_a_missing_wheel_is_named_with_what_to_do(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    none = subprocess.CompletedProcess([], 1, "", "ERROR: No matching distribution found\n")
    monkeypatch.setattr(kit_wheels, "_pip_download", lambda *_: none)
    words = r"no wheel for Mac.*Python 3\.11: .*numpy.*To mend it, build for another --python"
    with pytest.raises(UsageError, match=words):
        collect(project, TARGETS["macos"], "3.11", tmp_path)


def test_a_wheel_missing_on_the_shelf_is_to_be_put_there(
    project: Path, shelf: Path, tmp_path: Path
) -> None:
    empty = tmp_path / "shelf"
    empty.mkdir()
    for folder, missing in ((shelf, r"numpy\S+, runtime"), (empty, r"bar<5, numpy\S+, runtime")):
        words = rf"{re.escape(str(folder))}: no wheel there for Mac.*3\.11: {missing}\. .*put them"
        with pytest.raises(UsageError, match=words) as caught:
            collect(project, TARGETS["macos"], "3.11", tmp_path / "wheels", find_links=folder)
        assert "another --python" not in str(caught.value)


def test_pins_of_an_earlier_kit_are_taken_again(project: Path, shelf: Path, tmp_path: Path) -> None:
    lock = tmp_path / "requirements.txt"
    lock.write_text("bar==4.0 --hash=sha256:00\nnumpy==2.0 --hash=sha256:00\n")
    wheels = collect(
        project,
        TARGETS["rpi64"],
        "3.11",
        tmp_path / "wheels",
        pins=kit.read_lock(lock),
        find_links=shelf,
    )
    assert {"bar 4.0", "numpy 2.0"} <= set(names(wheels))
    with pytest.raises(UsageError, match="found none"):
        lock.write_text("nothing pinned\n")
        kit.read_lock(lock)
    with pytest.raises(UsageError, match="in UTF-8"):
        lock.write_text("bar==4.0\n", encoding="utf-16")
        kit.read_lock(lock)


@pytest.mark.parametrize(
    ("python", "pinned", "expected"),
    [("3.11", None, "25.10"), ("3.11", "25.0", "25.0"), ("3.10", None, "25.9")],
)
def test_pip_is_the_newest_for_the_targets_python_or_the_earlier_kits(
    python: str, pinned: str | None, expected: str, shelf: Path, project: Path, tmp_path: Path
) -> None:
    own = tmp_path / "shelf"
    shutil.copytree(shelf, own)
    fake_wheel(own, "pip", "25.9")
    fake_wheel(own, "pip", "25.10", licence="Requires-Python: >=3.11")
    fake_wheel(own, "numpy", "2.0", "cp310-cp310-manylinux_2_27_aarch64")
    fake_wheel(own, "runtime", "2.1", "cp310-cp310-manylinux_2_27_aarch64")
    fake_wheel(own, "older")
    lock = None
    if pinned is not None:
        kit.build_kit(
            "rpi64", python, tmp_path / "first.zip", source=ROOT, wheel=project, find_links=shelf
        )
        with zipfile.ZipFile(tmp_path / "first.zip") as archive:
            archive.extractall(tmp_path)
        lock = tmp_path / kit.TOP / "requirements.txt"
    path = tmp_path / "kit.zip"
    kit.build_kit("rpi64", python, path, source=ROOT, wheel=project, find_links=own, lock=lock)
    (tool,) = json.loads(members(path)["manifest.json"])["tools"]
    assert (tool["name"], tool["version"]) == ("pip", expected)
    if pinned is not None:
        assert path.read_bytes() == (tmp_path / "first.zip").read_bytes()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"tools": [1]}', "[" * 100_000])
def test_a_manifest_beside_the_lock_that_is_none(tmp_path: Path, text: str) -> None:
    lock = tmp_path / "requirements.txt"
    lock.write_text("bar==4.0 --hash=sha256:00\n")
    assert kit.read_lock(lock) == {"bar": "4.0"}
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(UsageError, match=r"manifest\.json: expected the manifest"):
        kit.read_lock(lock)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, project: Path, shelf: Path) -> Path:
    path = tmp_path_factory.mktemp("kit") / "kit.zip"
    kit.build_kit("rpi64", "3.11", path, source=ROOT, wheel=project, find_links=shelf)
    return path


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name.removeprefix(f"{kit.TOP}/"): archive.read(name) for name in archive.namelist()}


def test_the_same_inputs_give_the_same_bytes(
    built: Path, project: Path, shelf: Path, tmp_path: Path
) -> None:
    again = kit.build_kit(
        "rpi64", "3.11", tmp_path / "again.zip", source=ROOT, wheel=project, find_links=shelf
    )
    assert again.path.read_bytes() == built.read_bytes()
    other = kit.build_kit(
        "rpi64",
        "3.11",
        tmp_path / "o.zip",
        source=ROOT,
        wheel=project,
        find_links=shelf,
        dicom=False,
    )
    assert other.identifier != again.identifier


def test_every_file_has_its_sum_and_every_wheel_its_hash(built: Path) -> None:
    files = members(built)
    sums = dict(reversed(line.split("  ", 1)) for line in files["SHA256SUMS"].decode().splitlines())
    assert set(sums) == set(files) - {"SHA256SUMS"}
    assert all(hashlib.sha256(files[name]).hexdigest() == digest for name, digest in sums.items())
    wheels = [name for name in files if name.startswith("wheels/")]
    locked = files["requirements.txt"].decode()
    assert len(wheels) == len(locked.splitlines()) == 5
    for name in wheels:
        assert f"--hash=sha256:{sums[name]}" in locked
    assert {"install.sh", "install.ps1", "START-HERE.txt", "LICENSE", "index.html"} <= set(files)
    with zipfile.ZipFile(built) as archive:
        modes = {own.filename: own.external_attr >> 16 for own in archive.infolist()}
    assert {name for name, mode in modes.items() if mode & 0o111} == {f"{kit.TOP}/install.sh"}
    assert all(mode & 0o444 == 0o444 for mode in modes.values())
    assert "samples/normal-1.jpeg" in files and "samples/README.html" not in files


def test_the_windows_installer_parses_and_asks_for_settings_that_the_kit_has(built: Path) -> None:
    files = members(built)
    script = files["install.ps1"]
    parser = tree_sitter.Parser(tree_sitter.Language(tree_sitter_powershell.language()))
    assert not parser.parse(script).root_node.has_error
    assert parser.parse(script + b"\nif (").root_node.has_error
    # Windows PowerShell 5.1 reads a script without a byte-order mark in the machine's code page.
    assert script.isascii()
    asked = set(re.findall(rb"\$setting\['(\w+)'\]", script)) - {b"name"}
    given = {line.partition(b"=")[0] for line in files["kit.env"].splitlines()}
    assert b"KIT_ID" in asked and asked <= given


def test_the_windows_installer_stops_at_what_is_empty_before_it_removes_anything(
    built: Path,
) -> None:
    script = members(built)["install.ps1"].decode()
    # Up to here it only looks, but for the two options that end it.
    looks = script[script.index("$setting = @{}") : script.index("$version = Join-Path")]
    assert "Remove-Item" not in looks
    assert "if (-not $id) { Stop-Install" in looks
    assert "if ($sums.Count -eq 0) { Stop-Install" in looks
    # Of a file without content Get-Content gives $null, which has no methods.
    assert not re.search(r"\(Get-Content[^()]*\)\.", script)


def test_the_windows_installer_takes_no_path_from_what_python_prints(built: Path) -> None:
    # Python prints to a pipe in the code page of Windows, and PowerShell reads in that of DOS: José becomes JosÚ.
    script = members(built)["install.ps1"].decode()
    assert "José".encode("cp1252").decode("cp850") == "JosÚ"
    printed = re.findall(r"print\((.*)\)", script)
    assert printed and not any("executable" in text or "prefix" in text for text in printed)


def test_the_windows_installer_takes_a_folder_with_brackets_as_it_is_called(built: Path) -> None:
    # To PowerShell `kits[2]` is a pattern, which the folder of that name does not match.
    script = members(built)["install.ps1"].decode()
    calls = re.findall(
        r"(?:Test-Path|Get-ChildItem|(?:Get|Set)-Content|(?:Move|Remove)-Item)\b.*", script
    )
    assert len(calls) > 15
    by_pattern = [call for call in calls if "-LiteralPath" not in call]
    # This one is handed what was found.
    assert by_pattern == ["Remove-Item -Recurse -Force -ErrorAction SilentlyContinue"]


def test_the_windows_installer_quotes_the_command_that_it_names(built: Path) -> None:
    said = members(built)["install.ps1"].decode().splitlines()[-1].replace('`"', "'")
    assert "'$command' scan '$version\\samples'" in said


def test_the_inventory_names_every_wheel_and_its_licence(built: Path) -> None:
    files = members(built)
    inventory = json.loads(files["sbom.cdx.json"])
    assert (inventory["bomFormat"], inventory["specVersion"]) == ("CycloneDX", "1.5")
    licences = {c["purl"]: c["licenses"][0]["license"]["name"] for c in inventory["components"]}
    assert licences["pkg:pypi/numpy@2.0"] == "MIT"
    assert "pkg:pypi/pip@25.0" in licences
    manifest = json.loads(files["manifest.json"])
    assert [entry["name"] for entry in manifest["wheels"]] == [
        "bar",
        "dicom-reader",
        "edge-xray",
        "numpy",
        "runtime",
    ]
    assert manifest["models"]["default"] == "edge-xray-lite0"


def test_pages_need_no_network_and_their_links_lead_somewhere(built: Path) -> None:
    files = members(built)
    pages = {
        name: files[name].decode()
        for name in files
        if name.endswith(".html") and (name.endswith(".card.html") or "models/" not in name)
    }
    assert {"index.html", "docs/clinic.html", "docs/cli.html", "docs/samples.html"} <= set(pages)
    assert "models/edge-xray-lite0.card.html" in pages
    anchors = 0
    for page, text in pages.items():
        assert "default-src 'none'" in text and "<script" not in text
        for link, anchor in re.findall(r'(?:href|src)="([^":#]*)(?:#([^"]*))?"', text):
            name = os.path.normpath(Path(page).parent / link) if link else page
            name = Path(name).as_posix()
            found = name in files or any(file.startswith(f"{name}/") for file in files)
            assert found, f"{page}: {link}"
            if anchor and name.endswith(".html"):
                assert f' id="{anchor}"' in files[name].decode(), f"{page}: {link}#{anchor}"
                anchors += 1
    assert anchors


def test_a_page_says_what_its_markdown_says_and_can_do_nothing() -> None:
    page = render_page(
        "# Title & more\n\n<script>alert(1)</script>\n\n[x](../README.md#a)\n", "docs/x.md"
    )
    assert "<script>" not in page and "&lt;script&gt;" in page
    assert '<h1 id="title--more">Title &amp; more</h1>' in page
    assert 'href="../index.html#a"' in page


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--target", "toaster"], "expected one of rpi64, rpi32"),
        (["--target", "rpi32", "--python", "3.12"], "goes with Python 3.11, got 3.12"),
        (["--target", "rpi64", "--source", "/"], "expected the edge-xray repository"),
        (["--target", "rpi64", "--lock", "/nothing.txt"], "requirements.txt of a kit"),
        (["--target", "rpi64", "--wheel", __file__], "expected a wheel"),
    ],
)
def test_wrong_use_is_one_line(arguments: list[str], words: str) -> None:
    app = typer.Typer()
    toolbox.register(app)
    result = CliRunner().invoke(app, ["kit", "build", "--output", "/nowhere/kit.zip", *arguments])
    assert isinstance(result.exception, UsageError)
    assert words in str(result.exception) and "\n" not in str(result.exception)


def test_without_pip_it_is_pip_that_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, project: Path
) -> None:
    monkeypatch.setitem(sys.modules, "pip", None)
    with pytest.raises(UsageError, match=r"has no pip.* -m ensurepip"):
        build_kit("rpi64", "3.11", tmp_path / "kit.zip", source=project)
    assert not (tmp_path / "kit.zip").exists()


def _report(model: Path, verdict: str = "PASS", **more: object) -> None:
    """A parity report beside a model, with what is read of it."""
    sha256 = hashlib.sha256(model.read_bytes()).hexdigest()
    flips = [{"film": "wards/JANE DOE.jpeg", "truth": "viral"}]
    record = {
        "films": {"unread": [{"film": "wards/JOHN DOE.jpeg", "reason": "damaged"}]},
        "models": [{"sha256": "of the reference"}, {"sha256": sha256}],
        "comparisons": [{"verdict": verdict, "label_flips": 1, "flips": flips}],
        **more,
    }
    model.with_name(f"{model.stem}.parity.json").write_text(json.dumps(record))


def test_what_a_model_s_proof_leaves_open_is_said_where_the_kit_is_built(
    project: Path, shelf: Path, tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "ward-3.tflite"
    model.write_bytes(tiny_model.read_bytes())
    _report(model)
    report = model.with_name("ward-3.parity.json")
    words = (
        "kit", "build", "--target", "rpi64", "--source", str(ROOT), "--wheel", str(project), "--wheels", str(shelf),
        "--model", str(model), "-o", str(tmp_path / "kit.zip"),
    )  # fmt: skip
    assert main(list(words)) == 0
    assert "doubt" not in capsys.readouterr().err
    record = json.loads(report.read_text())
    report.write_text(json.dumps({**record, "remarks": ["One film of 2 is 50.00%."]}))
    assert main(list(words)) == 0
    assert "says PASS with a doubt. One film of 2 is 50.00%." in capsys.readouterr().err
    inside = json.loads(members(tmp_path / "kit.zip")["models/ward-3.parity.json"])
    assert inside["remarks"] == ["One film of 2 is 50.00%."]


@pytest.mark.parametrize("own", ["ward-3", "ward [3], new", "chest-films-of-the-district-hospital"])
def test_a_model_of_ones_own_becomes_the_clinics_default(
    own: str, project: Path, shelf: Path, tiny_model: Path, tmp_path: Path
) -> None:
    model = tmp_path / f"{own}.tflite"
    model.write_bytes(tiny_model.read_bytes())
    _report(model)
    kits = []
    for place in ("one.zip", "two.zip"):
        path = tmp_path / place
        kit.build_kit(
            "rpi64", "3.11", path, source=ROOT, wheel=project, find_links=shelf, model=model
        )
        kits.append(path.read_bytes())
    assert kits[0] == kits[1]
    files = members(tmp_path / "one.zip")
    assert json.loads(files["manifest.json"])["models"]["default"] == own
    assert f"models/{own}.parity.json" in files
    # A command can be copied.
    assert "edge-\n" not in files["START-HERE.txt"].decode()
    said = f"the model {own} (edge-xray-test 1.0.0 in its lists), which looks for: pneumonia."
    for page in ("START-HERE.txt", "index.html", "docs/clinic.html"):
        assert said in " ".join(files[page].decode().split())
    (name,) = (path for path in files if path.startswith("wheels/edge_xray-"))
    (tmp_path / "own.whl").write_bytes(files[name])
    with zipfile.ZipFile(tmp_path / "own.whl") as archive:
        inside = {path: archive.read(path) for path in archive.namelist()}
    index = json.loads(inside["edge_xray/models/models.json"])
    assert inside[f"edge_xray/models/{own}.tflite"] == model.read_bytes()
    assert list(index["models"]) == ["edge-xray-lite0", own]
    assert index["models"][own]["sha256"] == hashlib.sha256(model.read_bytes()).hexdigest()
    # pip removes what RECORD names when a kit is taken off or upgraded.
    (record,) = (path for path in inside if path.endswith("/RECORD"))
    lines = list(csv.reader(inside.pop(record).decode().splitlines()))
    assert lines.pop() == [record, "", ""]
    for path, digest, size in lines:
        data = inside.pop(path)
        hashed = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=")
        assert (digest, size) == (f"sha256={hashed.decode()}", str(len(data)))
    assert not inside
    assert f"wheels/{name}".split("/")[-1].encode() in files["SHA256SUMS"]


def test_no_film_goes_along_with_the_proof_of_a_model_of_ones_own(
    project: Path, shelf: Path, tiny_model: Path, tmp_path: Path
) -> None:
    source = tmp_path / "repository"
    for name in ("docs", "models", "samples"):
        shutil.copytree(ROOT / name, source / name)
    for name in ("README.md", "LICENSE", "pyproject.toml"):
        shutil.copy(ROOT / name, source)
    # One is left among the shipped models by an earlier training.
    for model in (source / "models" / "older.tflite", tmp_path / "ward 3.tflite"):
        model.write_bytes(tiny_model.read_bytes())
        _report(model)
        page = "<img src='data:image/jpeg;base64,film of JANE DOE'>"
        model.with_name(f"{model.stem}.parity.html").write_text(page)
    model.with_name("ward 3.parity.md").write_text("# Parity: PASS\n")
    model.with_name("ward 3.clinic.md").write_text("# For our ward\n")
    model.with_name("ward 3.b.clinic.md").write_text("# Of another model\n")
    path = tmp_path / "kit.zip"
    kit.build_kit(
        "rpi64", "3.11", path, source=source, wheel=project, find_links=shelf, model=model
    )
    files = members(path)
    assert not [name for name, data in files.items() if b" DOE" in data]
    report = json.loads(files["models/ward 3.parity.json"])
    assert report["comparisons"][0]["label_flips"] == 1
    assert "Parity: PASS" in files["models/ward 3.parity.html"].decode()
    # The page for the clinic is the one that the installer and all other pages lead to.
    assert "For our ward" in files["docs/clinic.html"].decode()
    assert "models/ward 3.b.clinic.html" not in files
    # They are found, and do not say of themselves that they are about another model.
    assert 'href="models/ward%203.parity.html"' in files["index.html"].decode()
    assert 'href="../models/ward%203.parity.html"' in files["docs/reasons.html"].decode()
    assert "This kit scores" in files["docs/reasons.html"].decode()
    for page in ("docs/clinic.html", "models/ward 3.parity.html"):
        assert "This kit scores" not in files[page].decode()


@pytest.mark.parametrize(
    ("spoil", "error", "words"),
    [
        (lambda model: model.unlink(), ModelError, "expected a packed .tflite file"),
        (lambda model: model.write_bytes(b"no model"), ModelError, "metadata"),
        (lambda model: None, UsageError, "has no ward-3.parity.json; make it with"),
        (lambda model: _report(model, "FAIL"), UsageError, "says FAIL"),
        (
            lambda model: _report(model, remarks=None),
            UsageError,
            "ward-3.parity.json: is no parity",
        ),
        (
            lambda model: _report(model) or model.write_bytes(_flipped(model.read_bytes())),
            ModelError,
            "damaged",
        ),
    ],
)
def test_a_model_that_may_go_to_no_clinic(
    spoil, error, words: str, project: Path, shelf: Path, tiny_model: Path, tmp_path: Path
) -> None:
    model = tmp_path / "ward-3.tflite"
    model.write_bytes(tiny_model.read_bytes())
    spoil(model)
    with pytest.raises(error, match=re.escape(words)) as caught:
        kit.build_kit("rpi64", "3.11", tmp_path / "k.zip", source=ROOT, wheel=project, model=model)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "k.zip").exists()


@pytest.mark.parametrize("name", ["edge-xray-lite0", "Edge-XRay-Lite0", "lite0", "Lite0"])
def test_a_model_may_not_take_the_place_of_a_shipped_one(
    name: str, project: Path, tiny_model: Path, tmp_path: Path
) -> None:
    # Where case does not count in names, as on Windows, two that differ in it alone are one file; and
    # --model lite0 is the shipped one's.
    model = tmp_path / f"{name}.tflite"
    model.write_bytes(tiny_model.read_bytes())
    _report(model)
    with pytest.raises(UsageError, match="edge-xray ships a model of that name"):
        kit.build_kit("rpi64", "3.11", tmp_path / "k.zip", source=ROOT, wheel=project, model=model)


def test_the_command_that_makes_a_missing_report_can_be_typed(
    project: Path, tiny_model: Path, tmp_path: Path
) -> None:
    model = tmp_path / "our ward" / "tête 1.tflite"
    model.parent.mkdir()
    model.write_bytes(tiny_model.read_bytes())
    with pytest.raises(UsageError) as caught:
        kit.build_kit("rpi64", "3.11", tmp_path / "k.zip", source=ROOT, wheel=project, model=model)
    # From where the kit was to be built, with all that edge-xray parity wants.
    command = shlex.split(str(caught.value).partition("make it with: ")[2])
    output = model.with_suffix(".parity")
    assert command[:4] == ["edge-xray", "parity", "REFERENCE", str(model)]
    assert command[4:] == ["--data", "DATA", "--no-films", "-o", str(output)]


def _flipped(data: bytes) -> bytes:
    return data[:2000] + bytes([data[2000] ^ 1]) + data[2001:]


def test_no_pip_wheel_on_the_shelf(project: Path, shelf: Path, tmp_path: Path) -> None:
    for wheel in shelf.glob("*.whl"):
        if not wheel.name.startswith("pip-"):
            (tmp_path / wheel.name).write_bytes(wheel.read_bytes())
    with pytest.raises(UsageError, match="pip download pip"):
        kit.build_kit(
            "rpi64", "3.11", tmp_path / "k.zip", source=ROOT, wheel=project, find_links=tmp_path
        )


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("License-Expression: Apache-2.0", "Apache-2.0"),
        ("License: MIT License", "MIT License"),
        ("Classifier: License :: OSI Approved :: BSD License", "BSD License"),
        ("Summary: nothing said", "not stated"),
        ("Classifier: License :: OSI Approved", "not stated"),
        ("License: \nLicense-Expression: MIT", "MIT"),
        ("License: The whole text\n of a licence\n that goes on", "The whole text"),
        ("License: " + "word " * 99, ("word " * 16)),
        (
            "Classifier: License :: OSI Approved :: BSD License\nLicense: BSD-3\n"
            "Classifier: Topic :: Software :: Imaging\nClassifier: License :: Public Domain",
            "BSD License, Public Domain",
        ),
    ],
)
def test_licences(line: str, expected: str, tmp_path: Path) -> None:
    assert read_wheel(fake_wheel(tmp_path, "thing", licence=line)).licence == expected


@pytest.mark.parametrize(
    "content", [None, b"", b"no archive", {}, {"x.dist-info/METADATA": b"Name: \xff"}]
)
def test_a_file_that_is_no_wheel_is_named(
    content: bytes | dict[str, bytes] | None, tmp_path: Path
) -> None:
    path = tmp_path / "edge_xray-1.0-py3-none-any.whl"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in content.items():
                archive.writestr(name, data)
            archive.writestr("vendored/x.dist-info/METADATA", "Name: another")
    with pytest.raises(UsageError, match=rf"{re.escape(str(path))}: expected a wheel .*again"):
        read_wheel(path)


@pytest.fixture
def downloaded(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What pip was asked for; it finds all that is called small, and what is called slow at the second try."""
    asked: list[list[str]] = []
    needs = {"small-a": ("small-b<3; extra == 'more'",), "small-b": ("small-a",)}

    def download(lines, target, python, folder, find_links):
        asked.append(list(lines))
        for line in lines:
            requirement = Requirement(line)
            name = requirement.name
            if name == "silent":
                return subprocess.CompletedProcess([], 1, "", "\nno words\n")
            if not name.startswith("small") and (name != "slow" or [line] not in asked):
                said = "WARNING: retrying\nERROR: no route to host\nsome more"
                return subprocess.CompletedProcess([], 1, "", said)
            newest = next(v for v in ("3.0", "2.0") if requirement.specifier.contains(v))
            fake_wheel(folder, name, newest, requires=needs.get(name, ()))
        return subprocess.CompletedProcess([], 0, "", "")

    monkeypatch.setattr(kit_wheels, "_pip_download", download)
    return asked


def test_extras_of_what_is_needed_are_needed(tmp_path: Path, downloaded: list[list[str]]) -> None:
    needs = ("small.A[more]; extra == 'dicom'", "edge_xray[dicom]; extra == 'all'")
    needs += ("small-c; extra == 'all'", "small_b")
    own = fake_wheel(tmp_path, "edge-xray", requires=needs)
    plain = collect(own, TARGETS["rpi64"], "3.11", tmp_path / "1")
    assert names(plain) == ["edge-xray 1.0", "small-a 3.0", "small-b 3.0"]
    # A version that fitted before all was known goes again.
    whole = collect(own, TARGETS["rpi64"], "3.11", tmp_path / "2", extras=["all"])
    assert names(whole) == ["edge-xray 1.0", "small-a 3.0", "small-b 2.0", "small-c 3.0"]
    first = [["small-b"], ["small-a"]]
    assert downloaded == [*first, ["small-a", "small-b", "small-c"], ["small-b<3"]]


def test_requirements_that_never_settle_end(
    tmp_path: Path, downloaded: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = fake_wheel(tmp_path, "edge-xray", requires=("small-a[more]",))
    monkeypatch.setattr(kit_wheels, "MOST_ROUNDS", 2)
    with pytest.raises(UsageError, match=r"\['small-a', 'small-b<3'\] do not settle; .*--lock"):
        collect(own, TARGETS["rpi64"], "3.11", tmp_path / "wheels")
    monkeypatch.setattr(kit_wheels, "MOST_ROUNDS", 3)
    assert len(collect(own, TARGETS["rpi64"], "3.11", tmp_path / "wheels")) == 3


@pytest.mark.parametrize(
    ("missing", "why"), [("vast>=2", "ERROR: no route to host"), ("silent", "no words")]
)
def test_without_internet_it_is_the_connection_that_is_named(
    missing: str, why: str, tmp_path: Path, downloaded: list[list[str]]
) -> None:
    own = fake_wheel(tmp_path, "edge-xray", requires=(missing, "small-a", "slow"))
    with pytest.raises(UsageError) as caught:
        collect(own, TARGETS["rpi64"], "3.11", tmp_path / "wheels")
    said = f"pip could not download {missing} ({why}); check the connection"
    assert str(caught.value).startswith(said)


def test_what_comes_when_it_is_asked_for_again_is_taken(
    tmp_path: Path, downloaded: list[list[str]]
) -> None:
    own = fake_wheel(tmp_path, "edge-xray", requires=("slow", "small-c"))
    wheels = collect(own, TARGETS["rpi64"], "3.11", tmp_path / "wheels")
    assert names(wheels) == ["edge-xray 1.0", "slow 3.0", "small-c 3.0"]


@pytest.mark.skipif(os.name != "posix", reason="needs a POSIX shell")
def test_the_installer_is_plain_posix_shell() -> None:
    script = ROOT / "edge/edge_xray/kit_files/install.sh"
    assert subprocess.run(["sh", "-n", str(script)], check=False).returncode == 0
    assert b"\r" not in script.read_bytes()
