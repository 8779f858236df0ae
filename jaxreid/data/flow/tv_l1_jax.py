"""TV-L1 optical flow of many pairs of frames on JAX's device (Zach, Pock, Bischof, DAGM 2007).

The algorithm and parameters are those of OpenCV's DualTVL1OpticalFlow, after Sanchez, Meinhardt-Llopis, Facciolo,
"TV-L1 optical flow estimation" (IPOL 2013), whose letters are used here:

  i0, i1  the two frames                          u        flow (u, v), [2, h, w]
  rho     i1 at x + u, linearised, minus i0       v        flow after the step on the data term
  lambda  weight of the data term                 p        dual variables of u, along rows and columns
  theta   how near v is held to u                 tau      step of p

The flow of a pair does not depend on the pairs beside it: each has iterations of its own, and keeps its result while
others go on.
"""

import functools
from collections.abc import Iterator

import cv2
import jax
import jax.numpy as jnp
import numpy as np

TAU, LAMBDA, THETA = 0.25, 0.15, 0.3
SCALES, SCALE_STEP, SMALLEST_SIDE = 5, 0.8, 16  # a scale with a shorter side, in pixels, is left out
WARPS, OUTER_ITERATIONS, INNER_ITERATIONS = 5, 10, 30
EPSILON = 0.01  # pixels; iterations end where the flow changes by less, root mean square
MEDIAN_SIZE = 5  # pixels, of the filter before each outer iteration

_PIXELS_AT_ONCE = 2**20  # of an accelerator: as many as are worked off in about the time that starting a kernel takes


@jax.jit
def flow(first: jax.Array, second: jax.Array) -> jax.Array:
    """Where the content of each pixel moves to, for pairs of grey frames.

    Args:
      first, second: [N, H, W] uint8, or floats of the same range 0-255.

    Returns:
      [N, H, W, 2] at least float32, pixels: (u, v), u to the right and v downwards.

    Raises:
      ValueError: other shapes.
    """
    if first.ndim != 3 or first.shape != second.shape:
        raise ValueError(f'grey frames have shapes {first.shape} and {second.shape}; expected [N, H, W] twice.')
    dtype = jnp.promote_types(first.dtype, jnp.float32)
    first, second = first.astype(dtype), second.astype(dtype)
    if len(first) == 1:  # without what vmap adds to hold finished pairs still
        return _flow_of_pair(first[0], second[0])[None]
    return jax.vmap(_flow_of_pair)(first, second)


def pairs_at_once(height: int, width: int) -> int:
    """Pairs of frames of a size that JAX's device is given at a time.

    One by one a CPU keeps what it works on in its cache, and no pair waits for the slowest.
    """
    return 1 if jax.default_backend() == 'cpu' else max(_PIXELS_AT_ONCE // (height * width), 1)


def of_frames(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """`flow` of any number of colour frames, [N, H, W, 3] uint8 RGB each, as [N, H, W, 2] float32 in pixels. Always
    calls the same program, so that a pair always gets the same bits.
    """
    n, height, width, _ = first.shape
    grey = np.stack([[cv2.cvtColor(f, cv2.COLOR_RGB2GRAY) for f in frames] for frames in (first, second)])
    together = pairs_at_once(height, width)
    grey = np.pad(grey, ((0, 0), (0, -n % together), (0, 0), (0, 0)))  # still frames are done at once
    parts = [flow(*grey[:, i : i + together]) for i in range(0, n, together)]
    return np.concatenate([np.asarray(part) for part in parts])[:n]


def _flow_of_pair(i0: jax.Array, i1: jax.Array) -> jax.Array:
    """[H, W] twice -> [H, W, 2]: the coarsest scale first, each the start of the next."""
    pyramid = [(i0, i1)]
    for _ in range(SCALES - 1):
        size = tuple(round(SCALE_STEP * side) for side in pyramid[-1][0].shape)
        if min(size) < SMALLEST_SIDE:
            break
        i0, i1 = (_resize(image, size, (1 / SCALE_STEP,) * 2) for image in pyramid[-1])
        pyramid.append((i0, i1))
    u = jnp.zeros((2, *pyramid[-1][0].shape), i0.dtype)
    for i0, i1 in reversed(pyramid):
        if u.shape[1:] != i0.shape:
            steps = tuple(before / after for before, after in zip(u.shape[1:], i0.shape, strict=True))
            u = _resize(u, i0.shape, steps) / SCALE_STEP
        u = _flow_of_scale(i0, i1, u)
    return jnp.moveaxis(u, 0, -1)


def _resize(x: jax.Array, size: tuple[int, ...], steps: tuple[float, ...]) -> jax.Array:
    """[..., h, w] -> [..., *size], bilinear without antialiasing; `steps` source pixels lie between two of the result.

    OpenCV resizes frames by 1 / 0.8 even where the sides round to another ratio, and flow by the ratio of the sides.
    """
    for axis, target, step in zip((-2, -1), size, steps, strict=True):
        last = x.shape[axis] - 1
        place = np.clip((np.arange(target) + 0.5) * step - 0.5, 0, last)
        low = np.floor(place).astype(int)
        share = jnp.asarray(place - low, x.dtype).reshape((1,) * (x.ndim - 1) + (-1,))
        share = share if axis == -1 else jnp.swapaxes(share, -1, -2)
        x = jnp.take(x, low, axis) * (1 - share) + jnp.take(x, np.minimum(low + 1, last), axis) * share
    return x


def _flow_of_scale(i0: jax.Array, i1: jax.Array, u: jax.Array) -> jax.Array:
    """Flow [2, h, w] of frames [h, w], from a first guess [2, h, w]."""
    warpable = jnp.stack([i1, *_centred_gradient(i1)], -1)
    largest_change = jnp.asarray(EPSILON**2 * i0.size, u.dtype)

    def unfinished(state):
        count, change, _, _, limit = state
        return (change > largest_change) & (count < limit)

    def inner(data_term, state):
        count, _, u, p, limit = state
        new = _threshold_step(u, *data_term) + THETA * _divergence(p)
        return count + 1, jnp.sum((new - u) ** 2), new, _dual_step(p, new), limit

    def outer(data_term, state):
        count, change, u, p, limit = state
        state = (0, change, _median(u), p, INNER_ITERATIONS)
        _, change, u, p, _ = jax.lax.while_loop(unfinished, functools.partial(inner, data_term), state)
        return count + 1, change, u, p, limit

    def warp(_, state):
        u, p = state
        warped = jnp.moveaxis(_warp(warpable, u), -1, 0)
        gradient = warped[1:]
        data_term = (gradient, jnp.sum(gradient**2, 0), warped[0] - jnp.sum(gradient * u, 0) - i0)
        state = (0, jnp.asarray(jnp.inf, u.dtype), u, p, OUTER_ITERATIONS)
        _, _, u, p, _ = jax.lax.while_loop(unfinished, functools.partial(outer, data_term), state)
        return u, p

    nothing = jnp.zeros_like(u)
    return jax.lax.fori_loop(0, WARPS, warp, (u, (nothing, nothing)))[0]


def _centred_gradient(image: jax.Array) -> tuple[jax.Array, jax.Array]:
    """[h, w] -> its derivatives to the right and downwards; beyond the border the image continues as it ends."""
    padded = jnp.pad(image, 1, mode='edge')
    return (padded[1:-1, 2:] - padded[1:-1, :-2]) / 2, (padded[2:, 1:-1] - padded[:-2, 1:-1]) / 2


def _warp(images: jax.Array, u: jax.Array) -> jax.Array:
    """[h, w, C] looked up at each pixel's place after the motion u [2, h, w]: cubic (a = -0.75), zero outside."""
    h, w, c = images.shape
    padded = jnp.pad(images, ((4, 4), (4, 4), (0, 0))).reshape(-1, c)

    def place(motion, axis):
        at = jax.lax.broadcasted_iota(u.dtype, (h, w), axis) + motion
        at = jnp.clip(at, -3, images.shape[axis] + 1)  # from there on all 4 x 4 pixels looked at are outside
        low = jnp.floor(at)
        return low.astype(jnp.int32) + 3, _cubic(at - low)

    (x, along_x), (y, along_y) = place(u[0], 1), place(u[1], 0)
    corner = y * (w + 8) + x

    def add(k, total):  # one of 16 at a time: twice as fast on a CPU as gathering them all
        i, j = k // 4, k % 4
        return total + padded[corner + i * (w + 8) + j] * (along_y[i] * along_x[j])[..., None]

    return jax.lax.fori_loop(0, 16, add, jnp.zeros_like(images))


def _cubic(t: jax.Array) -> jax.Array:
    """[4, *t.shape]: weights of the pixels at -1, 0, 1, 2 for a place t in [0, 1) between 0 and 1 (Keys 1981)."""

    def far(d):  # 1 <= d <= 2
        return -0.75 * (((d - 5) * d + 8) * d - 4)

    def near(d):
        return (1.25 * d - 2.25) * d * d + 1

    before, here, after = far(t + 1), near(t), near(1 - t)
    return jnp.stack([before, here, after, 1 - before - here - after])


def _threshold_step(u: jax.Array, gradient: jax.Array, squared: jax.Array, constant: jax.Array) -> jax.Array:
    """v [2, h, w] of IPOL equation 11: u [2, h, w], moved along the gradient [2, h, w] of the warped frame, of squared
    length [h, w], towards rho = 0 (`constant` [h, w] at u = 0), at most lambda theta.
    """
    rho = constant + gradient[0] * u[0] + gradient[1] * u[1]
    most = LAMBDA * THETA
    tiny = squared <= jnp.finfo(jnp.float32).eps  # as OpenCV, whatever the precision
    to_zero = jnp.where(tiny, 0, -rho / jnp.where(tiny, 1, squared))
    step = jnp.where(rho < -most * squared, most, jnp.where(rho > most * squared, -most, to_zero))
    return u + step[None] * gradient


def _divergence(p: tuple[jax.Array, jax.Array]) -> jax.Array:
    """Of fields whose parts to the right and downwards are p, [..., h, w] each; zero lies beyond the border."""
    right, down = p
    return right - _moved(right, -1) + down - _moved(down, -2)


def _moved(x: jax.Array, axis: int) -> jax.Array:
    """Each value one place on, a zero in the first."""
    widths = [(0, 0, 0)] * x.ndim
    widths[axis] = (1, -1, 0)
    return jax.lax.pad(x, jnp.zeros((), x.dtype), widths)


def _dual_step(p: tuple[jax.Array, jax.Array], u: jax.Array) -> tuple[jax.Array, jax.Array]:
    """p of the next iteration (IPOL equation 14)."""
    step = TAU / THETA
    du = [jnp.pad(jnp.diff(u, axis=axis), ((0, 0), *border)) for axis, border in _FORWARD]
    length = 1 + step * jnp.sqrt(du[0] ** 2 + du[1] ** 2)
    return (p[0] + step * du[0]) / length, (p[1] + step * du[1]) / length


_FORWARD = ((-1, ((0, 0), (0, 1))), (-2, ((0, 1), (0, 0))))  # axis of a difference, and the border where it is zero


def _median(x: jax.Array) -> jax.Array:
    """[..., h, w] -> median of MEDIAN_SIZE x MEDIAN_SIZE pixels; beyond the border x continues as it ends."""
    h, w = x.shape[-2:]
    border = MEDIAN_SIZE // 2
    padded = jnp.pad(x, [(0, 0)] * (x.ndim - 2) + [(border, border)] * 2, mode='edge')
    values = [padded[..., i : i + h, j : j + w] for i in range(MEDIAN_SIZE) for j in range(MEDIAN_SIZE)]
    for i, j in _sorting_network(len(values)):  # the compiler leaves out what the middle does not depend on
        values[i], values[j] = jnp.minimum(values[i], values[j]), jnp.maximum(values[i], values[j])
    return values[len(values) // 2]


def _sorting_network(n: int) -> Iterator[tuple[int, int]]:
    """Places to compare and exchange, in order, to sort n values (Batcher's odd-even merges; Knuth 5.2.2M)."""
    top = 1 << (n - 1).bit_length() - 1
    p = top
    while p > 0:
        q, r, d = top, 0, p
        while True:
            yield from ((i, i + d) for i in range(n - d) if i & p == r)
            if q == p:
                break
            d, q, r = q - p, q // 2, p
        p //= 2
