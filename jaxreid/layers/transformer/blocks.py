"""Parts of CLIP's transformers (Radford et al., ICML 2021): LayerNorm in float32, QuickGELU, attention, a block.

Tokens are [R, N, D]: R rows that do not see each other, N tokens of D channels. Parameters are at least float32.
"""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn

EPSILON = 1e-5  # of LayerNorm
ADAPTER_HEADS = 4  # of VSLA-CLIP's attention over time


def quick_gelu(x: jax.Array) -> jax.Array:
    """x sigmoid(1.702 x)."""
    return x * jax.nn.sigmoid(1.702 * x)


def layer_norm(x: jax.Array, *, name: str) -> jax.Array:
    """Normalises the last axis, in at least float32, and gives x's dtype; a module of whoever calls it."""
    wide = jnp.promote_types(x.dtype, jnp.float32)
    norm = nn.LayerNorm(EPSILON, dtype=wide, param_dtype=wide, use_fast_variance=False, name=name)
    return norm(x).astype(x.dtype)


def dense(features: int, dtype: jnp.dtype, *, name: str, use_bias: bool = True) -> nn.Dense:
    """A linear layer."""
    wide = jnp.promote_types(dtype, jnp.float32)
    return nn.Dense(features, use_bias=use_bias, dtype=dtype, param_dtype=wide, name=name)


def attend(q: jax.Array, k: jax.Array, v: jax.Array, *, heads: int) -> jax.Array:
    """Of queries [R, N, D] over keys and values [R, M, D], each head on its own D / heads channels: [R, N, D]."""
    # Of float16 it asks for a product that neither CPUs nor TPUs have; these products are 3 % of a ViT's.
    wide = jnp.float32 if q.dtype == jnp.float16 else q.dtype
    parts = (x.astype(wide).reshape(*x.shape[:2], heads, x.shape[2] // heads) for x in (q, k, v))
    x = jax.nn.dot_product_attention(*parts).astype(q.dtype)
    return x.reshape(*x.shape[:2], -1)


class SelfAttention(nn.Module):
    """Every token of [R, N, D] over all of its row: one projection to q, k and v, with bias, as PyTorch's."""

    heads: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        q, k, v = jnp.split(dense(3 * x.shape[-1], self.dtype, name='qkv')(x), 3, axis=-1)
        return dense(x.shape[-1], self.dtype, name='out')(attend(q, k, v, heads=self.heads))


class Mlp(nn.Module):
    """D -> hidden -> D with QuickGELU between."""

    hidden: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = quick_gelu(dense(self.hidden, self.dtype, name='fc')(x))
        return dense(x.shape[-1], self.dtype, name='proj')(y)


class TimeAdapter(nn.Module):
    """up(MHA(down x)) over the T frames of a clip, each token by itself, without positions (VSLA-CLIP, ECCV 2024)."""

    hidden: int
    frames: int  # T: of the R rows, T side by side are a clip
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        rows, tokens, d = x.shape
        y = dense(self.hidden, self.dtype, name='down')(x).reshape(-1, self.frames, tokens, self.hidden)
        y = y.swapaxes(1, 2).reshape(-1, self.frames, self.hidden)  # [B N, T, hidden]
        y = SelfAttention(ADAPTER_HEADS, dtype=self.dtype, name='attn')(y)
        y = y.reshape(-1, tokens, self.frames, self.hidden).swapaxes(1, 2).reshape(rows, tokens, self.hidden)
        return dense(d, self.dtype, name='up')(y)


class Block(nn.Module):
    """x + MSA(LN x), then x + MLP(LN x), the MLP four times as wide: [R, N, D] -> [R, N, D].

    With adapters (VSLA-CLIP) `TimeAdapter(x)` is added to the first sum, and up(QuickGELU(down x)) of what that gives
    to the second; nothing is normalised in front of them.
    """

    heads: int
    dtype: jnp.dtype = jnp.float32
    adapter: int = 0  # hidden channels of the adapters, 0: none
    frames: int = 1  # T, for the adapter over time

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = x + SelfAttention(self.heads, dtype=self.dtype, name='attn')(layer_norm(x, name='ln_1'))
        if self.adapter:
            y = y + TimeAdapter(self.adapter, self.frames, dtype=self.dtype, name='adapter_time')(x)
        z = y + Mlp(4 * x.shape[-1], dtype=self.dtype, name='mlp')(layer_norm(y, name='ln_2'))
        return z + Mlp(self.adapter, dtype=self.dtype, name='adapter_mlp')(y) if self.adapter else z


def resized_positions(positions: jax.Array, grid: tuple[int, int], wanted: tuple[int, int]) -> jax.Array:
    """Embeddings [1 + h w, D] of a class token and a grid of patches, for another grid: [1 + h' w', D].

    The grid's are resized bilinearly with half-pixel centres and without antialiasing, which is what PyTorch's
    `interpolate` does when it is asked for neither; the class token's stays.
    """
    if grid == wanted:
        return positions
    maps = positions[1:].reshape(*grid, -1)
    resize = functools.partial(jax.image.resize, method='bilinear', antialias=False)
    maps = resize(maps, (*wanted, maps.shape[-1]))
    return jnp.concatenate([positions[:1], maps.reshape(-1, maps.shape[-1])])
