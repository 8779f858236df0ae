"""From the feature maps of a clip to one vector: GSTA of STAR (BMVC 2019, eqs 6-8) and what it is compared with
(docs/star.md).

Every module takes maps [B, T, H, W, C] and `real` and gives the vector [B, C] and the frames' weights [B, T], None
where frames are not weighed; both are at least float32. `real` [B, T] bool marks the frames that exist, the first ones
of each clip; None: all do. The result is that of the clip cut to its real frames, whatever the others hold.
"""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxreid.layers import batch_norm, conv_lstm, frame_attention, lstm, spatial_conv, temporal_conv

SMALL = nn.initializers.normal(0.001)  # of W9, so that the vector starts near average pooling

Aggregated = tuple[jax.Array, jax.Array | None]


def only_real(x: jax.Array, real: jax.Array | None) -> jax.Array:
    """Zeros in place of the frames of [B, T, ...] that are not real."""
    return x if real is None else jnp.where(jnp.expand_dims(real, range(2, x.ndim)), x, 0)


def mean_of_frames(x: jax.Array, real: jax.Array | None) -> jax.Array:
    """Mean over the real frames: [B, T, C] -> [B, C]."""
    if real is None:
        return x.mean(1)
    return only_real(x, real).sum(1) / real.sum(1, keepdims=True).astype(x.dtype)


def _mean_of_maps(maps):  # [B, T, H, W, C] -> [B, T, C]
    return maps.astype(jnp.promote_types(maps.dtype, jnp.float32)).mean((2, 3))


def _softmax_over_frames(energy, real):  # [B, T]
    return jax.nn.softmax(energy if real is None else jnp.where(real, energy, -jnp.inf), axis=1)


def _weighted(frames, weights):  # [B, T, C], [B, T]
    # A product, where a matrix product would run in TF32 on a GPU.
    return (frames * weights[..., None]).sum(1)


class FrameKernel(nn.Module):
    """K = softmax over frames of W8 relu(W7 h + b7) + b8 (eq. 7), W7 to a quarter of C; and sum_i K_i h_i."""

    @nn.compact
    def __call__(self, hidden: jax.Array, real: jax.Array | None) -> tuple[jax.Array, jax.Array]:
        """Maps [B, T, C] to the weighted sum [B, C] and K [B, T]."""
        quarter = nn.relu(frame_attention.dense(max(1, hidden.shape[-1] // 4), hidden.dtype, name='w7')(hidden))
        weights = _softmax_over_frames(frame_attention.dense(1, hidden.dtype, name='w8')(quarter)[..., 0], real)
        return _weighted(only_real(hidden, real), weights), weights


class Gsta(nn.Module):
    """V = W9 sum_i K_i h_i + mean of f (eq. 8), h_i the spatial mean of the hidden maps of a convolutional LSTM."""

    hidden: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, maps: jax.Array, real: jax.Array | None) -> Aggregated:
        # The state looks back only, so frames behind the real ones do not reach them.
        hidden = conv_lstm.ConvLstm(self.hidden, dtype=self.dtype, name='conv_lstm')(maps).mean((2, 3))
        return _kernel_and_residual(hidden, _mean_of_maps(maps), real)


class LstmKernel(nn.Module):
    """GSTA with an LSTM over the frames' mean features in place of the convolutional one."""

    hidden: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, maps: jax.Array, real: jax.Array | None) -> Aggregated:
        frames = _mean_of_maps(maps)
        hidden = lstm.Lstm(self.hidden, dtype=self.dtype, name='lstm')(frames)
        return _kernel_and_residual(hidden, frames, real)


def _kernel_and_residual(hidden, frames, real):
    """Eqs 7-8 for hidden states [B, T, H] and the frames' mean features [B, T, C]; makes `kernel` and `w9`."""
    summary, weights = FrameKernel(name='kernel')(hidden, real)
    w9 = frame_attention.dense(frames.shape[-1], frames.dtype, use_bias=False, kernel_init=SMALL, name='w9')
    return w9(summary) + mean_of_frames(frames, real), weights


class Conv3d(nn.Module):
    """W9 on the mean of two 3x3x3 convolutions with BN and ReLU, plus the mean of f (Conv3D-STIM of Fig. 4)."""

    hidden: int
    norm: functools.partial[batch_norm.BatchNorm]
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, maps: jax.Array, real: jax.Array | None) -> Aggregated:
        x = maps.astype(self.dtype)
        for i in (1, 2):
            shape = (temporal_conv.TAPS, 3, 3, x.shape[-1], self.hidden)
            param_dtype = jnp.promote_types(self.dtype, jnp.float32)
            kernel = self.param(f'conv{i}', spatial_conv.HE_FAN_OUT, shape, param_dtype).astype(self.dtype)
            # BN's shift has filled the frames that do not exist; the convolution must see zeros, as beyond the end.
            x = temporal_conv.convolve(only_real(x, real), kernel, stride=1)
            x = self.norm(relu=True, name=f'bn{i}')(x)
        frames = _mean_of_maps(maps)
        w9 = frame_attention.dense(frames.shape[-1], frames.dtype, use_bias=False, kernel_init=SMALL, name='w9')
        return w9(mean_of_frames(_mean_of_maps(x), real)) + mean_of_frames(frames, real), None


class Holistic(nn.Module):
    """Weighted mean of the frames' mean features, weights by one linear layer and a softmax over frames."""

    @nn.compact
    def __call__(self, maps: jax.Array, real: jax.Array | None) -> Aggregated:
        frames = _mean_of_maps(maps)
        weights = _softmax_over_frames(frame_attention.dense(1, frames.dtype, name='energy')(frames)[..., 0], real)
        return _weighted(only_real(frames, real), weights), weights


class Pool(nn.Module):
    """Mean of the frames' mean features."""

    def __call__(self, maps: jax.Array, real: jax.Array | None) -> Aggregated:
        return mean_of_frames(_mean_of_maps(maps), real), None
