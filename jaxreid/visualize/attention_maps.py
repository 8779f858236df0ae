"""Maps of a network over the frames they belong to: scaled, enlarged, coloured (STRF Fig. 5 and supplement E, STMN
Figs. 5 and 7, and the attention of STA and STAR)."""

import numpy as np


def scaled(maps: np.ndarray, *, together: int = 0) -> np.ndarray:
    """Minimum 0 and maximum 1 by place: [..., h, w] -> the same shape, float32.

    Args:
      maps: finite floats.
      together: axes before the last two that share one minimum and maximum, counted from there; 0: every map by itself.

    A map without differences is 0 everywhere.
    """
    axes = tuple(range(maps.ndim - 2 - together, maps.ndim))
    maps = maps.astype(np.float64)
    low, high = maps.min(axes, keepdims=True), maps.max(axes, keepdims=True)
    flat = high == low
    return np.where(flat, 0, (maps - low) / np.where(flat, 1, high - low)).astype(np.float32)


def signed(maps: np.ndarray) -> tuple[np.ndarray, float]:
    """Maps [...] over their largest absolute value, -1 ... 1, and that value; zeros stay zeros."""
    largest = float(np.abs(maps).max(initial=0))
    return (maps / (largest or 1)).astype(np.float32), largest


def enlarged(maps: np.ndarray, *, height: int, width: int) -> np.ndarray:
    """Maps [..., h, w] over [..., height, width]: linear between the centres of the places, constant outside them."""

    def along(values, axis, size):
        n = values.shape[axis]
        at = np.clip((np.arange(size) + 0.5) * n / size - 0.5, 0, n - 1)
        lower = np.floor(at).astype(int)
        shape = [1] * values.ndim
        shape[axis] = size
        share = (at - lower).reshape(shape)
        upper = np.minimum(lower + 1, n - 1)
        return np.take(values, lower, axis) * (1 - share) + np.take(values, upper, axis) * share

    wide = along(np.asarray(maps, np.float64), maps.ndim - 1, width)
    return along(wide, maps.ndim - 2, height).astype(np.float32)


def heat(values: np.ndarray) -> np.ndarray:
    """Colours of values 0 ... 1, dark blue over green to yellow in even steps of lightness: [...] -> [..., 3] uint8."""
    # Seven stations of the map "viridis" of matplotlib (CC0), which stays readable without colours.
    stops = np.array(
        [(68, 1, 84), (68, 58, 131), (49, 104, 142), (33, 145, 140), (53, 183, 121), (143, 215, 68), (253, 231, 37)]
    )
    return _between(stops, np.clip(values, 0, 1))


def diverging(values: np.ndarray) -> np.ndarray:
    """Colours of values -1 ... 1: blue below zero, white at it, red above: [...] -> [..., 3] uint8."""
    stops = np.array([(33, 102, 172), (146, 197, 222), (247, 247, 247), (244, 165, 130), (178, 24, 43)])
    return _between(stops, (np.clip(values, -1, 1) + 1) / 2)


def _between(stops, values):
    at = values * (len(stops) - 1)
    lower = np.minimum(at.astype(int), len(stops) - 2)
    share = (at - lower)[..., None]
    return np.rint(stops[lower] * (1 - share) + stops[lower + 1] * share).astype(np.uint8)


def overlay(frames: np.ndarray, colours: np.ndarray, *, strength: float = 0.5) -> np.ndarray:
    """Colours over grey frames, so that every colour seen is the map's: uint8 [..., H, W, 3] both -> the same."""
    grey = (frames @ np.array([0.299, 0.587, 0.114]))[..., None]
    return np.rint((1 - strength) * grey + strength * colours).astype(np.uint8)


def over_frames(frames: np.ndarray, maps: np.ndarray, *, together: int = 0, strength: float = 0.5) -> np.ndarray:
    """Maps [..., h, w] in heat colours over frames [..., H, W, 3] uint8; `together` as `scaled`."""
    height, width = frames.shape[-3:-1]
    large = enlarged(scaled(maps, together=together), height=height, width=width)
    return overlay(frames, heat(large), strength=strength)


def signed_over_frames(frames: np.ndarray, maps: np.ndarray, *, strength: float = 0.5) -> tuple[np.ndarray, float]:
    """Maps with a sign in diverging colours over frames, and the value of the strongest colour."""
    values, largest = signed(maps)
    height, width = frames.shape[-3:-1]
    return overlay(frames, diverging(enlarged(values, height=height, width=width)), strength=strength), largest
