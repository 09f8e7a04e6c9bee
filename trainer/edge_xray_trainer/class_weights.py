"""Films of a rare class count more while a network learns; its answers are at the films' own shares."""

from __future__ import annotations

import keras
import numpy as np
from numpy.typing import NDArray

from edge_xray_trainer.data import FilmSet
from edge_xray_trainer.options import TrainingOptions


def class_weights(options: TrainingOptions, films: FilmSet) -> NDArray[np.float64]:
    """What each film of a class counts in the loss: inversely to the class's share, or 1.

    Under weights w a network learns logits of w_c p(c|x), as if all classes were equally common. The weights are
    taken off again when it is calibrated, as in Saerens et al. 2002, equation 2.4: a finding that is twice as common
    is then twice as likely, all else equal. They are factors of probabilities, so log w belongs to the logits
    *after* they are divided by the temperature: temperature x log w is taken off the network's own.

    Args:
        options: `balance_classes`.
        films: the training films; every class has some.

    Returns:
        (classes,), mean over the films 1.
    """
    if not options.balance_classes:
        return np.ones(len(films.names))
    counts = np.bincount(films.labels, minlength=len(films.names))
    weights: NDArray[np.float64] = len(films) / (len(films.names) * counts)
    return weights


def shift_logits(network: keras.Model, offsets: NDArray[np.floating]) -> None:
    """Add a constant to each class's logit, by the bias of its evidence map.

    Args:
        network: with the layer ``evidence``; changed in place.
        offsets: (classes,).
    """
    bias = network.get_layer("evidence").bias
    bias.assign(bias + offsets.astype(np.float32))
