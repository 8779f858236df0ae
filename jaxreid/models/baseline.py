"""C2D, I3D, P3D-A/B/C, AP3D, with or without STRF units or non-local blocks: one network (docs/strf.md)."""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxreid import config
from jaxreid.layers import nonlocal_block, pooling
from jaxreid.models import output, system


class Baseline(system.System, kw_only=True):  # type: ignore[call-arg]
    """ResNet, pooling over each frame and then over time, BN neck, classifier."""

    strf: config.Strf
    ap3d: config.Ap3d
    nonlocal_blocks: config.NonLocal

    @nn.compact
    def __call__(self, clips: jax.Array, *, train: bool) -> output.ModelOutput:
        """Runs on normalised clips [B, T, H, W, 3]; `train` takes and updates batch statistics."""
        norm = self.norm(train)
        x = self.stem(clips, norm)
        extras: dict = {'masks': {}}
        for stage in (1, 2, 3, 4):
            following = {2: self.nonlocal_blocks.stage2, 3: self.nonlocal_blocks.stage3}.get(stage, ())
            block = functools.partial(nonlocal_block.NonLocalBlock, norm, dtype=self.dtype)
            # A stage listed for STRF holds 3-D blocks to host the units, whether or not it has them otherwise.
            hosts = stage in self.strf.stages
            x, shown = self.stage(
                stage,
                norm,
                block=self.backbone.block if hosts or stage in self.backbone.stages else 'c2d',
                strf=self.strf if hosts else None,
                ap3d=self.ap3d,
                after={i: functools.partial(block, name=f'nonlocal{i}') for i in following},
            )(x)
            extras['masks'] |= {
                f'{k}/layer{stage}_{block}': v for block, unit in shown.items() for k, v in unit.items()
            }
            if stage == 3:
                extras['attention'] = jnp.square(x.astype(self.out_dtype)).mean(-1)  # [B, T, H, W]
        frames = pooling.frames(x.astype(self.out_dtype), kind=self.backbone.frame_pool)  # [B, T, D]
        return self.classify(frames.mean(1), norm).as_output(extras)
