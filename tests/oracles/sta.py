"""STA's attention, fusion and regularisation as loops over frames, stripes and positions, one clip at a time."""

import itertools
import math

import numpy as np


def attention_map(clip, *, kind):
    """[T, H, W, D] -> [T, H, W]."""
    t, h, w, d = clip.shape
    g = np.zeros((t, h, w))
    for n in range(t):
        for y, x in itertools.product(range(h), range(w)):
            energy = sum(clip[n, y, x, c] ** 2 for c in range(d))
            g[n, y, x] = energy if kind == 'energy' else math.sqrt(energy)
        g[n] /= g[n].sum() if kind == 'energy' else math.sqrt((g[n] ** 2).sum())
    return g


def stripe_scores(g, *, stripes):
    """[T, H, W] -> [T, K]."""
    t, h, w = g.shape
    s = np.zeros((t, stripes))
    for n, y, x in itertools.product(range(t), range(h), range(w)):
        s[n, y * stripes // h] += abs(g[n, y, x])
    for k in range(stripes):
        s[:, k] = s[:, k] / sum(s[n, k] for n in range(t))
    return s


def fuse(clip, scores):
    """F1 and F2 of Algorithm 1, [H, W, D] each."""
    t, h, w, d = clip.shape
    stripes = scores.shape[1]
    strongest, weighted = np.zeros((h, w, d)), np.zeros((h, w, d))
    for y in range(h):
        k = y * stripes // h
        best = 0
        for n in range(1, t):
            if scores[n, k] > scores[best, k]:
                best = n
        strongest[y] = clip[best, y]
        for n in range(t):
            weighted[y] += scores[n, k] * clip[n, y]
    return strongest, weighted


def feature(clip, *, mode, kind, stripes):
    """What the clip's map is pooled to, [D'] (mode image: [T, D])."""
    if mode == 'image':
        return np.array([[frame[..., c].mean() for c in range(frame.shape[-1])] for frame in clip])
    if mode == 'avg':
        return sum(frame.mean((0, 1)) for frame in clip) / len(clip)
    first, second = fuse(clip, stripe_scores(attention_map(clip, kind=kind), stripes=stripes))
    parts = [first, second] if mode == 'fusion' else [second]
    return np.concatenate([part.mean((0, 1)) for part in parts])


def frame_distance(a, b, *, squared):
    """Between two maps [H, W]."""
    total = sum((p - q) ** 2 for p, q in zip(a.ravel(), b.ravel(), strict=True))
    return total if squared else math.sqrt(total + 1e-12)


def slopes(function, x, step=1e-6):
    """Gradient of a scalar function by central differences."""
    gradient = np.zeros_like(x)
    for i in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[i] += step
        down[i] -= step
        gradient[i] = (function(up) - function(down)) / (2 * step)
    return gradient
