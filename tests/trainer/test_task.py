"""The same code serves other regions and other scans; only options differ."""

from __future__ import annotations

import pytest

from edge_xray.errors import UsageError
from edge_xray_trainer.task import task_for


def test_the_guangzhou_labels_are_known() -> None:
    task = task_for(["viral", "normal", "bacterial"])
    assert task.names == ("normal", "bacterial", "viral")
    assert [label.triage for label in task.labels] == ["none", "urgent", "supportive"]
    assert task.finding == "pneumonia"


def test_another_task_is_described_by_options() -> None:
    task = task_for(
        ["glioma", "no_tumour", "meningioma"],
        {
            "finding": "tumour",
            "modalities": ["MR"],
            "labels": {"meningioma": {"triage": "supportive", "advice": "See the clinic."}},
        },
    )
    assert task.names == ("no_tumour", "glioma", "meningioma")
    assert [label.triage for label in task.labels] == ["none", "urgent", "supportive"]
    assert task.labels[2].advice == "See the clinic."
    assert task.intended_use.modalities == ("MR",)
    assert task.intended_use.body_part == ()


@pytest.mark.parametrize(
    ("names", "options", "said"),
    [
        (["cat", "dog"], None, "Say it with --negative"),
        (["cat", "dog"], {"negative": ["cow"]}, r"names \['cow'\], which are no classes"),
        (["cat", "dog"], {"negative": ["cat", "dog"]}, "names every class"),
        (["cat", "normal"], {"labels": {"cat": {"triage": "now"}}}, "urgent, supportive or none"),
        (["cat", "normal"], {"labels": {"cat": {"color": "red"}}}, "unknown settings"),
        (["cat", "normal"], {"region": "knee"}, "unknown fields"),
    ],
)
def test_a_wrong_description_is_refused(names: list[str], options: object, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        task_for(names, options)  # type: ignore[arg-type]
