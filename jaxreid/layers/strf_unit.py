"""Spatio-temporal representation factorisation unit (STRF, ICCV 2021; docs/strf.md).

    paper             here
    f                 features, [B, T, H, W, C]
    d = t, s          what a branch pools over: time or space
    k = tau, varsigma small extent (dynamic, fine) or large (static, coarse)
    H_dk, G_dk        `reduce` kernels, `pool`
    Cov, M_dk         in `affinity`: the covariance of `factors`, and its softmax
    FAM, FFM          feature affinity module (a mask), feature factorisation module (a mix by the masks)

A mask is [B, P, P] with P = H * W: row p tells from which positions q the output p is mixed. One mask per clip serves
all frames and channels; time enters through the covariance only.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxreid import config
from jaxreid.layers import affinity, numerics, pooling


def pool(u: jax.Array, *, branch: str, settings: config.Strf) -> jax.Array:
    """G_dk: pools the reduced map over time (branches t_*) or space (s_*).

    Args:
      u: [B, T, H, W, c].
      branch: one of `settings.branches`.
      settings: extents, kinds and mode.

    Returns:
      [B, T', H, W, c]; T' = T except with `pool_mode='strided'` in time, where T' = ceil(T / r), or 1 if global. A
      strided spatial pool repeats its values over the window, so that masks keep their size; so does a global one,
      in time only in mode 'same'.
    """
    temporal = branch.startswith('t')
    axes = (1,) if temporal else (2, 3)
    extent = settings.r_tau if branch.endswith('tau') else settings.r_sigma
    average = branch in settings.avg_pool
    is_strided = settings.pool_mode == 'strided'
    if branch in settings.global_pool:
        v = pooling.whole(u, axes=axes, average=average)
        return v if temporal and is_strided else jnp.broadcast_to(v, u.shape)
    if extent == 1:
        return u
    v = u
    for axis in axes:
        if is_strided:
            v = pooling.strided(v, axis=axis, extent=extent, average=average)
        else:
            v = pooling.same(v, axis=axis, extent=extent, average=average, counts_padding=settings.avg_counts_padding)
        if is_strided and not temporal:
            v = jnp.take(v, jnp.arange(u.shape[axis]) // extent, axis=axis)
    return v


def factors(vectors: jax.Array, *, norm: str) -> jax.Array:
    """T of eq. 3: pooled vectors [B, T', P, c] as `strf.cov_norm` says, the same shape.

    'frame': the vector of every position in every frame has length 1, as in AP3D and TCLNet, from where kappa is taken;
    no position is nearer to another than to itself. 'l2': length 1 over channels and frames together. 'centre': less
    its mean over positions. 'none': as it is; long vectors are then nearer to all others than these to themselves, and
    all outputs become mixtures of the same few positions (docs/strf.md).

    At least float32.
    """
    vectors = vectors.astype(jnp.promote_types(vectors.dtype, jnp.float32))
    match norm:
        case 'frame':
            return numerics.unit_length(vectors)
        case 'l2':
            return numerics.unit_length(vectors, axis=(1, 3))
        case 'centre':
            return vectors - vectors.mean(2, keepdims=True)
        case 'none':
            return vectors
    raise config.unknown('strf.cov_norm', norm)


def uniform_by_channels(key, shape, dtype=jnp.float32):
    """Uniform in +-1 / sqrt(C) for a kernel [C, c]."""
    limit = shape[0] ** -0.5
    return jax.random.uniform(key, shape, dtype, -limit, limit)


class StrfUnit(nn.Module):
    """Re-weights a feature map by temporal and spatial masks; the shape is kept (eq. 8).

    Parameters: one kernel [C, C / reduction] per enabled branch, named after it; none without FAM. Covariances and
    softmaxes are at least float32.

    Where all branches of a dimension are disabled its module is the identity, in every order.
    """

    settings: config.Strf
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, features: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Maps [B, T, H, W, C] to the same shape and what `affinity.mix` shows of the masks, mean of time and space;
        empty without masks.
        """
        # Positions in front: a row of the products with the masks holds all frames and channels of a position.
        f = features.transpose(0, 2, 3, 1, 4)
        match self.settings.order:
            case 't_then_s':
                middle, t_shown = self._factorise('t', f)
                out, s_shown = self._factorise('s', middle)
            case 's_then_t':
                middle, s_shown = self._factorise('s', f)
                out, t_shown = self._factorise('t', middle)
            case 'parallel':
                temporal, t_shown = self._factorise('t', f)
                spatial, s_shown = self._factorise('s', f)
                out = temporal + spatial
            case other:
                raise config.unknown('strf.order', other)
        both = [shown for shown in (t_shown, s_shown) if shown]
        shown = jax.tree.map(lambda *values: sum(values) / len(values), *both) if both else {}
        return out.transpose(0, 3, 1, 2, 4), shown

    def _factorise(self, dimension, f):  # FFM(d) of [B, H, W, T, C]
        branches = [name for name in self.settings.branches if name.startswith(dimension)]
        if not branches:
            return f, {}
        b, h, w, _, c = f.shape
        flat = f.reshape(b, h * w, -1)  # X^T, [B, P, T C]
        shown: dict[str, jax.Array] = {}
        match self.settings.fam:
            case 'covariance':
                u = self._reduce(branches, f)
                vectors = [pool(z, branch=name, settings=self.settings) for name, z in zip(branches, u, strict=True)]
                total, shown = self._mix(flat, [v.reshape(b, v.shape[1], h * w, -1) for v in vectors])
            case 'none_softmax':
                total, shown = self._mix(flat, [f.reshape(b, h * w, -1, c).swapaxes(1, 2)])
                total = total * len(branches)
            case 'none_gram':
                dtype = jnp.promote_types(f.dtype, jnp.float32)
                gram = jnp.einsum('bpd,bqd->bpq', flat, flat, preferred_element_type=dtype) / (h * w)
                total = jnp.einsum('bpq,bqd->bpd', gram.astype(f.dtype), flat) * len(branches)
            case 'none_hadamard':
                total = flat * flat * len(branches)
            case other:
                raise config.unknown('strf.fam', other)
        if self.settings.branch_reduce == 'mean':
            total = total / len(branches)
        total = total.reshape(f.shape)
        return (f + total if self.settings.residual else total), shown

    def _mix(self, flat, vectors):  # sum over branches of X M_dk (eqs. 1, 5, 7), from pooled vectors [B, T', P, c]
        vectors = [factors(v, norm=self.settings.cov_norm).swapaxes(1, 2) for v in vectors]
        return affinity.mix(
            flat,
            [v.reshape(*v.shape[:2], -1) for v in vectors],
            kappa=self.settings.kappa,
            transposed=self.settings.softmax_axis == 'target',
        )

    def _reduce(self, branches, f):  # H_dk of all branches of a dimension, from [B, H, W, T, C] [B, T, H, W, c] each
        c = f.shape[-1]
        if c % self.settings.reduction:
            raise ValueError(
                f'strf.reduction = {self.settings.reduction} does not divide the {c} channels of this stage; choose a '
                'divisor, or another backbone.width.'
            )
        reduced = c // self.settings.reduction
        param_dtype = jnp.promote_types(self.dtype, jnp.float32)
        kernels = [self.param(name, uniform_by_channels, (c, reduced), param_dtype) for name in branches]
        rows = f.reshape(-1, c) @ jnp.concatenate(kernels, axis=1).astype(f.dtype)
        return jnp.split(rows.reshape(*f.shape[:-1], -1).transpose(0, 3, 1, 2, 4), len(branches), axis=-1)
