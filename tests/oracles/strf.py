"""STRF's modules by loops over positions, frames and channels, one clip at a time, after the paper's equations."""

import itertools
import math

import numpy as np


def pool(u, *, temporal, extent, average, counts_padding=True, strided=False):
    """u [T, H, W, c] -> [T', H, W, c]; extent None takes the whole axis."""
    t, h, w, c = u.shape
    if temporal:
        out = np.zeros((math.ceil(t / extent) if strided else t, h, w, c))
        for i in range(out.shape[0]):
            first = i * extent if strided else i - (extent - 1) // 2
            inside = [u[j] for j in range(first, first + extent) if 0 <= j < t]
            divisor = extent if counts_padding and not strided else len(inside)
            out[i] = sum(inside) / divisor if average else np.max(inside, axis=0)
        return out
    out = np.zeros_like(u)
    for i, j in itertools.product(range(h), range(w)):
        top, left = (
            (i // extent * extent, j // extent * extent) if strided else (i - (extent - 1) // 2, j - (extent - 1) // 2)
        )
        inside = [
            u[:, a, b]
            for a, b in itertools.product(range(top, top + extent), range(left, left + extent))
            if 0 <= a < h and 0 <= b < w
        ]
        divisor = extent**2 if counts_padding and not strided else len(inside)
        out[:, i, j] = sum(inside) / divisor if average else np.max(inside, axis=0)
    return out


def fam(v, *, kappa, norm='frame', target=False):
    """v [T', H, W, c] -> M [P, P]; output column j is sum_i X_i M_ij."""
    h, w = v.shape[1:3]
    p = h * w
    positions = [v[:, i // w, i % w] for i in range(p)]  # [T', c] each
    match norm:
        case 'frame':
            positions = [np.stack([x / np.sqrt((x * x).sum()) for x in position]) for position in positions]
        case 'l2':
            positions = [x / np.sqrt((x * x).sum()) for x in positions]
        case 'centre':
            centre = sum(positions) / p
            positions = [x - centre for x in positions]
    positions = [x.ravel() for x in positions]
    cov = np.zeros((p, p))
    for i, j in itertools.product(range(p), range(p)):
        cov[i, j] = kappa * float(positions[i] @ positions[j])
    m = np.zeros((p, p))
    for j in range(p):
        column = np.exp(cov[:, j] - cov[:, j].max())
        m[:, j] = column / column.sum()
    return m.T if target else m


def remix(f, m):
    """X M reshaped back: f [T, H, W, C], M [P, P]."""
    t, h, w, c = f.shape
    x = f.transpose(3, 0, 1, 2).reshape(c * t, h * w)
    return (x @ m).reshape(c, t, h, w).transpose(1, 2, 3, 0)


def ffm(
    f,
    kernels,
    *,
    temporal,
    extents,
    averages,
    kappa=4.0,
    residual=False,
    mean=False,
    norm='frame',
    target=False,
    **pooling,
):
    """f [T, H, W, C]; one kernel [C, c], extent and kind per branch; no branch: identity."""
    if not kernels:
        return f
    total = np.zeros_like(f)
    for kernel, extent, average in zip(kernels, extents, averages, strict=True):
        v = pool(f @ kernel, temporal=temporal, extent=extent, average=average, **pooling)
        total = total + remix(f, fam(v, kappa=kappa, norm=norm, target=target))
    if mean:
        total = total / len(kernels)
    return f + total if residual else total
