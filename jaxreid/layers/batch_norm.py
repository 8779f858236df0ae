"""Batch normalisation whose statistics do not depend on how many devices share the batch.

Ioffe & Szegedy 2015, with PyTorch's constants (momentum 0.1, epsilon 1e-5). The statistics are those of `groups` equal
slices of the *global* batch, in order; one slice is synchronised BatchNorm, more emulate the per-device statistics of
the original multi-GPU runs on any number of devices.
"""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from jaxreid import sharding
from jaxreid.layers import numerics
from jaxreid.layers.kernels import batch_norm_kernels

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
    return mean + origin[:, 0], numerics.at_least(variance, 0)


def _sharers(groups: int, axis_name: str | None) -> int:
    """Devices that share a group."""
    return 1 if axis_name is None else max(1, lax.axis_size(axis_name) // groups)


def _gather(local: jax.Array, *, groups: int, axis_name: str) -> jax.Array:
    """Sums over the devices of each group: [S, C] -> [G, C], equal on all devices."""
    first = lax.axis_index(axis_name) * local.shape[0] // _sharers(groups, axis_name)
    return sharding.sum_of_rows(local, axis_name, rows=groups, first=first)


def _own(everyone: jax.Array, *, slices: int, groups: int, axis_name: str) -> jax.Array:
    """The rows [S, C] of this device's groups of what `_gather` gives."""
    first = lax.axis_index(axis_name) * slices // _sharers(groups, axis_name)
    return lax.dynamic_slice_in_dim(everyone, first, slices, 0)


def group_moments(
    x: jax.Array, origin: jax.Array, *, groups: int, axis_name: str | None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Moments of the groups of the global batch.

    Args:
      x: [S, R, C], this device's slices (`local_slices`).
      origin: [C], the same on all devices and about the mean: what the devices' means are counted from, so that one
        sum over the devices has both moments. Where the mean lies k standard deviations off it, float32 is wrong by
        about 2 k^2 parts in 10^7 of the variance: with the running mean, nothing after the first steps, and less than
        one in 1,000 at k = 50.
      groups: number of slices of the global batch.
      axis_name: mesh axis that the batch is split over; None where one program sees all of it.

    Returns:
      mean [S, C] and biased variance [S, C] of the groups that the slices belong to, and [2, C] the two averaged over
      all groups, the same on every device.
    """
    mean, variance = slice_moments(x)
    if axis_name is None:
        return mean, variance, jnp.stack([mean.mean(0), variance.mean(0)])
    sharers = _sharers(groups, axis_name)
    gather = functools.partial(_gather, groups=groups, axis_name=axis_name)
    own = functools.partial(_own, slices=x.shape[0], groups=groups, axis_name=axis_name)
    if sharers > 1:
        apart = mean - origin[None]
        apart, squares = jnp.split(gather(jnp.concatenate([apart, variance + apart * apart], 1)) / sharers, 2, 1)
        means, variances = apart + origin[None], numerics.at_least(squares - apart * apart, 0)
        mean, variance = own(means), own(variances)
    else:  # every group lies on one device: only the running statistics need the others
        means, variances = jnp.split(gather(jnp.concatenate([mean, variance], 1)), 2, 1)
    return mean, variance, jnp.stack([means.mean(0), variances.mean(0)])


def formula(x, scale, bias, mean, variance, shortcut, relu):
    stat_dtype = mean.dtype
    gain = scale[None] * lax.rsqrt(variance + EPSILON)
    y = (x.astype(stat_dtype) - mean[:, None]) * gain[:, None] + bias[None, None]
    if shortcut is not None:
        y = y + shortcut.astype(stat_dtype)
    return (nn.relu(y) if relu else y).astype(x.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(6, 7, 8))
def normalise(
    x: jax.Array, scale: jax.Array, bias: jax.Array, mean: jax.Array, variance: jax.Array, shortcut: jax.Array | None,
    relu: bool, groups: int, axis_name: str | None,
) -> jax.Array:  # fmt: skip
    """Normalises by the moments of its own batch, adds the shortcut, rectifies.

    The gradient with respect to x is the one through the moments too, which get none themselves. For it only x, the
    moments and the result are kept, and two passes over x and the gradient make it; what autodiff makes of the formula
    keeps more and is ten times slower on CPU.

    Args:
      x: [S, R, C], this device's slices.
      scale, bias: [C], varying over `axis_name`, so that their gradients are summed over it.
      mean, variance: [S, C] from `group_moments(x)`.
      shortcut: like x, or None.
      relu: whether to rectify.
      groups, axis_name: as for `group_moments`.
    """
    del groups, axis_name
    return formula(x, scale, bias, mean, variance, shortcut, relu)


def _normalise_forward(x, scale, bias, mean, variance, shortcut, relu, groups, axis_name):
    del groups, axis_name
    y = formula(x, scale, bias, mean, variance, shortcut, relu)
    if shortcut is not None:
        # XLA would make the sum again from all bottlenecks of the stage, or keep it in float32 (seen for an H200).
        y = lax.optimization_barrier(y)
    return y, (x, scale, bias, mean, variance, y if relu else None, shortcut is not None)


def _normalise_backward(relu, groups, axis_name, kept, g):
    x, scale, bias, mean, variance, y, has_shortcut = kept
    inverse = lax.rsqrt(variance + EPSILON)
    gain = scale[None] * inverse

    def centred(x):
        return x.astype(mean.dtype) - mean[:, None]

    # Behind a barrier: XLA would keep x in float32, twice the bytes, from the forward until the backward pass.
    x = x_again = lax.optimization_barrier(x)
    rectifies = relu and not has_shortcut
    again = g
    if relu and has_shortcut:
        g = again = jnp.where(y > 0, g, 0)
    elif relu:
        # Each of the two passes rectifies for itself: to write what is rectified and read it twice is more. The second
        # asks x, which it reads anyway.
        g = lax.optimization_barrier(g)
        x_again, again = lax.optimization_barrier((x, g))
        again = jnp.where(centred(x_again) * gain[:, None] + bias[None, None] > 0, again, 0)
    to_shortcut = g if has_shortcut else None
    again = again.astype(mean.dtype)

    def sums(x, g, y, mean, gain, bias):
        del gain, bias
        g = (jnp.where(y > 0, g, 0) if rectifies else g).astype(mean.dtype)
        # An einsum: XLA takes sums of products for something else on CPU, and fifty times as long.
        return g.sum(1), jnp.einsum('src,src->sc', g, x.astype(mean.dtype) - mean[:, None], precision='highest')

    of_all = x, g, y, mean, gain, jnp.broadcast_to(bias, gain.shape)
    if rectifies and batch_norm_kernels.fit(x):

        def kernel(x, g, y, *moments):
            return batch_norm_kernels.sums(x, g, *moments)

        total, slope = lax.platform_dependent(*of_all, cuda=kernel, default=sums)
    else:
        total, slope = sums(*of_all)
    slope = slope * inverse
    to_scale, to_bias = slope.sum(0), total.sum(0)
    rows = x.shape[1]
    if axis_name is not None and (sharers := _sharers(groups, axis_name)) > 1:
        both = _gather(jnp.concatenate([total, slope], 1), groups=groups, axis_name=axis_name)
        both = _own(both, slices=x.shape[0], groups=groups, axis_name=axis_name)
        total, slope = jnp.split(both, 2, 1)
        rows *= sharers
    offset = centred(x_again) * (gain * inverse * slope / rows)[:, None]
    to_x = gain[:, None] * again - (gain * total / rows)[:, None] - offset
    return to_x.astype(x.dtype), to_scale, to_bias, jnp.zeros_like(mean), jnp.zeros_like(variance), to_shortcut


normalise.defvjp(_normalise_forward, _normalise_backward)


class BatchNorm(nn.Module):
    """Normalises the last axis, adds a shortcut if there is one, rectifies if asked to.

    Statistics run over all other axes of a group of clips.

    Parameters `scale` and `bias`, [C]; collection 'batch_stats' holds `mean` and `var`, [C], updated in train mode with
    the average over the groups. The running variance is the biased one, as in Flax (PyTorch keeps n / (n - 1) times
    that). Statistics are at least float32.

    Split over a mesh, the parameters must be `sharding.varying` where they are differentiated: whoever differentiates
    casts all of a network once.
    """

    train: bool  # take the statistics of the batch and update the running ones; otherwise use the running ones
    groups: int = 1  # equal slices of the global batch, in order, that have their own statistics
    axis_name: str | None = None  # mesh axis that the batch is split over, or None
    dtype: jnp.dtype = jnp.float32
    relu: bool = False  # rectify the result
    # the bias lies in 'batch_stats' and no step changes it; 0 unless an imported network brought another
    frozen_bias: bool = False
    scale_init: nn.initializers.Initializer = nn.initializers.ones

    @nn.compact
    def __call__(self, x: jax.Array, shortcut: jax.Array | None = None) -> jax.Array:
        """Maps [B, ..., C], the first axis in clip order, to the same shape; `shortcut`, of that shape, is added."""
        stat_dtype = jnp.promote_types(self.dtype, jnp.float32)
        c = x.shape[-1]
        if not self.train and self.has_variable('params', 'bias') and not self.has_variable('params', 'scale'):
            return self._shift(x, shortcut)
        scale = self.param('scale', self.scale_init, (c,), stat_dtype)
        if self.frozen_bias:
            bias = self.variable('batch_stats', 'bias', jnp.zeros, (c,), stat_dtype).value
        else:
            bias = self.param('bias', nn.initializers.zeros, (c,), stat_dtype)
        running_mean = self.variable('batch_stats', 'mean', jnp.zeros, (c,), stat_dtype)
        running_var = self.variable('batch_stats', 'var', jnp.ones, (c,), stat_dtype)

        slices = 1
        if self.train:
            devices = 1 if self.axis_name is None else lax.axis_size(self.axis_name)
            slices = local_slices(x.shape[0], groups=self.groups, devices=devices)
        rows = x.reshape(slices, -1, c).astype(self.dtype)
        beside = None if shortcut is None else shortcut.reshape(rows.shape)
        if not self.train:
            moments = running_mean.value[None], running_var.value[None]
            return formula(rows, scale, bias, *moments, beside, self.relu).reshape(x.shape)
        mean, variance, average = group_moments(
            lax.stop_gradient(rows).astype(stat_dtype), running_mean.value, groups=self.groups, axis_name=self.axis_name
        )
        if not self.is_initializing():
            running_mean.value += MOMENTUM * (average[0] - running_mean.value)
            running_var.value += MOMENTUM * (average[1] - running_var.value)
        if self.frozen_bias:
            bias = sharding.varying(bias, self.axis_name)
        y = normalise(rows, scale, bias, mean, variance, beside, self.relu, self.groups, self.axis_name)
        return y.reshape(x.shape)

    def _shift(self, x, shortcut):  # what `bn_folding` leaves
        shift = self.get_variable('params', 'bias').astype(self.dtype)
        y = x.astype(self.dtype) + jnp.expand_dims(shift, range(x.ndim - 1))
        y = y if shortcut is None else y + shortcut.astype(self.dtype)
        return nn.relu(y) if self.relu else y
