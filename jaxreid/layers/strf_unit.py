"""Spatio-temporal representation factorisation unit (STRF, ICCV 2021; docs/strf.md).

    paper             here
    f                 features, [B, T, H, W, C]
    d = t, s          what a branch pools over: time or space
    k = tau, varsigma small extent (dynamic, fine) or large (static, coarse)
    H_dk, G_dk        `reduce` kernels, `pool`
    Cov, M_dk         `covariance` and its softmax
    FAM, FFM          feature affinity module (a mask), feature factorisation module (`reweight` by the masks)

A mask is [B, P, P] with P = H * W: row p tells from which positions q the output p is mixed. One mask per clip serves
all frames and channels; time enters through the covariance only.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxreid import config
from jaxreid.layers import pooling

# Above this many positions the masks are made and used some rows at a time and made again in the backward pass:
# with 2048 positions one float32 mask of 32 clips takes 512 MiB.
MAX_POSITIONS = 1024
ROWS = 512
ENTROPY_STRIDE = 16  # the logged entropy looks at every 16th row of a mask
TINY = 1e-24


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


def covariance(rows: jax.Array, columns: jax.Array, *, kappa: float, norm: str) -> jax.Array:
    """kappa T^T T between positions (eq. 3): uncentred, unnormalised.

    Args:
      rows: [B, T', R, c], the positions whose rows are wanted.
      columns: [B, T', P, c], all positions.
      kappa: factor.
      norm: 'none', or 'l2' to divide by the lengths of the position vectors, so that values lie in [-kappa, kappa].

    Returns:
      [B, R, P], at least float32.
    """
    dtype = jnp.promote_types(rows.dtype, jnp.float32)
    product = functools.partial(jnp.einsum, precision='highest', preferred_element_type=dtype)
    cov = kappa * product('btpc,btqc->bpq', rows, columns)
    if norm == 'none':
        return cov

    def inverse_length(z):
        squares = (z.astype(dtype) ** 2).sum((1, 3))  # [B, positions]
        return jax.lax.rsqrt(jnp.where(squares > TINY, squares, TINY))

    return cov * inverse_length(rows)[:, :, None] * inverse_length(columns)[:, None, :]


def mask(vectors: jax.Array, *, settings: config.Strf) -> jax.Array:
    """M_dk of one branch (eq. 4), from pooled vectors [B, T', P, c]: [B, P, P], at least float32.

    Entry [b, p, q] weighs input position q in output position p. With `softmax_axis='source'` rows sum to 1 and every
    output is a convex combination of inputs; 'target' is the transpose.
    """
    source = jax.nn.softmax(covariance(vectors, vectors, kappa=settings.kappa, norm=settings.cov_norm), axis=-1)
    return source if settings.softmax_axis == 'source' else source.swapaxes(1, 2)


def _entropy(source_rows):
    some = source_rows[:, ::ENTROPY_STRIDE]
    return -jnp.where(some > 0, some * jnp.log(jnp.where(some > 0, some, 1)), 0).sum(-1).mean()


def _mix_rows(features, rows, vectors, settings):
    """What the mask rows of positions `rows` contribute; features [B, T, P, C], or [B, T, R, C] for target masks."""
    sources = [
        jax.nn.softmax(covariance(r, v, kappa=settings.kappa, norm=settings.cov_norm), axis=-1)
        for r, v in zip(rows, vectors, strict=True)
    ]
    entropy = jnp.stack([_entropy(m) for m in sources]).mean()
    # X M_tau + X M_varsigma = X (M_tau + M_varsigma): one product for both.
    total = functools.reduce(jnp.add, sources).astype(features.dtype)
    equation = 'bpq,btqc->btpc' if settings.softmax_axis == 'source' else 'bpq,btpc->btqc'
    return jnp.einsum(equation, total, features), entropy


def reweight(
    features: jax.Array, vectors: Sequence[jax.Array], *, settings: config.Strf, image_width: int
) -> tuple[jax.Array, jax.Array]:
    """Sum over branches of X M_dk (eqs. 1, 5, 7).

    Args:
      features: [B, T, P, C], the input of the module, not the reduced map.
      vectors: per branch its pooled vectors [B, T', P, c].
      settings: kappa, cov_norm and softmax_axis are used.
      image_width: W; large maps are cut into bands of whole image rows.

    Returns:
      [B, T, P, C] in the dtype of `features`, and the mean entropy of the masks' distributions in nats.
    """
    b, t, p, c = features.shape
    if p <= MAX_POSITIONS:
        return _mix_rows(features, vectors, vectors, settings)

    height = p // image_width
    band = max(k for k in range(1, height + 1) if height % k == 0 and k * image_width <= max(ROWS, image_width))
    bands = height // band

    def cut(z):  # [B, T', P, c] -> [bands, B, T', P / bands, c]
        return jnp.moveaxis(z.reshape(*z.shape[:2], bands, p // bands, z.shape[-1]), 2, 0)

    mix = jax.checkpoint(functools.partial(_mix_rows, settings=settings))
    if settings.softmax_axis == 'source':
        mixed, entropy = jax.lax.map(lambda rows: mix(features, rows, vectors), [cut(v) for v in vectors])
        return jnp.moveaxis(mixed, 0, 2).reshape(b, t, p, c), entropy.mean()

    def add(total, band_inputs):
        band_features, rows = band_inputs
        mixed, entropy = mix(band_features, rows, vectors)
        return total + mixed, entropy

    mixed, entropy = jax.lax.scan(add, jnp.zeros_like(features), (cut(features), [cut(v) for v in vectors]))
    return mixed, entropy.mean()


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
    def __call__(self, features: jax.Array) -> tuple[jax.Array, jax.Array | None]:
        """Maps [B, T, H, W, C] to the same shape and the mean entropy of the masks (nats; None without masks)."""
        match self.settings.order:
            case 't_then_s':
                middle, t_entropy = self._factorise('t', features)
                out, s_entropy = self._factorise('s', middle)
            case 's_then_t':
                middle, s_entropy = self._factorise('s', features)
                out, t_entropy = self._factorise('t', middle)
            case 'parallel':
                temporal, t_entropy = self._factorise('t', features)
                spatial, s_entropy = self._factorise('s', features)
                out = temporal + spatial
            case other:
                raise ValueError(f'strf.order = {other!r}; choose t_then_s, s_then_t or parallel.')
        entropies = [e for e in (t_entropy, s_entropy) if e is not None]
        return out, sum(entropies) / len(entropies) if entropies else None

    def _factorise(self, dimension, f):  # FFM(d)
        branches = [name for name in self.settings.branches if name.startswith(dimension)]
        if not branches:
            return f, None
        b, t, h, w, c = f.shape
        flat = f.reshape(b, t, h * w, c)  # X, [B, T, P, C]
        entropy: jax.Array | None = None
        match self.settings.fam:
            case 'covariance':
                u = self._reduce(branches, f)
                vectors = [pool(z, branch=name, settings=self.settings) for name, z in zip(branches, u, strict=True)]
                vectors = [v.reshape(b, v.shape[1], h * w, -1) for v in vectors]
                total, entropy = reweight(flat, vectors, settings=self.settings, image_width=w)
            case 'none_softmax':
                total, entropy = reweight(flat, [flat], settings=self.settings, image_width=w)
                total = total * len(branches)
            case 'none_gram':
                dtype = jnp.promote_types(f.dtype, jnp.float32)
                gram = jnp.einsum('btpc,btqc->bpq', flat, flat, preferred_element_type=dtype) / (h * w)
                total = jnp.einsum('bpq,btqc->btpc', gram.astype(f.dtype), flat) * len(branches)
            case 'none_hadamard':
                total = flat * flat * len(branches)
            case other:
                raise ValueError(f'strf.fam = {other!r}; choose covariance, none_hadamard, none_gram or none_softmax.')
        if self.settings.branch_reduce == 'mean':
            total = total / len(branches)
        total = total.reshape(f.shape)
        return (f + total if self.settings.residual else total), entropy

    def _reduce(self, branches, f):  # H_dk of all branches of a dimension, [B, T, H, W, c] each
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
        return [u.reshape(*f.shape[:-1], reduced) for u in jnp.split(rows, len(branches), axis=1)]
