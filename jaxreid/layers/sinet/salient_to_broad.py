"""Salient-to-broad module (SBM of SINet, CVPR 2022): later frames look away from what the first ones have shown.

Of every four frames the first few are salient: of them nine templates are made, a 3x3 kernel for each clip. Where it
fires in the other frames, these are suppressed, so that they say something else. Then both exchange their means.

    paper's code                here
    xf, xl                      salient, other
    cal, center                 `channels`: gates of channels that are stronger inside the map than in the whole
    1 / (f * h * w), suppress   `keep`: 1 where the attention is below its mean, else less
"""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxreid.layers import batch_norm, numerics, spatial_conv

GROUP = 4  # frames that are taken together
SIDE = 3  # of the kernel
LEAST = 1e-4  # attention below it counts as this
# Frames in which less than this share is suppressed, as where all positions are alike, give the salient ones nothing;
# the released code divides by zero there [choice].
LEAST_SUPPRESSED = 1e-6


class SalientToBroad(nn.Module):
    """Suppresses in the later frames of every four what the first `salient` ones show; it does not start as x."""

    norm: functools.partial[batch_norm.BatchNorm]
    salient: int  # 1, 2 or 3
    beta: float  # the steeper, the more is suppressed
    alpha: float  # share of the others' mean that frames get
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, T, H, W, C] -> the same. Raises ValueError: T is no multiple of 4, or the map is narrower than 3."""
        shape = x.shape
        b, t, h, w, c = shape
        if t % GROUP or min(h, w) < SIDE:
            raise ValueError(
                f'clips of {t} frames with {h} x {w} positions, but this module of SINet takes multiples of {GROUP} '
                f'frames (config.sampler.frames, test.frames) and maps of at least {SIDE} x {SIDE} (data.height, '
                "data.width, backbone.strides); change them, or leave it out with sinet.sbm='()'."
            )
        x = x.astype(self.dtype).reshape(b * t // GROUP, GROUP, h, w, c)
        wide = jnp.promote_types(self.dtype, jnp.float32)  # of all weights
        dense = functools.partial(nn.Dense, param_dtype=wide, kernel_init=spatial_conv.HE_FAN_OUT)
        einsum = functools.partial(jnp.einsum, precision='highest', preferred_element_type=wide)

        mean = x.mean((1, 2, 3), dtype=wide)
        gate = nn.relu(dense(c // 4, dtype=wide, name='squeeze')(mean))
        gate = nn.sigmoid(dense(c, dtype=wide, name='excite')(gate))
        gate = gate * (x[:, :, 1:-1, 1:-1].mean((1, 2, 3), dtype=wide) / (mean + 1e-8) > 1)
        salient, other = x[:, : self.salient], x[:, self.salient :]
        gated = nn.relu(x * gate.astype(self.dtype)[:, None, None, None])

        shown, looked_at = gated[:, : self.salient], gated[:, self.salient :]
        templates = dense(SIDE * SIDE, use_bias=False, dtype=self.dtype, name='templates')(shown)
        weights = self.norm(relu=True, name='norm')(templates).astype(wide)
        weights = _share(_share(weights, -1), (1, 2, 3))
        kernel = einsum('gthwk,gthwc->gkc', weights, shown)
        keep = self._keep(einsum('gthwc,gkc->gthwk', looked_at, kernel.astype(self.dtype)))

        taken = (1 - keep).mean((1, 2, 3))
        missed = einsum('gthwk,gthwc->gkc', 1 - keep, other) / keep[0].size
        missed = (missed[:, 0] / numerics.at_least(taken, LEAST_SUPPRESSED)).astype(self.dtype)
        seen = salient.mean((1, 2, 3), dtype=wide).astype(self.dtype)
        salient = salient + self.alpha * missed[:, None, None, None]
        other = other * keep.astype(self.dtype) + self.alpha * seen[:, None, None, None]
        return jnp.concatenate([salient, other], 1).reshape(shape)

    def _keep(self, responses):
        """From responses to the nine templates at every position [..., H, W, 9] to the factor there [..., H, W, 1]."""
        *lead, h, w, _ = responses.shape
        padded = jnp.pad(responses, [(0, 0)] * len(lead) + [(1, 1), (1, 1), (0, 0)], mode='edge')
        offsets = [(i, j) for i in range(SIDE) for j in range(SIDE)]
        fires = jnp.stack([padded[..., i : i + h, j : j + w, SIDE * i + j] for i, j in offsets]).mean(0)
        attention = nn.softmax(fires.reshape(*lead, h * w)).reshape(*lead, h, w, 1)
        rest = 1 / (numerics.at_least(attention, LEAST) * h * w)
        return jnp.exp(self.beta * jnp.where(rest < 1, rest - 1, 0))


def _share(x, axis):
    """Numbers that are not negative, divided by their sum, which counts as 1e-12 where it is less."""
    return x / numerics.at_least(x.sum(axis, keepdims=True), 1e-12)
