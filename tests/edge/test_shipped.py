from __future__ import annotations

import json

import pytest

from edge_xray import shipped
from edge_xray.errors import ModelError
from edge_xray.labelled import file_sha256
from edge_xray.shipped import read_model, shipped_names


@pytest.fixture
def models(tmp_path, tiny_model, monkeypatch):
    folder = tmp_path / "models"
    folder.mkdir()
    entries = {}
    for name in ("edge-xray-lite0", "edge-xray-tiny"):
        (folder / f"{name}.tflite").write_bytes(tiny_model.read_bytes())
        entries[name] = {"file": f"{name}.tflite", "sha256": file_sha256(tiny_model)}
    index = {"default": "edge-xray-tiny", "models": entries}
    (folder / "models.json").write_text(json.dumps(index))
    monkeypatch.setattr(shipped, "models_folder", lambda: folder)
    return folder


def test_models_are_found_by_name_and_by_file(models):
    assert shipped_names() == ["edge-xray-tiny", "edge-xray-lite0"]
    assert read_model().source == "edge-xray-tiny"
    assert read_model("lite0").source == "edge-xray-lite0"
    assert read_model("edge-xray-lite0").data == read_model(models / "edge-xray-lite0.tflite").data


def test_an_unknown_name_lists_those_there_are(models):
    with pytest.raises(ModelError, match="shipped are edge-xray-lite0, edge-xray-tiny"):
        read_model("resnet")


def test_a_changed_shipped_model_is_refused(models):
    path = models / "edge-xray-tiny.tflite"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelError, match="the installed file is damaged"):
        read_model()


@pytest.mark.parametrize(
    "text", ["", "[]", "[" * 100_000, '{"default": "x"}', '{"default": "x", "models": {"x": {}}}']
)
def test_a_damaged_list_of_models_is_refused(models, text):
    (models / "models.json").write_text(text)
    with pytest.raises(ModelError, match="install edge-xray again"):
        read_model()
    assert shipped_names() == []
