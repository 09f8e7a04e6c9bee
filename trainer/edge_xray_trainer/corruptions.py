"""The 13 corruptions of PneumoniaMNIST-C at 5 severities, with numpy, Pillow and scipy.

Di Salvo, Doerrich & Ledig 2024, "MedMNIST-C: Comprehensive benchmark and improved classifier
robustness by simulating realistic image corruptions" (arXiv 2406.17536). Kinds and severities are those
its registry lists for ``pneumoniamnist``; what each does follows the paper's definitions and the
libraries it names, so that balanced errors can be compared with those of the benchmark:

* films are 224x224, noise is drawn for each of three equal channels and the result turned grey;
* what is noisy is truncated to whole grey levels, what is filtered is rounded.

Every draw is seeded by corruption, severity and film, so each model sees the same noise.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

Pixels = NDArray[np.uint8]

CORRUPTION_SIDE = 224
"""Films are corrupted at this many pixels a side, as in the benchmark, then resized for a network."""

SEVERITIES = (1, 2, 3, 4, 5)

GREY_LEVELS = 255.0

ALEXNET_BALANCED_ERROR = 0.2653
"""Mean over the 13 corruptions of the balanced error of the benchmark's AlexNet on its own test set."""


@dataclass(frozen=True)
class Corruption:
    """One way in which a film differs from those a network was trained on.

    Attributes:
        name: as in the benchmark.
        parameters: one a severity, from mild to strong.
        apply: ``(uint8 (H, W) or (H, W, 3), parameter, generator) -> uint8`` of the same shape.
        alexnet: balanced error of the benchmark's AlexNet, mean over the severities, for reference.
        by_channel: whether it treats three equal channels differently, so that a grey film must be
            made of three.
    """

    name: str
    parameters: tuple[float, ...]
    apply: Callable[[Pixels, float, np.random.Generator], Pixels]
    alexnet: float
    by_channel: bool = False


def _noisy(values: NDArray[np.float64]) -> Pixels:
    return (np.clip(values, 0.0, 1.0) * GREY_LEVELS).astype(np.uint8)


def _gaussian_noise(pixels: Pixels, deviation: float, draw: np.random.Generator) -> Pixels:
    return _noisy(pixels / GREY_LEVELS + draw.normal(0.0, deviation, pixels.shape))


def _speckle_noise(pixels: Pixels, deviation: float, draw: np.random.Generator) -> Pixels:
    return _noisy(pixels / GREY_LEVELS * (1.0 + draw.normal(0.0, deviation, pixels.shape)))


def _shot_noise(pixels: Pixels, photons: float, draw: np.random.Generator) -> Pixels:
    return _noisy(draw.poisson(pixels / GREY_LEVELS * photons) / photons)


def _impulse_noise(pixels: Pixels, amount: float, draw: np.random.Generator) -> Pixels:
    """Salt and pepper in equal parts."""
    struck = draw.random(pixels.shape) <= amount
    salt = draw.random(pixels.shape) <= 0.5
    return np.where(struck, np.where(salt, 255, 0), pixels).astype(np.uint8)


def _gaussian_blur(pixels: Pixels, kernel: float, draw: np.random.Generator) -> Pixels:
    """A truncated Gaussian of an odd width; its deviation is OpenCV's rule for that width."""
    del draw
    from scipy.ndimage import correlate1d

    deviation = 0.3 * ((kernel - 1) * 0.5 - 1) + 0.8
    place = np.arange(kernel) - (kernel - 1) / 2
    weights = np.exp(-0.5 * (place / deviation) ** 2)
    weights /= weights.sum()
    blurred = pixels.astype(np.float32)
    for axis in (0, 1):
        blurred = correlate1d(blurred, weights, axis=axis, mode="mirror")
    return np.round(blurred).astype(np.uint8)


def _pixelate(pixels: Pixels, factor: float, draw: np.random.Generator) -> Pixels:
    del draw
    image = Image.fromarray(pixels)
    small = image.resize(
        (int(image.width * factor), int(image.height * factor)), Image.Resampling.BOX
    )
    return np.asarray(small.resize(image.size, Image.Resampling.BOX))


def _jpeg(pixels: Pixels, quality: float, draw: np.random.Generator) -> Pixels:
    del draw
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=int(quality))
    with Image.open(buffer) as image:
        return np.asarray(image)


def _brightness(pixels: Pixels, factor: float, draw: np.random.Generator) -> Pixels:
    del draw
    return np.asarray(ImageEnhance.Brightness(Image.fromarray(pixels)).enhance(factor))


def _contrast(pixels: Pixels, factor: float, draw: np.random.Generator) -> Pixels:
    del draw
    return np.asarray(ImageEnhance.Contrast(Image.fromarray(pixels)).enhance(factor))


def _gamma(pixels: Pixels, gamma: float, draw: np.random.Generator) -> Pixels:
    """``255.999 * (v / 255) ** gamma``, truncated."""
    del draw
    levels = (np.arange(256) / GREY_LEVELS) ** gamma * (256.0 - 1e-3)
    table: Pixels = levels.astype(np.uint8)
    return table[pixels]


_UP = (1.1, 1.2, 1.3, 1.4, 1.6)
_DOWN = (0.9, 0.8, 0.7, 0.6, 0.4)

CORRUPTIONS: tuple[Corruption, ...] = (
    Corruption("pixelate", (0.8, 0.7, 0.6, 0.5, 0.4), _pixelate, 0.2210),
    Corruption("jpeg_compression", (50, 30, 15, 10, 7), _jpeg, 0.2798),
    Corruption("gaussian_noise", (0.04, 0.05, 0.06, 0.07, 0.08), _gaussian_noise, 0.4415, True),
    Corruption("speckle_noise", (0.05, 0.07, 0.10, 0.15, 0.20), _speckle_noise, 0.3457, True),
    Corruption("impulse_noise", (0.005, 0.01, 0.013, 0.017, 0.02), _impulse_noise, 0.4581, True),
    Corruption("shot_noise", (300, 200, 150, 100, 80), _shot_noise, 0.4107, True),
    Corruption("gaussian_blur", (3, 5, 7, 9, 11), _gaussian_blur, 0.2731),
    Corruption("brightness_up", (1.1, 1.2, 1.3, 1.4, 1.5), _brightness, 0.1465),
    Corruption("brightness_down", (0.9, 0.8, 0.7, 0.6, 0.5), _brightness, 0.2782),
    Corruption("contrast_up", _UP, _contrast, 0.0953),
    Corruption("contrast_down", _DOWN, _contrast, 0.2374),
    Corruption("gamma_corr_up", _UP, _gamma, 0.0961),
    Corruption("gamma_corr_down", _DOWN, _gamma, 0.1664),
)


def corrupt(pixels: Pixels, corruption: Corruption, severity: int, *, seed: int = 0) -> Pixels:
    """Corrupt one film.

    Args:
        pixels: uint8, (H, W) grey or (H, W, 3) colour, 0..255; 224x224 to match the benchmark.
        corruption: one of `CORRUPTIONS`.
        severity: 1 (mild) to 5 (strong).
        seed: of the draw: one a film.

    Returns:
        uint8 of the same shape.

    Raises:
        ValueError: no such severity.
    """
    if severity not in SEVERITIES:
        raise ValueError(f"severity must be one of {SEVERITIES}, got {severity}")
    kind = sum(ord(letter) << (8 * (i % 4)) for i, letter in enumerate(corruption.name))
    draw = np.random.default_rng([kind, severity, seed])
    parameter = corruption.parameters[severity - 1]
    if pixels.ndim == 3 or not corruption.by_channel:
        return corruption.apply(pixels, parameter, draw)
    colour = np.repeat(pixels[..., None], 3, axis=2)
    return np.asarray(Image.fromarray(corruption.apply(colour, parameter, draw)).convert("L"))
