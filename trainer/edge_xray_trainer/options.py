"""What a training run is asked for: flags and a TOML file end here, and the record holds all of it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from edge_xray.errors import UsageError
from edge_xray_trainer.augment import Augmentation
from edge_xray_trainer.task import check_table

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@dataclass(frozen=True)
class TrainingOptions:
    """Everything that decides what a run gives, beside the films and the split.

    Attributes:
        architecture: name in `edge_xray_trainer.architectures.ARCHITECTURES`.
        input_size: height and width in pixels; 0 takes the architecture's own.
        channels: 1 grey, 3 colour.
        pretrained: start from ImageNet weights where the architecture has them.
        norm: ``frozen`` keeps batch-normalization statistics (after one adaptation to the films), which
            halves the time of a step and makes averages of weights meaningful; ``live`` trains them, as
            a network without pretrained weights needs; ``auto`` chooses by that.
        epochs: passes over the training films.
        steps_per_epoch: batches a pass; 0 takes each film once.
        batch_size: films a step.
        learning_rate: peak of the schedule (AdamW).
        warmup_epochs: linear rise to it, before a cosine falls to 1 % of it.
        weight_decay: decoupled, as in Loshchilov & Hutter 2019.
        label_smoothing: share of the target spread over all classes.
        dropout: of channels before the head.
        weight_average: momentum of the moving average of weights that is evaluated and kept; 0 for none. In a
            short run it is less, so that the average looks back over a tenth of the steps at most.
        balance_classes: weigh films by the inverse share of their class.
        patience: stop after so many epochs without a better validation loss; 0 never stops.
        seed: of initial weights, film order, augmentation and dropout.
        deterministic: ask the backend for reproducible kernels (slower on a GPU).
        initial: a ``.keras`` file of the same architecture and labels whose weights to start from,
            normalization statistics included; empty for none.
        teacher: ``.keras`` or packed ``.tflite`` files of the same labels to distil from, whose answers are
            averaged; empty for none.
        teacher_sees: ``film`` asks about each film once, as it is; ``view`` about each varied film as the student is
            shown it, which costs the teacher's time in every epoch and pays in a long run.
        teacher_weight: share of the target taken from the teacher, 0..1.
        teacher_temperature: softens the teacher's answers (Hinton et al. 2015).
        augmentation: how films are varied.
    """

    architecture: str = "lite0"
    input_size: int = 0
    channels: int = 1
    pretrained: bool = True
    norm: Literal["auto", "frozen", "live"] = "auto"
    epochs: int = 12
    steps_per_epoch: int = 0
    batch_size: int = 32
    learning_rate: float = 4e-4
    warmup_epochs: float = 0.5
    weight_decay: float = 0.02
    label_smoothing: float = 0.05
    dropout: float = 0.2
    weight_average: float = 0.995
    balance_classes: bool = True
    patience: int = 0
    seed: int = 0
    deterministic: bool = False
    initial: str = ""
    teacher: tuple[str, ...] = ()
    teacher_sees: Literal["film", "view"] = "film"
    teacher_weight: float = 0.5
    teacher_temperature: float = 2.0
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        """Refuse values no run can use.

        Raises:
            UsageError: names the option, the value received and the values expected.
        """
        limits: dict[str, tuple[float, float]] = {
            "epochs": (1, 10_000),
            "steps_per_epoch": (0, 1_000_000),
            "batch_size": (1, 4096),
            "learning_rate": (1e-8, 1.0),
            "warmup_epochs": (0, 1000),
            "weight_decay": (0, 1),
            "label_smoothing": (0, 0.5),
            "dropout": (0, 0.9),
            "weight_average": (0, 0.99999),
            "patience": (0, 10_000),
            "seed": (0, 2**32 - 1),
            "teacher_weight": (0, 1),
            "teacher_temperature": (0.1, 20),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise UsageError(f"{name} must be {low:.10g} to {high:.10g}, got {value}")
        if isinstance(self.teacher, str):
            # As one name, the way records of one teacher were written.
            object.__setattr__(self, "teacher", (self.teacher,) if self.teacher else ())
        object.__setattr__(self, "teacher", tuple(self.teacher))
        if self.teacher_sees not in ("film", "view"):
            raise UsageError(f"teacher_sees must be film or view, got {self.teacher_sees!r}")
        if self.norm not in ("auto", "frozen", "live"):
            raise UsageError(f"norm must be auto, frozen or live, got {self.norm!r}")
        if self.channels not in (1, 3):
            raise UsageError(f"channels must be 1 or 3, got {self.channels}")
        if self.input_size and not 28 <= self.input_size <= 1024:
            raise UsageError(f"input_size must be 28 to 1024 pixels, got {self.input_size}")

    def to_dict(self) -> dict[str, Any]:
        """Plain data, JSON-ready."""
        return asdict(self)


def read_config(path: Path) -> tuple[TrainingOptions, dict[str, Any] | None]:
    """Read a TOML file: options at the top, ``[augmentation]`` and ``[task]`` as tables.

    Returns:
        ``(options, the [task] table or None)``; the table is for `edge_xray_trainer.task.task_for`.

    Raises:
        UsageError: unreadable TOML, or a name, a type or a value that no option has.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{path}: expected a TOML file of training options ({error})") from error
    augmentation, task = values.pop("augmentation", {}), values.pop("task", None)
    for name, table in (("augmentation", augmentation), ("task", task)):
        if table is not None and not isinstance(table, dict):
            raise UsageError(f"{path}: {name} must be a table, [{name}]")
    check_table(task)
    start = TrainingOptions(augmentation=_checked(Augmentation(), augmentation, str(path)))
    return update_options(start, values, str(path)), task


def update_options(
    options: TrainingOptions, values: Mapping[str, Any], source: str = "options"
) -> TrainingOptions:
    """Replace some options.

    Args:
        options: what to start from.
        values: option name to value; None leaves an option as it is.
        source: where the values come from, for messages.

    Raises:
        UsageError: an unknown name, or a value of the wrong type or out of range.
    """
    return _checked(options, {k: v for k, v in values.items() if v is not None}, source)


_Options = TypeVar("_Options", TrainingOptions, Augmentation)


def _checked(options: _Options, values: Mapping[str, Any], source: str) -> _Options:
    known = {item.name: getattr(options, item.name) for item in fields(options)}
    for name, value in values.items():
        if name not in known:
            raise UsageError(f"{source}: unknown option {name!r}; expected one of {sorted(known)}")
        wanted = type(known[name])
        if wanted is tuple:
            words = [value] if isinstance(value, str) else value
            if not isinstance(words, list | tuple) or not all(isinstance(x, str) for x in words):
                raise UsageError(f"{source}: {name} must be a list of words, got {value!r}")
            continue
        fits = isinstance(value, wanted) or (wanted is float and type(value) is int)
        if not fits or (isinstance(value, bool) and wanted is not bool):
            raise UsageError(f"{source}: {name} must be {wanted.__name__}, got {value!r}")
    return replace(options, **values)
