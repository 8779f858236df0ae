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
from jaxreid.layers import numerics, pooling

# Above this many positions the masks are made and used some rows at a time and made again in the backward pass:
# with 2048 positions one float32 mask of 32 clips takes 512 MiB.
MAX_POSITIONS = 1024
ROWS = 512
ENTROPY_STRIDE = 16  # the logged entropy looks at every 16th row of a mask


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
    """
    match norm:
        case 'frame':
            return numerics.unit_length(vectors)
        case 'l2':
            return numerics.unit_length(vectors, axis=(1, 3))
        case 'centre':
            vectors = vectors.astype(jnp.promote_types(vectors.dtype, jnp.float32))
            return vectors - vectors.mean(2, keepdims=True)
        case 'none':
            return vectors
    raise config.unknown('strf.cov_norm', norm)


def covariance(rows: jax.Array, columns: jax.Array, *, kappa: float) -> jax.Array:
    """kappa T^T T (eq. 3) of `rows` [B, T', R, c] with `columns` [B, T', P, c]: [B, R, P], at least float32."""
    dtype = jnp.promote_types(rows.dtype, jnp.float32)
    return kappa * jnp.einsum('btpc,btqc->bpq', rows, columns, precision='highest', preferred_element_type=dtype)


def mask(vectors: jax.Array, *, settings: config.Strf) -> jax.Array:
    """M_dk of one branch (eq. 4), from pooled vectors [B, T', P, c]: [B, P, P], at least float32.

    Entry [b, p, q] weighs input position q in output position p. With `softmax_axis='source'` rows sum to 1 and every
    output is a convex combination of inputs; 'target' is the transpose.
    """
    vectors = factors(vectors, norm=settings.cov_norm)
    source = jax.nn.softmax(covariance(vectors, vectors, kappa=settings.kappa), axis=-1)
    return source if settings.softmax_axis == 'source' else source.swapaxes(1, 2)


def _shown(source_rows, positions):
    """What rows [B, R, P] of a branch's distributions show: mean entropy, mean weight of their own position, and the
    mean weight [B, P] that each position has in them."""
    some = source_rows[:, ::ENTROPY_STRIDE]
    entropy = -jnp.where(some > 0, some * jnp.log(jnp.where(some > 0, some, 1)), 0).sum(-1).mean()
    own = positions[:, None] == jnp.arange(source_rows.shape[2])[None]  # [R, P]
    return entropy, jnp.where(own[None], source_rows, 0).sum(-1).mean(), source_rows.mean(1)


def _mix_rows(features, rows, vectors, positions, settings):
    """What the mask rows of `positions` [R] contribute, and by branch what they show.

    `rows` and `vectors` are the branches' factors of these and of all positions; features [B, T, P, C], or [B, T, R, C]
    for target masks.
    """
    sources = [
        jax.nn.softmax(covariance(r, v, kappa=settings.kappa), axis=-1) for r, v in zip(rows, vectors, strict=True)
    ]
    # X M_tau + X M_varsigma = X (M_tau + M_varsigma): one product for both.
    total = functools.reduce(jnp.add, sources).astype(features.dtype)
    equation = 'bpq,btqc->btpc' if settings.softmax_axis == 'source' else 'bpq,btpc->btqc'
    return jnp.einsum(equation, total, features), [_shown(m, positions) for m in sources]


def _summary(shown):
    """Means over branches, of the busiest source's share over clips too."""
    entropies, own, columns = zip(*shown, strict=True)
    busiest = [c.max(-1).mean() for c in columns]
    means = [sum(values) / len(values) for values in (entropies, own, busiest)]
    return dict(zip(('mask_entropy', 'mask_own', 'mask_busiest'), means, strict=True))


def reweight(
    features: jax.Array, vectors: Sequence[jax.Array], *, settings: config.Strf, image_width: int
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Sum over branches of X M_dk (eqs. 1, 5, 7).

    Args:
      features: [B, T, P, C], the input of the module, not the reduced map.
      vectors: per branch its pooled vectors [B, T', P, c].
      settings: kappa, cov_norm and softmax_axis are used.
      image_width: W; large maps are cut into bands of whole image rows.

    Returns:
      [B, T, P, C] in the dtype of `features`, and scalars, means over the branches: `mask_entropy` of the masks'
      distributions in nats; `mask_own`, the weight of a position in its own output; `mask_busiest`, the largest mean
      weight that a position has over all outputs: 1 / P at least, 1 where all look at the same one.
    """
    b, t, p, c = features.shape
    vectors = [factors(v, norm=settings.cov_norm) for v in vectors]
    if p <= MAX_POSITIONS:
        mixed, shown = _mix_rows(features, vectors, vectors, jnp.arange(p), settings)
        return mixed, _summary(shown)

    height = p // image_width
    band = max(k for k in range(1, height + 1) if height % k == 0 and k * image_width <= max(ROWS, image_width))
    bands = height // band

    def cut(z):  # [B, T', P, c] -> [bands, B, T', P / bands, c]
        return jnp.moveaxis(z.reshape(*z.shape[:2], bands, p // bands, z.shape[-1]), 2, 0)

    mix = jax.checkpoint(functools.partial(_mix_rows, settings=settings))
    rows = [cut(v) for v in vectors], jnp.arange(p).reshape(bands, -1)
    if settings.softmax_axis == 'source':
        mixed, shown = jax.lax.map(lambda band: mix(features, band[0], vectors, band[1]), rows)
        mixed = jnp.moveaxis(mixed, 0, 2).reshape(b, t, p, c)
    else:

        def add(total, band):
            mixed, shown = mix(band[0], band[1], vectors, band[2])
            return total + mixed, shown

        mixed, shown = jax.lax.scan(add, jnp.zeros_like(features), (cut(features), *rows))
    return mixed, _summary(jax.tree.map(lambda x: x.mean(0), shown))


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
        """Maps [B, T, H, W, C] to the same shape and what `reweight` shows of the masks, mean of time and space; empty
        without masks.
        """
        match self.settings.order:
            case 't_then_s':
                middle, t_shown = self._factorise('t', features)
                out, s_shown = self._factorise('s', middle)
            case 's_then_t':
                middle, s_shown = self._factorise('s', features)
                out, t_shown = self._factorise('t', middle)
            case 'parallel':
                temporal, t_shown = self._factorise('t', features)
                spatial, s_shown = self._factorise('s', features)
                out = temporal + spatial
            case other:
                raise config.unknown('strf.order', other)
        both = [shown for shown in (t_shown, s_shown) if shown]
        return out, jax.tree.map(lambda *values: sum(values) / len(values), *both) if both else {}

    def _factorise(self, dimension, f):  # FFM(d)
        branches = [name for name in self.settings.branches if name.startswith(dimension)]
        if not branches:
            return f, {}
        b, t, h, w, c = f.shape
        flat = f.reshape(b, t, h * w, c)  # X, [B, T, P, C]
        shown: dict[str, jax.Array] = {}
        match self.settings.fam:
            case 'covariance':
                u = self._reduce(branches, f)
                vectors = [pool(z, branch=name, settings=self.settings) for name, z in zip(branches, u, strict=True)]
                vectors = [v.reshape(b, v.shape[1], h * w, -1) for v in vectors]
                total, shown = reweight(flat, vectors, settings=self.settings, image_width=w)
            case 'none_softmax':
                total, shown = reweight(flat, [flat], settings=self.settings, image_width=w)
                total = total * len(branches)
            case 'none_gram':
                dtype = jnp.promote_types(f.dtype, jnp.float32)
                gram = jnp.einsum('btpc,btqc->bpq', flat, flat, preferred_element_type=dtype) / (h * w)
                total = jnp.einsum('bpq,btqc->btpc', gram.astype(f.dtype), flat) * len(branches)
            case 'none_hadamard':
                total = flat * flat * len(branches)
            case other:
                raise config.unknown('strf.fam', other)
        if self.settings.branch_reduce == 'mean':
            total = total / len(branches)
        total = total.reshape(f.shape)
        return (f + total if self.settings.residual else total), shown

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
