"""C2D, I3D, P3D-A/B/C, AP3D, with or without STRF units or non-local blocks: one network (docs/strf.md)."""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxreid import config
from jaxreid.layers import batch_norm, head, pooling
from jaxreid.models import output, resnet


class Baseline(nn.Module):
    """ResNet, pooling over each frame and then over time, BN neck, classifier.

    Attributes:
      num_ids: training identities.
      bn_groups, axis_name: see `batch_norm`.
      remat: recompute bottleneck activations in the backward pass.
      dtype: of the activations; parameters, statistics and results are at least float32.
    """

    backbone: config.Backbone
    strf: config.Strf
    ap3d: config.Ap3d
    nonlocal_blocks: config.NonLocal
    head: config.Head
    num_ids: int
    bn_groups: int = 1
    axis_name: str | None = None
    remat: bool = False
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, clips: jax.Array, *, train: bool) -> output.ModelOutput:
        """Runs on normalised clips [B, T, H, W, 3]; `train` takes and updates batch statistics."""
        out_dtype = jnp.promote_types(self.dtype, jnp.float32)
        norm = functools.partial(
            batch_norm.BatchNorm, train=train, groups=self.bn_groups, axis_name=self.axis_name, dtype=self.dtype
        )
        x = resnet.Stem(self.backbone.width, norm, dtype=self.dtype, name='stem')(clips.astype(self.dtype))
        extras: dict = {'masks': {}}
        for stage in (1, 2, 3, 4):
            # A stage listed for STRF holds 3-D blocks to host the units, whether or not it has them otherwise.
            hosts = stage in self.strf.stages
            x, shown = resnet.stage(
                self.backbone,
                stage,
                norm,
                block=self.backbone.block if hosts or stage in self.backbone.stages else 'c2d',
                strf=self.strf if hosts else None,
                ap3d=self.ap3d,
                nonlocal_after={2: self.nonlocal_blocks.stage2, 3: self.nonlocal_blocks.stage3}.get(stage, ()),
                remat=self.remat and train,
                dtype=self.dtype,
            )(x)
            extras['masks'] |= {
                f'{k}/layer{stage}_{block}': v for block, unit in shown.items() for k, v in unit.items()
            }
            if stage == 3:
                extras['attention'] = jnp.square(x.astype(out_dtype)).mean(-1)  # [B, T, H, W]
        frames = pooling.frames(x.astype(out_dtype), kind=self.backbone.frame_pool)  # [B, T, D]
        feature = frames.mean(1)  # [B, D]
        embedding, logits = head.Head(self.head.kind, self.num_ids, norm, name='head')(feature)
        return output.ModelOutput(embedding=embedding, embedding_before_neck=feature, logits=logits, extras=extras)
