"""Batches of augmented films."""

from __future__ import annotations

import keras
import numpy as np
from numpy.typing import NDArray

from edge_xray_trainer.augment import Augmentation
from edge_xray_trainer.data import FilmSet
from edge_xray_trainer.distillation import Targets


class AugmentedBatches(keras.utils.PyDataset):  # type: ignore[misc]
    """Batches of one epoch; film order and augmentation depend on seed and epoch alone.

    Yields:
        ``(pixels (n, H, W, C) float32 0..255, targets (n, classes) float32, weights (n,) float32)``.
    """

    def __init__(
        self,
        films: FilmSet,
        targets: Targets,
        weights: NDArray[np.float32],
        augmentation: Augmentation,
        *,
        batch_size: int,
        seed: int,
        epoch: int,
        steps: int = 0,
    ) -> None:
        """Draw the order of the epoch; see the class for what comes out."""
        # Two threads prepare the next batches while the network works; order is kept.
        super().__init__(workers=2, use_multiprocessing=False, max_queue_size=8)
        self._films, self._targets, self._weights = films, targets, weights
        self._augmentation, self._batch_size = augmentation, batch_size
        self._seed, self._epoch = seed, epoch
        order = np.random.default_rng([seed, epoch]).permutation(len(films))
        wanted = steps * batch_size if steps else len(films)
        self._order = np.resize(order, wanted)

    def __len__(self) -> int:
        """Batches an epoch."""
        return -(-len(self._order) // self._batch_size)

    def __getitem__(
        self, index: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
        """One batch."""
        start = index * self._batch_size
        chosen = self._order[start : start + self._batch_size]
        pixels = np.stack(
            [
                self._augmentation(
                    self._films.pixels[film],
                    np.random.default_rng([self._seed, self._epoch, start + place]),
                )
                for place, film in enumerate(chosen)
            ]
        )
        return pixels.astype(np.float32), self._targets(chosen, pixels), self._weights[chosen]
