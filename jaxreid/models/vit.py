"""CLIP's image tower, a vision transformer, on frames (Dosovitskiy et al., ICLR 2021; Radford et al., ICML 2021)."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxreid import config
from jaxreid.layers.transformer import blocks


class Vit(nn.Module):
    """Patches and a class token with positions, LN, blocks of attention, LN, and a projection of every token.

    Frames of any size that splits into patches run: positions are kept for `size`, and resized for another.
    """

    vit: config.Vit
    size: tuple[int, int]  # height and width, in pixels, of the frames that the positions are for
    remat: bool = False  # keep only the blocks' inputs for the backward pass
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(
        self, frames: jax.Array, beside: jax.Array | None = None, *, clip_frames: int = 1
    ) -> tuple[jax.Array, jax.Array]:
        """Runs on normalised frames, those of all clips one behind the other.

        Args:
          frames: [R, H, W, 3].
          beside: [R, width], added to the class token of each frame; None: nothing.
          clip_frames: of a clip, side by side; adapters join them.

        Returns:
          The tokens after the last LN [R, 1 + N, width], the class token first, then the patches row by row; and their
          projections [R, 1 + N, projection]. Both of `dtype`.

        Raises:
          ValueError: the frames do not split into patches.
        """
        v, wide = self.vit, jnp.promote_types(self.dtype, jnp.float32)
        grid = patch_grid(frames.shape[1:3], v.patch)
        near_zero = nn.initializers.normal(v.width**-0.5)
        kernel = self.param('patches', nn.initializers.lecun_normal(), (v.patch, v.patch, 3, v.width), wide)
        class_token = self.param('class_token', near_zero, (v.width,), wide)
        own = patch_grid(self.size, v.patch)
        positions = self.param('positions', near_zero, (1 + own[0] * own[1], v.width), wide)

        x = frames.astype(self.dtype).reshape(frames.shape[0], grid[0], v.patch, grid[1], v.patch, 3)
        x = jnp.einsum('rhpwqc,pqcd->rhwd', x, kernel.astype(self.dtype)).reshape(frames.shape[0], -1, v.width)
        first = class_token[None] if beside is None else class_token[None] + beside
        first = jnp.broadcast_to(first.astype(self.dtype)[:, None], (frames.shape[0], 1, v.width))
        positions = blocks.resized_positions(positions, own, grid).astype(self.dtype)
        x = blocks.layer_norm(jnp.concatenate([first, x], axis=1) + positions[None], name='ln_pre')
        block = nn.remat(blocks.Block) if self.remat else blocks.Block
        for i in range(v.depth):
            how = {'adapter': v.adapters, 'frames': clip_frames}
            x = block(v.heads, dtype=self.dtype, name=f'block{i}', **how)(x)
        x = blocks.layer_norm(x, name='ln_post')
        projection = self.param('projection', near_zero, (v.width, v.projection), wide)
        return x, x @ projection.astype(self.dtype)


def patch_grid(size: tuple[int, ...], patch: int) -> tuple[int, int]:
    """Rows and columns of patches of a frame of height and width `size`. Raises ValueError where it does not split."""
    height, width = size
    if height % patch or width % patch:
        raise ValueError(
            f'frames of {height} x {width} do not split into patches of vit.patch = {patch} pixels; make data.height '
            'and data.width multiples of it'
        )
    return height // patch, width // patch
