"""What a model file says of itself, as a person may have written it."""

from __future__ import annotations

import pytest

from edge_xray.errors import ModelError
from edge_xray.metadata import IntendedUse, ModelMetadata
from edge_xray.model_file import read_metadata


def test_one_word_is_a_list_of_one_word():
    use = IntendedUse.from_dict({"modalities": "MR", "body_part": "HEAD", "views": ["AP", "PA"]})
    assert (use.modalities, use.body_part, use.views) == (("MR",), ("HEAD",), ("AP", "PA"))
    assert IntendedUse.from_dict(use.to_dict()) == use


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("age_min_years", "18", "age_min_years must be a number of years, got '18'"),
        ("age_max_years", True, "age_max_years must be a number"),
        ("age_max_years", float("nan"), "age_max_years must be a number"),
        ("age_min_years", -1, "age_min_years must be a number"),
        ("views", ["AP", 3], "views must be words"),
    ],
)
def test_a_use_of_another_kind_is_refused(field, value, words):
    with pytest.raises(ModelError, match=words):
        IntendedUse.from_dict({field: value})


def test_a_delegate_is_allowed_or_not_and_nothing_else(tiny_model):
    record = read_metadata(tiny_model).to_dict()
    assert ModelMetadata.from_dict(record).delegate
    assert not ModelMetadata.from_dict({**record, "delegate": False}).delegate
    del record["delegate"]
    assert ModelMetadata.from_dict(record).delegate, "a model packed before the field was there"
    with pytest.raises(ModelError, match="delegate must be true or false, got 'xnnpack'"):
        ModelMetadata.from_dict({**record, "delegate": "xnnpack"})
