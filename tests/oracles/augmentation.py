"""Slow oracles of the augmentation, written from the papers and the recipe."""

import math

import numpy as np


def normalised(clip):
    """ImageNet normalisation of uint8 RGB, in double precision."""
    out = np.empty(clip.shape, np.float64)
    for channel, (mean, std) in enumerate(((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))):
        out[..., channel] = (clip[..., channel].astype(np.float64) / 255.0 - mean) / std
    return out


def erasing_rectangle(rng, height, width, *, area, aspect_min):
    """(rows, columns) of a random erasing rectangle, by trying again until one fits (Zhong et al.)."""
    while True:
        target = rng.uniform(*area) * height * width
        aspect = rng.uniform(aspect_min, 1 / aspect_min)
        rows = round(math.sqrt(target * aspect))
        columns = round(math.sqrt(target / aspect))
        if rows < height and columns < width:
            return rows, columns


def bounding_rectangle(mask):
    """(top, left, rows, columns) of the True pixels, or None where there are none."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    return rows[0], columns[0], rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1


def shifted(frame, down, right):
    """[H, W, C] moved by (down, right), what comes in is 0."""
    height, width, _ = frame.shape
    out = np.zeros_like(frame)
    for row in range(height):
        for column in range(width):
            if 0 <= row - down < height and 0 <= column - right < width:
                out[row, column] = frame[row - down, column - right]
    return out
