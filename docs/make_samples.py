"""Make the sample films in ``samples/``: composites, so that no patient's film ships.

    python docs/make_samples.py DATA [--split split.json] [--seed N] [--out FOLDER]
    python docs/make_samples.py DATA [--split split.json] --search MODEL.tflite MODEL.tflite

DATA is a labelled folder (the Kaggle copy of the Guangzhou films, or any with the classes normal,
bacterial and viral). Each composite is the pixelwise mean of films of one class, every film of another
patient, with the sharpness and the contrast of single films. The same data, seed and library versions
give the same bytes. Needs the ``dicom`` extra. The second form writes nothing: it looks for the first
seed whose composites all models named take for films that they know, each of its own class.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import sys
import uuid
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from edge_xray._extras import require
from edge_xray.classifier import Classifier
from edge_xray.decision import decide
from edge_xray.decode import decode
from edge_xray.errors import EdgeXrayError, UsageError
from edge_xray.features import feature_score
from edge_xray.input_spec import InputSpec
from edge_xray.labelled import (
    LabelledFilm,
    Split,
    file_sha256,
    labelled_root,
    read_labelled_folder,
)
from edge_xray.preprocess import preprocess
from edge_xray.quality import check_pixels

SAMPLES: Final = Path(__file__).resolve().parents[1] / "samples"

SEED: Final = 24
"""Seed of the shipped samples, found with ``--search`` and both shipped models: they name the class of each
composite. The samples show the kit; they measure nothing."""

SEARCHED: Final = 200
"""Seeds that ``--search`` tries."""

KNOWN_SHARE: Final = 0.97
"""Share of the limit of known films (`FeatureStatistics.unlike`) that a composite found stays below, so that
the last bits of another machine do not make a sample unknown."""

SURE_MARGIN: Final = 0.2
"""By how much a composite's class must be more probable than any other: twice what the kernels of another runtime
or processor were seen to move a probability by."""

COMPOSITES: Final = {"normal": 4, "bacterial": 3, "viral": 3}
"""How many composites of each class."""

FILMS_PER_COMPOSITE: Final = 8
"""Films averaged in one composite: of the anatomy of any one of them nothing can be told any more."""

MEAN_SPEC: Final = InputSpec(224, 224, 1)
"""Size at which films are averaged, in pixels: that of the training copies."""

CLINIC_SIZE: Final = (880, 664)
"""Columns and rows of a composite: of the order of the original films, which the training copies lost,
and just below four times the network's input, above which a JPEG is decoded at a reduced scale. So a
sample gives the very same answer as JPEG, as PNG of its pixels and as DICOM of them."""

LIKENESS_SPEC: Final = InputSpec(48, 48, 1)
"""Size at which films are compared: shape and framing count, texture does not."""

MAX_GAIN: Final = 6.0
"""Largest factor on a spatial frequency of the mean; above it noise and rounding would be raised."""

JPEG_QUALITY: Final = 85
CONTRAST_PERCENTILES: Final = (1.0, 99.0)
"""Grey values of a composite between these percentiles are stretched to the mean of its films' own."""

LIST_NAME: Final = ".composites.json"
"""Which films each composite is the mean of, so that it can be checked without the split file. Hidden,
so that a scan of the folder passes it over."""

TRUNCATED_SHARE: Final = 0.4
"""Part of the file that is left of the truncated sample."""

UID_ROOT: Final = "2.25."
"""Prefix of identifiers that are the decimal digits of a UUID (PS3.5 B.2)."""


def draw_films(
    films: Sequence[LabelledFilm],
    likeness: NDArray[np.float32],
    label: str,
    generator: np.random.Generator,
) -> list[list[LabelledFilm]]:
    """Draw the films of every composite of one class: no patient twice.

    Each composite starts from a film drawn by chance, joined by those most like it, so that ribs come to
    lie on ribs; the mean of films taken at random is a haze, and haze is what pneumonia looks like.

    Args:
        films: all films that may be used.
        likeness: (n, k) unit vectors; their products are the correlations of films.
        label: the class.
        generator: of the draw.

    Returns:
        One list of `FILMS_PER_COMPOSITE` films for each composite.

    Raises:
        UsageError: the class has too few patients.
    """
    of_patient: dict[str, int] = {}
    for index, film in enumerate(films):
        if film.label == label:
            of_patient.setdefault(film.patient or film.path, index)
    wanted = COMPOSITES[label] * FILMS_PER_COMPOSITE
    if len(of_patient) < wanted:
        raise UsageError(
            f"class {label}: expected films of at least {wanted} patients, found {len(of_patient)}"
        )
    left = np.array(sorted(of_patient.values()))
    drawn = []
    for _ in range(COMPOSITES[label]):
        first = generator.choice(left)
        order = np.argsort(-(likeness[left] @ likeness[first]), kind="stable")
        drawn.append([films[index] for index in left[order[:FILMS_PER_COMPOSITE]]])
        left = np.sort(left[order[FILMS_PER_COMPOSITE:]])
    return drawn


def unit_vectors(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Films as vectors of mean 0 and length 1: (n, H, W) uint8 -> (n, H * W)."""
    flat = pixels.reshape(len(pixels), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    return np.asarray(flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6))


def composite(pixels: NDArray[np.uint8]) -> Image.Image:
    """Average films and give the mean the sharpness and the contrast of a single one.

    Args:
        pixels: uint8, (n, H, W), 0..255.

    Returns:
        A grey picture of `CLINIC_SIZE`.
    """
    sharp = with_spectrum_of(pixels.mean(axis=0, dtype=np.float64), pixels)
    low, high = np.percentile(pixels, CONTRAST_PERCENTILES, axis=(1, 2)).mean(axis=1)
    dark, bright = np.percentile(sharp, CONTRAST_PERCENTILES)
    stretched = (sharp - dark) * (high - low) / (bright - dark) + low
    large = Image.fromarray(stretched.astype(np.float32)).resize(
        CLINIC_SIZE, Image.Resampling.BICUBIC
    )
    return Image.fromarray(np.clip(np.round(np.asarray(large)), 0, 255).astype(np.uint8))


def with_spectrum_of(mean: NDArray[np.float64], pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Raise each spatial frequency of a mean to the power it has in single films.

    Args:
        mean: (H, W).
        pixels: (n, H, W), the films.

    Returns:
        (H, W), the same mean grey value, amplitudes by ring of frequency as the films' root mean square.
    """
    rows, columns = mean.shape
    radius = np.hypot(*np.meshgrid(np.fft.fftfreq(rows), np.fft.fftfreq(columns), indexing="ij"))
    ring = np.round(radius * max(rows, columns)).astype(int)
    count = np.bincount(ring.ravel())

    def amplitude(pictures: NDArray[np.float64]) -> NDArray[np.float64]:
        centred = pictures - pictures.mean(axis=(1, 2), keepdims=True)
        power = (np.abs(np.fft.fft2(centred)) ** 2).mean(axis=0)
        return np.asarray(np.sqrt(np.bincount(ring.ravel(), power.ravel()) / count))

    gain = amplitude(pixels.astype(np.float64)) / np.maximum(amplitude(mean[None]), 1e-9)
    spectrum = np.fft.fft2(mean - mean.mean()) * np.clip(gain, 0.0, MAX_GAIN)[ring]
    return np.asarray(np.real(np.fft.ifft2(spectrum)) + mean.mean())


def to_jpeg(image: Image.Image) -> bytes:
    """Encode as grey JPEG."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return buffer.getvalue()


def text_page() -> Image.Image:
    """A page of typed text, such as is scanned into the same folder as the films."""
    columns, rows = 900, 1200
    page = Image.new("L", (columns, rows), 246)
    draw = ImageDraw.Draw(page)
    heading, body = ImageFont.load_default(40), ImageFont.load_default(22)
    draw.text((90, 90), "Referral letter (sample)", fill=20, font=heading)
    sentence = "This page holds no film. It stands for papers that are scanned with the films. "
    words, line, top = (sentence * 9).split(), "", 190
    for word in words:
        if draw.textlength(f"{line} {word}", font=body) > columns - 180:
            draw.text((90, top), line, fill=35, font=body)
            line, top = word, top + 36
        else:
            line = f"{line} {word}".strip()
    draw.text((90, top), line, fill=35, font=body)
    draw.rectangle((90, top + 90, columns - 90, top + 300), outline=90, width=3)
    draw.text((110, top + 180), "stamp and signature", fill=120, font=body)
    return page


def to_dicom(jpeg: bytes) -> bytes:
    """Wrap a grey JPEG as a DICOM computed radiograph, the pixels untouched.

    Args:
        jpeg: a baseline JPEG of `CLINIC_SIZE`; the identifiers are derived from its bytes.
    """
    import pydicom
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.encaps import encapsulate

    jpeg_baseline = "1.2.840.10008.1.2.4.50"
    computed_radiography = "1.2.840.10008.5.1.4.1.1.1"
    study, series, instance = (
        f"{UID_ROOT}{uuid.uuid5(uuid.NAMESPACE_OID, role + hashlib.sha256(jpeg).hexdigest()).int}"
        for role in ("study", "series", "instance")
    )
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = computed_radiography
    meta.MediaStorageSOPInstanceUID = instance
    meta.TransferSyntaxUID = jpeg_baseline
    film: Any = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    film.SOPClassUID = computed_radiography
    film.SOPInstanceUID = instance
    film.StudyInstanceUID = study
    film.SeriesInstanceUID = series
    film.PatientName, film.PatientID = "Composite^Sample", "SAMPLE-0"
    film.PatientSex, film.PatientAge, film.PatientBirthDate = "O", "003Y", ""
    film.StudyDate, film.StudyTime, film.StudyID = "20240101", "120000", "1"
    film.AccessionNumber, film.ReferringPhysicianName = "", ""
    film.SeriesNumber, film.InstanceNumber = 1, 1
    film.Modality, film.BodyPartExamined, film.ViewPosition = "CR", "CHEST", "AP"
    film.PatientOrientation = ["L", "F"]
    film.ImageComments = "Mean of films of several patients; no patient's film."
    film.SamplesPerPixel, film.PhotometricInterpretation = 1, "MONOCHROME2"
    film.Columns, film.Rows = CLINIC_SIZE
    film.BitsAllocated, film.BitsStored, film.HighBit, film.PixelRepresentation = 8, 8, 7, 0
    film.LossyImageCompression = "01"
    film.PixelData = encapsulate([jpeg])
    film["PixelData"].is_undefined_length = True
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, film, enforce_file_format=True)
    return buffer.getvalue()


def usable_films(root: Path, split: Path | None) -> list[LabelledFilm]:
    """List the films that a composite may be made of.

    Args:
        root: a labelled folder, with its class folders in it.
        split: a split file; only films of its part ``train`` are used, so that validation and test
            films stay unseen. None: all films.
    """
    if split is None:
        return read_labelled_folder(root)
    part = Split.read(split).part("train")
    return [LabelledFilm(film.path, film.label, film.patient) for film in part]


def read_films(root: Path, paths: Sequence[str], spec: InputSpec) -> NDArray[np.uint8]:
    """Decode and prepare films as the device does: (n, H, W) uint8.

    Args:
        root: the folder that the paths are relative to.
        paths: of the films.
        spec: the size wanted.
    """
    return np.stack(
        [preprocess(decode(root / path, spec).pixels, spec)[0, :, :, 0] for path in paths]
    )


def mean_of(root: Path, paths: Sequence[str]) -> Image.Image:
    """The composite of some films; arguments as of `read_films`."""
    return composite(read_films(root, paths, MEAN_SPEC))


def draw_composites(
    films: Sequence[LabelledFilm], likeness: NDArray[np.float32], seed: int
) -> Iterator[tuple[str, list[str]]]:
    """Name and films' paths of each composite that a seed gives; arguments as of `draw_films`."""
    generator = np.random.default_rng(seed)
    for label in COMPOSITES:
        for index, group in enumerate(draw_films(films, likeness, label, generator), 1):
            yield f"{label}-{index}", [film.path for film in group]


def refusal(jpeg: bytes, label: str, classifier: Classifier) -> str:
    """Why a composite is no sample for a model; empty if it is one.

    Args:
        jpeg: the composite.
        label: its class, to be named without a doubt.
        classifier: the model.
    """
    metadata = classifier.metadata
    film = decode(jpeg, metadata.input)
    report = check_pixels(film.pixels)
    if report.reason or report.warnings:
        return report.reason or report.warnings[0]
    scores = classifier.classify(preprocess(film.pixels, metadata.input))
    if metadata.features is not None and scores.features is not None:
        (far,) = feature_score(scores.features[None], metadata.features)
        if far > KNOWN_SHARE * metadata.features.unlike:
            return f"unlike known films ({far:.2f}, limit {metadata.features.unlike:.2f})"
    decision = decide(scores.probabilities, metadata, metadata.operating_point())
    if decision.label != label or decision.triage == "review":
        return f"called {decision.label}, {decision.triage}"
    second, first = np.sort(scores.probabilities)[-2:]
    if first - second < SURE_MARGIN:
        return f"called {decision.label} with {first:.2f}, another class with {second:.2f}"
    return ""


def first_refusal(
    root: Path, composites: Iterable[tuple[str, list[str]]], classifiers: Sequence[Classifier]
) -> str:
    """Which composite is no sample for which model, and why; empty if all are samples for all."""
    for name, paths in composites:
        jpeg = to_jpeg(mean_of(root, paths))
        for classifier in classifiers:
            if why := refusal(jpeg, name.rsplit("-", 1)[0], classifier):
                return f"{name}: {classifier.metadata.name}: {why}"
    return ""


def search_seed(root: Path, split: Path | None, models: Sequence[Path]) -> int | None:
    """The first seed all of whose composites are samples for all models; prints why others are not."""
    root = labelled_root(root)
    films = usable_films(root, split)
    classifiers = [Classifier(model) for model in models]
    likeness = unit_vectors(read_films(root, [film.path for film in films], LIKENESS_SPEC))
    for seed in range(SEARCHED):
        why = first_refusal(root, draw_composites(films, likeness, seed), classifiers)
        print(f"seed {seed}: {why or 'all are samples'}", flush=True)
        if not why:
            return seed
    return None


def make_samples(root: Path, split: Path | None, seed: int, out: Path) -> list[Path]:
    """Write all samples.

    Returns:
        The files written, in order.

    Raises:
        UsageError: the data cannot serve, or the ``dicom`` extra is not installed.
    """
    require("dicom", "make_samples", ["pydicom"])
    root = labelled_root(root)
    films = usable_films(root, split)
    out.mkdir(parents=True, exist_ok=True)
    likeness = unit_vectors(read_films(root, [film.path for film in films], LIKENESS_SPEC))
    groups = dict(draw_composites(films, likeness, seed))
    contents: dict[str, bytes] = {}
    for name, paths in groups.items():
        if len({file_sha256(root / path) for path in paths}) < len(paths):
            raise UsageError(f"{name}: seed {seed} draws one film twice; take another")
        contents[f"{name}.jpeg"] = to_jpeg(mean_of(root, paths))
    last = f"bacterial-{COMPOSITES['bacterial']}"
    # The last bacterial composite ships as DICOM only; its bytes are those of a JPEG inside.
    contents[f"{last}.dcm"] = to_dicom(contents.pop(f"{last}.jpeg"))
    contents["film-of-a-letter.jpeg"] = to_jpeg(text_page())
    whole = contents["viral-1.jpeg"]
    contents["cut-short.jpeg"] = whole[: int(len(whole) * TRUNCATED_SHARE)]
    contents[LIST_NAME] = (json.dumps(groups, indent=1) + "\n").encode()
    for name, data in contents.items():
        (out / name).write_bytes(data)
    return [out / name for name in contents]


def main() -> int:
    """Parse the command line, make the samples, list them."""
    parser = argparse.ArgumentParser(description="Make the sample films in samples/.")
    parser.add_argument("data", type=Path, help="labelled folder, such as chest_xray/")
    parser.add_argument("--split", type=Path, help="split file: use films of its part train only")
    parser.add_argument("--seed", type=int, default=SEED, help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=SAMPLES, help="default: samples/")
    parser.add_argument("--search", type=Path, nargs="+", metavar="MODEL", help="look for a seed")
    arguments = parser.parse_args()
    try:
        if arguments.search:
            seed = search_seed(arguments.data, arguments.split, arguments.search)
            return 0 if seed is not None else 1
        paths = make_samples(arguments.data, arguments.split, arguments.seed, arguments.out)
    except EdgeXrayError as error:
        print(f"make_samples: {error}", file=sys.stderr)
        return int(error.exit_code)
    for path in paths:
        print(f"{path.stat().st_size:>8} {path.name}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
