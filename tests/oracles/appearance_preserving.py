"""AP3D's alignment of neighbouring frames by loops over frames and positions, one clip at a time."""

import numpy as np


def normalised(v):
    return v / max(float(np.sqrt((v * v).sum())), 1e-12)


def aligned_neighbours(x, p, *, temperature):
    """x [T, H, W, C] and kernels by name -> the frames before and after, aligned, [T, H, W, C] each."""
    t, h, w, _ = x.shape
    result = {-1: np.zeros_like(x), 1: np.zeros_like(x)}
    for offset, out in result.items():
        for frame in range(t):
            other = frame + offset
            if not 0 <= other < t:
                continue  # frames beyond the ends are zero, and so are combinations of their positions
            keys = [normalised(x[other, i, j] @ p['semantic']) for i, j in np.ndindex(h, w)]
            values = [x[other, i, j] for i, j in np.ndindex(h, w)]
            for i, j in np.ndindex(h, w):
                query = normalised(x[frame, i, j] @ p['semantic'])
                weights = np.exp([temperature * float(query @ k) for k in keys])
                combined = sum(a * v for a, v in zip(weights / weights.sum(), values, strict=True))
                if 'contrast' in p:
                    product = (x[frame, i, j] @ p['x_mapping']) * (combined @ p['n_mapping'])
                    combined = combined / (1 + np.exp(-float(product @ p['contrast'])))
                out[frame, i, j] = combined
    return result[-1], result[1]
