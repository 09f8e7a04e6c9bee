"""Augmentation that matches how films differ between sites.

Every operation stands for something that differs from one hospital to the next: exposure, detector
curve and window (gamma, contrast, equalization), collimation and framing (crop, aspect, rotation,
shift), what stands at the border (markers, black bars), sharpness, noise, resizing, JPEG quality.
"""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter, ImageOps

from edge_xray.errors import UsageError

_FILTERS = (
    Image.Resampling.BILINEAR,
    Image.Resampling.BICUBIC,
    Image.Resampling.LANCZOS,
    Image.Resampling.BOX,
    Image.Resampling.HAMMING,
)

_LIMITS = {
    "rotation_degrees": (0.0, 180.0),
    "zoom": (0.0, 4.0),
    "zoom_out": (0.0, 1.0),
    "aspect": (0.0, 4.0),
    "shift": (0.0, 1.0),
    "gamma": (0.0, 3.0),
    "contrast": (0.0, 3.0),
    "brightness": (0.0, 255.0),
    "shading": (0.0, 2.0),
    "blur_radius": (0.0, 50.0),
    "noise_level": (0.0, 255.0),
    "jpeg_quality": (1.0, 94.0),
    "border": (0.0, 0.5),
    "patch": (0.0, 1.0),
}
"""Least and most of each strength; chances are 0 to 1. Qualities of JPEG are drawn up to 94."""


@dataclass(frozen=True)
class Augmentation:
    """How strongly films are varied. ``*_chance`` are probabilities, 0..1, for each film.

    Attributes:
        rotation_degrees: largest rotation either way.
        zoom: largest zoom in, as a factor - 1; zooming in is what tighter collimation looks like.
        zoom_out: largest zoom out, as the logarithm of the factor; up to 0.1 about the share of the side left black.
        aspect: largest change of the ratio of sides, as a factor - 1.
        shift: largest shift, as a share of the side.
        flip_chance: mirror left and right.
        gamma: largest ``|log(gamma)|`` of the detector curve.
        contrast: largest ``|log(contrast)|`` about the film's mean.
        brightness: largest change, in grey levels.
        equalize_chance: histogram equalization, as some consoles do by default.
        shading_chance: a linear fall-off across the film (heel effect, scatter).
        shading: largest fall-off, as a share.
        blur_chance: Gaussian blur, or sharpening half as often.
        blur_radius: largest, in pixels.
        resize_chance: down and up again with a random filter: other copies, other resizers.
        noise_chance: Gaussian noise.
        noise_level: largest standard deviation, in grey levels.
        jpeg_chance: re-encoding.
        jpeg_quality: lowest quality.
        border_chance: border dropout, against reading the frame instead of the chest.
        border: largest width, as a share of the side.
        patch_chance: one to three patches blanked (DeVries & Taylor 2017).
        patch: largest side of a patch, as a share of the film's.
    """

    rotation_degrees: float = 10.0
    zoom: float = 0.25
    zoom_out: float = 0.08
    aspect: float = 0.15
    shift: float = 0.05
    flip_chance: float = 0.5
    gamma: float = 0.5
    contrast: float = 0.4
    brightness: float = 40.0
    equalize_chance: float = 0.1
    shading_chance: float = 0.2
    shading: float = 0.4
    blur_chance: float = 0.2
    blur_radius: float = 1.5
    resize_chance: float = 0.2
    noise_chance: float = 0.25
    noise_level: float = 14.0
    jpeg_chance: float = 0.2
    jpeg_quality: int = 25
    border_chance: float = 0.4
    border: float = 0.12
    patch_chance: float = 0.3
    patch: float = 0.25

    def __post_init__(self) -> None:
        """Refuse strengths at which no film would be left.

        Raises:
            UsageError: names the setting, the value received and the values expected.
        """
        for name, value in asdict(self).items():
            low, high = (0.0, 1.0) if name.endswith("_chance") else _LIMITS[name]
            if not low <= value <= high:
                raise UsageError(f"[augmentation] {name} must be {low:g} to {high:g}, got {value}")

    def __call__(
        self, pixels: NDArray[np.uint8], generator: np.random.Generator
    ) -> NDArray[np.uint8]:
        """Vary one film.

        Args:
            pixels: (H, W, C) uint8, C 1 or 3.
            generator: where chance comes from; the same state gives the same film.

        Returns:
            (H, W, C) uint8, a new array.
        """
        image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
        image = self._geometry(image, generator)
        image = self._sharpness(image, generator)
        varied = self._exposure(image, generator)
        varied = self._border(varied, generator)
        varied = self._patches(varied, generator)
        if generator.random() < self.noise_chance:
            level = generator.uniform(min(1.0, self.noise_level), self.noise_level)
            noise = generator.standard_normal(varied.shape[:2], np.float32) * np.float32(level)
            varied = varied + (noise if varied.ndim == 2 else noise[..., None])
        result = np.clip(np.rint(varied), 0, 255).astype(np.uint8)
        if generator.random() < self.jpeg_chance:
            result = _jpeg(result, int(generator.integers(self.jpeg_quality, 95)))
        return result.reshape(pixels.shape)

    def _geometry(self, image: Image.Image, generator: np.random.Generator) -> Image.Image:
        width, height = image.size
        angle = np.deg2rad(generator.uniform(-self.rotation_degrees, self.rotation_degrees))
        zoom = np.exp(generator.uniform(-np.log1p(self.zoom), self.zoom_out))
        stretch = np.exp(generator.uniform(-np.log1p(self.aspect), np.log1p(self.aspect)) / 2)
        flip = -1.0 if generator.random() < self.flip_chance else 1.0
        # PIL maps the middles of output pixels to input pixels: about the centre, scaled, turned, then shifted.
        a, b = zoom * stretch * np.cos(angle) * flip, zoom * stretch * np.sin(angle)
        d, e = -zoom / stretch * np.sin(angle) * flip, zoom / stretch * np.cos(angle)
        centre_x, centre_y = width / 2, height / 2
        shift_x = generator.uniform(-self.shift, self.shift) * width
        shift_y = generator.uniform(-self.shift, self.shift) * height
        matrix = (
            a,
            b,
            centre_x + shift_x - a * centre_x - b * centre_y,
            d,
            e,
            centre_y + shift_y - d * centre_x - e * centre_y,
        )
        smooth = Image.Resampling.BICUBIC if generator.random() < 0.5 else Image.Resampling.BILINEAR
        return image.transform(image.size, Image.Transform.AFFINE, matrix, smooth)

    def _sharpness(self, image: Image.Image, generator: np.random.Generator) -> Image.Image:
        chance = generator.random()
        if chance < self.blur_chance:
            radius = generator.uniform(min(0.3, self.blur_radius), self.blur_radius)
            image = image.filter(ImageFilter.GaussianBlur(radius))
        elif chance < 1.5 * self.blur_chance:
            image = image.filter(ImageFilter.UnsharpMask(2, int(generator.integers(40, 160)), 0))
        if generator.random() < self.resize_chance:
            small = generator.uniform(0.4, 0.9)
            down, up = generator.integers(0, len(_FILTERS), 2)
            size = (max(8, int(image.width * small)), max(8, int(image.height * small)))
            image = image.resize(size, _FILTERS[down]).resize(image.size, _FILTERS[up])
        return image

    def _exposure(self, image: Image.Image, generator: np.random.Generator) -> NDArray[np.float32]:
        if generator.random() < self.equalize_chance:
            image = ImageOps.equalize(image)
        levels = np.linspace(0.0, 1.0, 256, dtype=np.float32) ** np.float32(
            np.exp(generator.uniform(-self.gamma, self.gamma))
        )
        curve = levels * 255.0
        values = curve[np.asarray(image)]
        mean = float(values.mean())
        contrast = np.exp(generator.uniform(-self.contrast, self.contrast))
        offset = mean + generator.uniform(-self.brightness, self.brightness)
        values = (values - np.float32(mean)) * np.float32(contrast) + np.float32(offset)
        if generator.random() < self.shading_chance:
            direction = generator.uniform(0, 2 * np.pi)
            ramp_y = np.linspace(-1, 1, values.shape[0], dtype=np.float32)[:, None]
            ramp_x = np.linspace(-1, 1, values.shape[1], dtype=np.float32)[None, :]
            ramp = np.sin(direction) * ramp_y + np.cos(direction) * ramp_x
            gain = 1.0 + np.float32(generator.uniform(0, self.shading) / 2) * ramp
            values = values * (gain if values.ndim == 2 else gain[..., None])
        clipped: NDArray[np.float32] = np.clip(values, 0, 255, dtype=np.float32)
        return clipped

    def _border(
        self, values: NDArray[np.float32], generator: np.random.Generator
    ) -> NDArray[np.float32]:
        if generator.random() >= self.border_chance:
            return values
        height, width = values.shape[:2]
        top, bottom = (generator.uniform(0, self.border, 2) * height).astype(int)
        left, right = (generator.uniform(0, self.border, 2) * width).astype(int)
        kept = values[top : height - bottom, left : width - right].copy()
        level = 0.0 if generator.random() < 0.5 else generator.uniform(0, 255)
        framed = np.full_like(values, level)
        if generator.random() < 0.3:
            framed += generator.standard_normal((height, width, *values.shape[2:]), np.float32) * 30
        framed[top : height - bottom, left : width - right] = kept
        return framed

    def _patches(
        self, values: NDArray[np.float32], generator: np.random.Generator
    ) -> NDArray[np.float32]:
        if generator.random() >= self.patch_chance:
            return values
        height, width = values.shape[:2]
        least = min(0.05, self.patch)
        for _ in range(int(generator.integers(1, 4))):
            rows = int(generator.uniform(least, self.patch) * height)
            columns = int(generator.uniform(least, self.patch) * width)
            top = int(generator.integers(0, height - rows + 1))
            left = int(generator.integers(0, width - columns + 1))
            values[top : top + rows, left : left + columns] = generator.uniform(0, 255)
        return values


NO_AUGMENTATION = Augmentation(
    **{name: 0 for name in asdict(Augmentation()) if name != "jpeg_quality"}
)
"""Leaves films as they are, for tests and for plain baselines."""


def _jpeg(pixels: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))
