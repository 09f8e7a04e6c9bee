"""Write a shipped model's card from what was measured: no figure in it is typed by hand.

    python docs/make_card.py models/NAME.tflite --record RUN/record.json

Reads ``NAME.evaluation.json`` (``edge-xray evaluate``), ``NAME.parity.json`` (``edge-xray parity``) and
``comparison.json`` (``edge-xray compare``) beside the model, and refuses reports on other bytes than the
model's. ``NAME.seeds.json``, a comparison of the recipe's seeds, is read where it is there. Writes
``NAME.card.md``.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from edge_xray.errors import EdgeXrayError, UsageError
from edge_xray.labelled import file_sha256
from edge_xray.metadata import DISCLAIMER, ModelMetadata
from edge_xray.model_file import read_metadata

ATTRIBUTION = (
    "Daniel Kermany, Kang Zhang, Michael Goldbaum: *Labeled Optical Coherence Tomography (OCT) and Chest "
    "X-Ray Images for Classification*, Mendeley Data v2, "
    "[10.17632/rscbjbr9sj.2](https://doi.org/10.17632/rscbjbr9sj.2), CC BY 4.0"
)


BUILT_IN_KERNELS = (
    "- **Kernels:** the runtime's built-in ones and not its delegate, so that on one kind of processor it gives "
    "the same answers with every runtime ([why](../docs/design.md#the-runtime))."
)


def percent(estimate: dict[str, float]) -> str:
    """A share with its interval: ``95.4 % (93.5 to 97.1)``."""
    value, low, high = (100 * estimate[name] for name in ("value", "low", "high"))
    return f"{value:.1f} % ({low:.1f} to {high:.1f})"


def number(estimate: dict[str, float]) -> str:
    """A figure with its interval: ``0.991 (0.985 to 0.996)``."""
    return f"{estimate['value']:.3f} ({estimate['low']:.3f} to {estimate['high']:.3f})"


def learned_from(record: dict[str, Any], beside: Path) -> str:
    """A sentence on the networks that training began from and learned from; empty if it was neither.

    Args:
        record: of the run.
        beside: the folder of the card. A teacher whose bytes are those of a model there is named as that.
    """
    options, sums = record["options"], record.get("learned_from_sha256", {})
    models = {file_sha256(path): path.name for path in sorted(beside.glob("*.tflite"))}
    parts = []
    if options["initial"]:
        parts.append(f"began from the weights of an earlier run (`{options['initial']}`)")
    if options["teacher"]:
        asked = "each varied film" if options["teacher_sees"] == "view" else "each film"
        words = ", ".join(f"`{models.get(sums.get(name), name)}`" for name in options["teacher"])
        parts.append(f"learned from the labels and from what {words} says of {asked}")
    return f"It {' and '.join(parts)}. " if parts else ""


def card(
    model: Path,
    metadata: ModelMetadata,
    evaluation: dict[str, Any],
    parity: dict[str, Any],
    record: dict[str, Any],
    comparison: dict[str, Any],
    seeds: dict[str, Any] | None,
) -> str:
    """The card as Markdown.

    Args:
        model: the ``.tflite`` file.
        metadata: what it says of itself.
        evaluation: what ``edge-xray evaluate`` measured on it.
        parity: what ``edge-xray parity`` measured on it.
        record: the training record.
        comparison: what ``edge-xray compare`` measured on it and on other networks.
        seeds: the same on runs of its recipe that differ by seed; None if there are none.
    """
    use, point, test = metadata.intended_use, metadata.operating_points[0], evaluation["test"]
    data, films = evaluation["data"], record["data"]["films"]
    corrupted = evaluation["robustness"]
    whole = {part: sum(counts.values()) for part, counts in films.items()}
    classes = evaluation["classes"]
    lines = [
        f"# Model card: {metadata.name} {metadata.version}",
        "",
        DISCLAIMER,
        "",
        "## What it is",
        "",
        f"A network ({metadata.architecture}, {metadata.quantization}, "
        f"{model.stat().st_size / 1e6:.2f} MB) that looks at one chest film of {metadata.input.width} × "
        f"{metadata.input.height} grey pixels and says how likely it shows "
        + ", ".join(f"*{name}*" for name in metadata.label_names)
        + ". It gives an evidence map whose mean is the score, and features by which films unlike those it "
        "knows are told and not scored.",
        "",
        f"- **For:** {use.summary}",
        f"- **Not for:** {use.not_for}",
        f"- **Licence:** {metadata.licence or 'Apache-2.0'}",
        f"- **SHA-256:** `{file_sha256(model)}`",
        *([] if metadata.delegate else [BUILT_IN_KERNELS]),
        "",
        "## How good it is",
        "",
        f"On the internal test: {data['films']} films of {data['patients']} patients, none of whom it was "
        "trained or calibrated on. A few choices of design were made when figures of these films had been seen "
        "([which](../docs/design.md#what-makes-the-shipped-model-hold-elsewhere)), so they lean good by a "
        f"little. At the operating point *{point.name}* (a finding from a probability of "
        f"{point.threshold:.3f}; {point.rule}). Intervals of 95 %, by patient.",
        "",
        "| figure | value |",
        "|---|---|",
        f"| AUC, finding or none | {number(test['auc'])} |",
        f"| Sensitivity | {percent(test['sensitivity'])} |",
        f"| Specificity | {percent(test['specificity'])} |",
        f"| Accuracy, finding or none | {percent(test['accuracy'])} |",
    ]
    lines.append(f"| Accuracy of the label, all classes | {percent(classes['accuracy'])} |")
    lines += [
        f"| *{name}* called *{name}* | {percent(value)} |"
        for name, value in classes["recall"].items()
    ]
    lines += [f"| AUC, {name} | {number(value)} |" for name, value in classes["pairs"].items()]
    calibration = evaluation["score_calibration"]
    lines.append(
        f"| Calibration error (ECE) of the finding | {number(calibration['finding'])}; chance alone would make "
        f"{calibration['finding_by_chance']:.3f} |"
    )
    if corrupted:
        lines.append(
            f"| Mean balanced error over {len(corrupted['by_corruption'])} corruptions | "
            f"{number(corrupted['mean'])} |"
        )
    for name, own in evaluation["shortcut"].items():
        lines.append(f"| AUC, {name.replace('_', ' ')} | {number(own['auc'])} |")
    lines += [
        "",
        f"All tables and plots: [evaluation]({model.stem}.evaluation.md). What int8 cost against float32 on "
        f"the same films: [parity report]({model.stem}.parity.md), "
        f"{parity['comparisons'][0]['verdict']}.",
        "",
        *compared(comparison, seeds, model.stem, record["model_sha256"]),
        "## What it is not",
        "",
        "- All films are of one hospital, of children of 1 to 5 years, of about 400 to 2,900 pixels a side before they "
        "were made small. Another hospital's films differ; measure on a hundred of your own, read by a "
        "radiologist, before you rely on it.",
        "- Which germ caused a pneumonia is only partly to be seen on a film, and part of the labels it "
        "learned from cannot be told apart at all ([the data](../docs/data.md)): take *bacterial* and "
        "*viral* for what looks more like it, and refer any child who looks ill.",
        "- The official test films of the data set (624) were not used for any choice here.",
        "",
        "## Data and training",
        "",
        f"{ATTRIBUTION}: {sum(whole.values())} films of the official training part, split by patient and by "
        "copies ("
        + ", ".join(f"{part} {count}" for part, count in sorted(whole.items()))
        + "; seed "
        f"{record['data']['split_seed']}, SHA-256 of the split `{record['data']['split_sha256']}`). "
        f"{learned_from(record, model.parent)}"
        f"Architecture {metadata.architecture}; options and every epoch are in the "
        f"[training record]({model.stem}.record.json). Score calibration (temperature "
        f"{metadata.calibration.temperature:.3f}, of the finding {metadata.calibration.finding_temperature:.3f}) "
        "and operating points were fitted on validation films only:",
        "",
        "| operating point | threshold | sensitivity on validation | specificity on validation | rule |",
        "|---|---|---|---|---|",
    ]
    for own in metadata.operating_points:
        figures = (
            percent(figure.to_dict()) if figure else "–"
            for figure in (own.sensitivity, own.specificity)
        )
        lines.append(f"| {own.name} | {own.threshold:.3f} | {' | '.join(figures)} | {own.rule} |")
    lines += [
        "",
        "## Making it again",
        "",
        "`models/make_models.sh chest_xray` makes the models, their reports, the comparison and this card again; the split "
        "is [split.json](split.json). On another processor, or with another number of threads, sums are taken in "
        "another order and the weights come out a little different.",
        "",
    ]
    return "\n".join(lines)


def compared(
    comparison: dict[str, Any], seeds: dict[str, Any] | None, name: str, network: str
) -> list[str]:
    """The section that sets a model beside others, as lines of Markdown.

    Args:
        comparison: as in `card`.
        seeds: as in `card`.
        name: of the model's file, without its ending.
        network: SHA-256 of the ``.keras`` file that the model was made of.
    """
    runs = comparison["runs"]
    stand_ins = list(dict.fromkeys(own for run in runs for own in run["stand_ins"]))
    columns = [
        *("network", "numbers", "input", "MB", "AUC", "accuracy", "bacterial vs viral"),
        *("error, corrupted", "AUC, border only"),
        *(f"balanced accuracy, {own}" for own in stand_ins),
    ]
    lines = [
        "## Beside other networks",
        "",
        "The same films, each network at its own operating point. Error, corrupted: mean balanced error over "
        "13 corruptions at 5 severities. AUC, border only: the further from 0.5, above or below, the more is read "
        "there. Balanced accuracy, *A to B*: the same recipe, shortened, trained "
        "without the normal films of series *B* and measured on them: a stand-in for another site. More, "
        "and the command: [comparison](comparison.md).",
        "",
        f"| {' | '.join(columns)} |",
        f"|{'---|' * len(columns)}",
    ]
    for run in runs:
        pair = next(iter(run["pairs"].values()), None)
        cells = [
            run["name"],
            run["quantization"],
            f"{run['input']['width']} × {run['input']['height']}",
            f"{run['bytes'] / 1e6:.2f}",
            number(run["test"]["auc"]),
            percent(run["test"]["accuracy"]),
            number(pair) if pair else "–",
            number(run["robustness"]) if run["robustness"] else "–",
            number(run["border"]["auc"]) if run["border"] else "–",
            *(
                percent(run["stand_ins"][own]) if own in run["stand_ins"] else "–"
                for own in stand_ins
            ),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    if seeds is not None:
        own = any(run["sha256"] == network for run in seeds["runs"])
        which = "" if own else " (other runs, of before the last change of the trainer)"
        lines += [
            "",
            f"Spread over {len(seeds['runs'])} seeds of the recipe{which}, on the same films: ",
        ]
        words = []
        for label, kind, show in (
            ("AUC", "auc", ".3f"),
            ("accuracy", "accuracy", ".1%"),
            ("sensitivity", "sensitivity", ".1%"),
            ("specificity", "specificity", ".1%"),
        ):
            values = [run["test"][kind]["value"] for run in seeds["runs"]]
            words.append(f"{label} {min(values):{show}} to {max(values):{show}}")
        lines[-1] += "; ".join(words) + f" ([each]({name}.seeds.md))."
    return [*lines, ""]


def checked(path: Path, sha256: str, found: list[str]) -> None:
    """Refuse a report that is not of the model's bytes."""
    if sha256 not in found:
        raise UsageError(f"{path}: expected a report on the model {sha256[:12]}…, it is on others")


def main() -> int:
    """Parse the command line and write the card."""
    parser = argparse.ArgumentParser(description="Write a model's card from its reports.")
    parser.add_argument("model", type=Path)
    parser.add_argument("--record", type=Path, required=True)
    arguments = parser.parse_args()
    model: Path = arguments.model
    try:
        sha256 = file_sha256(model)
        texts = {
            name: model.with_name(f"{model.stem}.{name}.json") for name in ("evaluation", "parity")
        }
        texts["comparison"] = model.with_name("comparison.json")
        evaluation, parity, comparison = (
            json.loads(path.read_text("utf-8")) for path in texts.values()
        )
        checked(texts["evaluation"], sha256, [evaluation["model"]["sha256"]])
        checked(texts["parity"], sha256, [entry["sha256"] for entry in parity["models"]])
        checked(texts["comparison"], sha256, [run["sha256"] for run in comparison["runs"]])
        record = json.loads(arguments.record.read_text("utf-8"))
        kept = model.with_name(f"{model.stem}.seeds.json")
        seeds = json.loads(kept.read_text("utf-8")) if kept.is_file() else None
        text = card(
            model,
            read_metadata(model),
            evaluation,
            parity,
            record,
            comparison,
            seeds,
        )
    except EdgeXrayError as error:
        print(f"make_card: {error}", file=sys.stderr)
        return int(error.exit_code)
    except FileNotFoundError as error:
        print(f"make_card: {error.filename}: no such file", file=sys.stderr)
        return 2
    target = model.with_name(f"{model.stem}.card.md")
    target.write_text(text, encoding="utf-8")
    print(target)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
