"""Appearance-preserving module (AP3D, ECCV 2020): neighbouring frames rebuilt in the shape of the frame between them.

Before a temporal kernel joins three frames, every position of the central frame gathers, from all positions of the
frame before and of the frame after, those that look like it. A person who moved is then where the kernel expects them.

    paper                          here
    g, cosine, scale s             `semantic` kernel, `align`, `temperature`
    theta, phi, w and its sigmoid  `x_mapping`, `n_mapping`, `contrast` kernels, `resemblance`

As in the public code the neighbourhood is the whole frame, frames beyond the ends of a clip are zero, and contrastive
attention learns through its own parameters only: no gradient passes through it into the features.
"""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxreid import config
from jaxreid.layers import numerics, strf_unit

# Where a frame pair has more pairs of positions than this, its similarities are made for one frame of every clip at a
# time and made again in the backward pass: with 2048 positions those of 32 clips of 4 frames take 3 GiB in float32.
MAX_PAIRS = 1 << 20


def _gather(frames, temperature):
    rows, columns, features = frames
    cosine = jnp.einsum('...rc,...pc->...rp', rows, columns, precision='highest')
    weights = jax.nn.softmax(temperature * cosine, axis=-1).astype(features.dtype)
    return jnp.einsum('...rp,...pc->...rc', weights, features)


def align(rows: jax.Array, columns: jax.Array, features: jax.Array, *, temperature: float) -> jax.Array:
    """Rebuilds frames from the positions of other frames.

    Args:
      rows: [B, T, R, c] of unit length, the positions to be rebuilt.
      columns: [B, T, P, c] of unit length, all positions of the other frames.
      features: [B, T, P, C] of the other frames.
      temperature: factor on the cosine.

    Returns:
      [B, T, R, C]: softmax over P of the scaled cosines, times `features`; so convex combinations of them.
    """
    if rows.shape[2] * columns.shape[2] <= MAX_PAIRS:
        return _gather((rows, columns, features), temperature)
    gather = jax.checkpoint(functools.partial(_gather, temperature=temperature))
    by_frame = tuple(jnp.moveaxis(z, 1, 0) for z in (rows, columns, features))
    return jnp.moveaxis(jax.lax.map(gather, by_frame), 0, 1)


def resemblance(
    centre: jax.Array, neighbour: jax.Array, *, x_mapping: jax.Array, n_mapping: jax.Array, contrast: jax.Array
) -> jax.Array:
    """Contrastive attention: [..., C] twice -> [..., 1] in (0, 1), with no gradient to the features."""
    centre, neighbour = jax.lax.stop_gradient((centre, neighbour))
    product = (centre @ x_mapping.astype(centre.dtype)) * (neighbour @ n_mapping.astype(centre.dtype))
    logits = jnp.einsum('...c,c->...', product, contrast, preferred_element_type=contrast.dtype)
    return jax.nn.sigmoid(logits)[..., None].astype(neighbour.dtype)


class AppearancePreserving(nn.Module):
    """Aligns the frame before and the frame after to every frame of [B, T, H, W, C].

    Parameters: `semantic` and, with contrastive attention, `x_mapping` and `n_mapping`, each [C, C / reduction], and
    `contrast` [C / reduction].
    """

    settings: config.Ap3d
    stride: int = 1  # spatial; only every so many positions are rebuilt, from all positions of the neighbours
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Returns the frames before and after, aligned: [B, T, H / stride, W / stride, C] each, zeros at the ends."""
        b, t, h, w, c = x.shape
        if c % self.settings.reduction:
            raise ValueError(
                f'ap3d.reduction = {self.settings.reduction} does not divide the {c} channels of this stage; choose a '
                'divisor, or another backbone.width.'
            )
        reduced = c // self.settings.reduction
        shapes: dict[str, tuple[int, ...]] = {'semantic': (c, reduced)}
        if self.settings.contrastive:
            shapes |= {'x_mapping': (c, reduced), 'n_mapping': (c, reduced), 'contrast': (reduced,)}
        param_dtype = jnp.promote_types(self.dtype, jnp.float32)
        p = {name: self.param(name, strf_unit.uniform_by_channels, s, param_dtype) for name, s in shapes.items()}

        x = x.astype(self.dtype)
        semantic = numerics.unit_length(x @ p.pop('semantic').astype(self.dtype))
        columns, features = semantic.reshape(b, t, h * w, reduced), x.reshape(b, t, h * w, c)
        centre = x[:, :, :: self.stride, :: self.stride]
        rows = semantic[:, :, :: self.stride, :: self.stride].reshape(b, t, -1, reduced)

        def rebuilt(of, source):
            f = align(rows[:, of], columns[:, source], features[:, source], temperature=self.settings.temperature)
            gate = resemblance(centre.reshape(b, t, -1, c)[:, of], f, **p) if self.settings.contrastive else 1
            return f * gate

        def among_zeros(f, before, after):
            return jnp.pad(f, ((0, 0), (before, after), (0, 0), (0, 0))).reshape(centre.shape)

        # T - 1 frames have a frame before them in the clip, and T - 1 one after.
        earlier, later = slice(None, -1), slice(1, None)
        return among_zeros(rebuilt(later, earlier), 1, 0), among_zeros(rebuilt(earlier, later), 0, 1)
