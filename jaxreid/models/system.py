"""What the systems have in common: a ResNet, its normalisation, and a neck with a classifier."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxreid import config
from jaxreid.layers import batch_norm, head
from jaxreid.models import output, resnet


class System(nn.Module):
    """Fields of every system, and the modules made of them."""

    backbone: config.Backbone
    head: config.Head
    num_ids: int  # training identities
    bn_groups: int = 1  # see `batch_norm`
    axis_name: str | None = None
    remat: bool = False  # recompute bottleneck activations in the backward pass
    # of the activations, up to the last feature map where nothing else is said; parameters, statistics and results
    # are at least float32
    dtype: jnp.dtype = jnp.float32

    @property
    def out_dtype(self) -> jnp.dtype:
        """Of results."""
        return jnp.promote_types(self.dtype, jnp.float32)

    def norm(self, train: bool) -> resnet.Norm:
        """BatchNorm of this network; `train` takes and updates batch statistics."""
        return functools.partial(
            batch_norm.BatchNorm, train=train, groups=self.bn_groups, axis_name=self.axis_name, dtype=self.dtype
        )

    def stem(self, x: jax.Array, norm: resnet.Norm, *, name: str = 'stem', **rest: Any) -> jax.Array:
        """`resnet.Stem` of inputs [B, T, H, W, C]; `rest`: further fields of it."""
        stem = resnet.Stem(self.backbone.width, norm, dtype=self.dtype, name=name, **rest)
        return stem(x.astype(self.dtype))

    def stage(self, number: int, norm: resnet.Norm, **rest: Any) -> resnet.Stage:
        """`resnet.stage` of the backbone."""
        remat = self.remat and norm.keywords['train']
        return resnet.stage(self.backbone, number, norm, remat=remat, dtype=self.dtype, **rest)

    def classify(self, features: jax.Array, norm: resnet.Norm, *, name: str = 'head') -> output.Stream:
        """Neck and classifier for features [R, D]."""
        embedding, logits = head.Head(self.head.kind, self.num_ids, norm, name=name)(features)
        return output.Stream(embedding=embedding, embedding_before_neck=features, logits=logits)
