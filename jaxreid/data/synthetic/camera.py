"""Cameras of the synthetic benchmark: mild differences in colour, scale and sharpness."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Camera:
    """How one camera sees. All effects are mild: cameras must not outweigh people."""

    gain: tuple[float, float, float]  # factor per RGB channel
    gamma: float
    pitch: float  # radians by which it looks down
    fill: float  # body height / crop height
    blur: float  # sigma in crop pixels at height 128
    noise: float  # standard deviation, grey levels


def draw_camera(rng: np.random.Generator) -> Camera:
    """A camera with a mild cast, brightness, scale and blur."""
    cast = rng.uniform(0.95, 1.05, 3) * rng.uniform(0.9, 1.1)
    return Camera(
        gain=(float(cast[0]), float(cast[1]), float(cast[2])),
        gamma=float(rng.uniform(0.92, 1.1)),
        pitch=float(rng.uniform(0.05, 0.2)),
        fill=float(rng.uniform(0.86, 0.94)),
        blur=float(rng.uniform(0.0, 0.8)),
        noise=float(rng.uniform(1.5, 4.0)),
    )


def tone_table(camera: Camera, tint: tuple[float, float, float]) -> np.ndarray:
    """[1, 256, 3] uint8 lookup table of a camera's cast, gamma and brightness and of the light on one walk."""
    levels = (np.arange(256) / 255.0) ** camera.gamma * 255.0
    return np.clip(levels[:, None] * np.array(camera.gain) * np.array(tint), 0, 255).round().astype(np.uint8)[None]
