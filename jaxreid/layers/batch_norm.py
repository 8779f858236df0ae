"""Batch normalisation whose statistics do not depend on how many devices share the batch.

Ioffe & Szegedy 2015, with PyTorch's constants (momentum 0.1, epsilon 1e-5). The statistics are those of `groups` equal
slices of the *global* batch, in order; one slice is synchronised BatchNorm, more emulate the per-device statistics of
the original multi-GPU runs on any number of devices.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

MOMENTUM = 0.1  # weight of the newest batch in the running statistics, as PyTorch counts it
EPSILON = 1e-5


def local_slices(clips: int, *, groups: int, devices: int) -> int:
    """Into how many slices a device cuts its clips: 1 where a group spans whole devices.

    Raises:
      ValueError: where `groups` and `devices` do not divide one another, or the clips do not split evenly.
    """
    if groups % devices and devices % groups:
        raise ValueError(
            f'{groups} BatchNorm groups do not fit {devices} devices; make train.bn_groups a divisor or a multiple of '
            f'{devices}.'
        )
    slices = max(1, groups // devices)
    if clips % slices:
        raise ValueError(
            f'{clips * devices} clips on {devices} devices do not split into {groups} equal BatchNorm groups; make '
            f'sampler.num_ids * sampler.tracklets_per_id a multiple of train.bn_groups = {groups}.'
        )
    return slices


def slice_moments(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and biased variance [S, C] of every slice of x [S, R, C]."""
    # One pass over x: E[d^2] - E[d]^2 with d counted from the first row, which lies about one standard deviation from
    # the mean. Counted from zero, float32 would cancel where the mean is large. The value does not depend on the
    # origin, so neither does the gradient.
    origin = lax.stop_gradient(x[:, :1])
    d = x - origin
    mean = d.mean(1)
    variance = (d * d).mean(1) - mean * mean
    # Not jnp.maximum: see `pooling` on its gradient.
    return mean + origin[:, 0], jnp.where(variance > 0, variance, 0)


def group_moments(x: jax.Array, *, groups: int, axis_name: str | None) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Moments of the groups of the global batch.

    Args:
      x: [S, R, C], this device's slices (`local_slices`).
      groups: number of slices of the global batch.
      axis_name: mesh axis that the batch is split over; None where one program sees all of it.

    Returns:
      mean [S, C] and biased variance [S, C] of the groups that the slices belong to, and [2, C] the two averaged over
      all groups, the same on every device.
    """
    mean, variance = slice_moments(x)
    if axis_name is None:
        return mean, variance, jnp.stack([mean.mean(0), variance.mean(0)])
    devices = lax.axis_size(axis_name)
    sharers = max(1, devices // groups)  # devices per group
    slices = x.shape[0]
    first = lax.axis_index(axis_name) * slices // sharers

    def gather(local):  # [S, C] -> [G, C], averaged over the devices of a group, equal on all devices
        # A sum of mostly zeros, not an all_gather: shard_map knows that its result is the same everywhere.
        everyone = jnp.zeros((groups, local.shape[1]), local.dtype)
        return lax.psum(lax.dynamic_update_slice_in_dim(everyone, local, first, 0), axis_name) / sharers

    if sharers > 1:
        means = gather(mean)
        own = lax.dynamic_slice_in_dim(means, first, slices, 0)
        variances = gather(variance + (mean - own) ** 2)
        mean, variance = own, lax.dynamic_slice_in_dim(variances, first, slices, 0)
    else:  # every group lies on one device: only the running statistics need the others
        means, variances = jnp.split(gather(jnp.concatenate([mean, variance], 1)), 2, 1)
    return mean, variance, jnp.stack([means.mean(0), variances.mean(0)])


class BatchNorm(nn.Module):
    """Normalises the last axis; statistics run over all other axes of a group of clips.

    Parameters `scale` and `bias`, [C]; collection 'batch_stats' holds `mean` and `var`, [C], updated in train mode with
    the average over the groups. The running variance is the biased one, as in Flax (PyTorch keeps n / (n - 1) times
    that). Statistics are at least float32.

    Attributes:
      train: take the statistics of the batch and update the running ones; otherwise use the running ones.
      groups: equal slices of the global batch, in order, that have their own statistics.
      axis_name: mesh axis that the batch is split over, or None.
      frozen_bias: the bias lies in 'batch_stats' and no step changes it; 0 unless an imported network brought another.
    """

    train: bool
    groups: int = 1
    axis_name: str | None = None
    dtype: jnp.dtype = jnp.float32
    frozen_bias: bool = False
    scale_init: nn.initializers.Initializer = nn.initializers.ones

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:  # [B, ..., C], the first axis in clip order
        stat_dtype = jnp.promote_types(self.dtype, jnp.float32)
        c = x.shape[-1]
        scale = self.param('scale', self.scale_init, (c,), stat_dtype)
        if self.frozen_bias:
            bias = self.variable('batch_stats', 'bias', jnp.zeros, (c,), stat_dtype).value
        else:
            bias = self.param('bias', nn.initializers.zeros, (c,), stat_dtype)
        running_mean = self.variable('batch_stats', 'mean', jnp.zeros, (c,), stat_dtype)
        running_var = self.variable('batch_stats', 'var', jnp.ones, (c,), stat_dtype)

        if self.train:
            devices = 1 if self.axis_name is None else lax.axis_size(self.axis_name)
            slices = local_slices(x.shape[0], groups=self.groups, devices=devices)
            rows = x.reshape(slices, -1, c).astype(stat_dtype)
            mean, variance, average = group_moments(rows, groups=self.groups, axis_name=self.axis_name)
            if not self.is_initializing():
                running_mean.value += MOMENTUM * (average[0] - running_mean.value)
                running_var.value += MOMENTUM * (average[1] - running_var.value)
        else:
            rows = x.reshape(1, -1, c).astype(stat_dtype)
            mean, variance = running_mean.value[None], running_var.value[None]

        gain = scale[None] * lax.rsqrt(variance + EPSILON)
        y = (rows - mean[:, None]) * gain[:, None] + bias[None, None]
        return y.reshape(x.shape).astype(self.dtype)
