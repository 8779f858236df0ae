"""Spatial and temporal memory networks (STMN, ICCV 2021; docs/stmn.md).

paper         here
f^o, f^s      person, refined: the person's feature map before and after the spatial memory
q^s, q^t      outputs of layer4_spatial and layer4_temporal
f^t           the clip feature, frames weighted by the temporal memory
stream s, t   `spatial`, `temporal`
"""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxreid import config
from jaxreid.layers import batch_norm, head, pooling
from jaxreid.layers.memories import spatial_memory, temporal_memory
from jaxreid.models import output, resnet


class Stmn(nn.Module):
    """ResNet with up to three last stages, spatial memory, temporal memory, a neck and classifier per stream.

    Stream `spatial` is the mean of the refined frames, its logits the mean of the frames' logits. Stream `temporal` is
    their weighted sum; it is the result. Without temporal weights (`stmn.tm = 'off'`) the spatial stream is the result
    and the only one, and `streams` is empty. Query heads that nothing reads are not built.

    Extras, where the part that makes them is built: `spatial_match` [B, L, H, W, M] (with `query_layout='flat'` its
    places are rows, not positions); `refinement` [B, L, H, W], by how much the length of the feature changes;
    `temporal_match` [B, N]; `frame_weights` [B, L]; and always `feature_unrefined` [B, D], the mean of the frames as
    they were before the spatial memory.

    Attributes:
      frames: L, the length of every clip; the temporal memory holds one value per frame.
      num_ids: training identities.
      bn_groups, axis_name: see `batch_norm`.
      remat: recompute bottleneck activations in the backward pass.
      dtype: of the activations; parameters, statistics, matches and results are at least float32.
    """

    backbone: config.Backbone
    stmn: config.Stmn
    head: config.Head
    frames: int
    num_ids: int
    bn_groups: int = 1
    axis_name: str | None = None
    remat: bool = False
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, clips: jax.Array, *, train: bool) -> output.ModelOutput:
        """Runs on normalised clips [B, L, H, W, 3]; `train` takes and updates batch statistics.

        Raises:
          ValueError: the clips have another length and there are temporal weights.
        """
        b, l = clips.shape[:2]
        if self.stmn.tm != 'off' and l != self.frames:
            raise ValueError(
                f'clips of {l} frames, but the temporal weights are made for exactly {self.frames}; give clips of that '
                "length (config.sampler.frames, config.test.frames), or leave the weights out with stmn.tm='off'."
            )
        out_dtype = jnp.promote_types(self.dtype, jnp.float32)
        norm = functools.partial(
            batch_norm.BatchNorm, train=train, groups=self.bn_groups, axis_name=self.axis_name, dtype=self.dtype
        )
        pool = functools.partial(pooling.frames, kind=self.backbone.frame_pool)  # [B, L, H, W, D] -> [B, L, D]

        def stage(number, x, suffix='', final_relu=True):
            settings = {'remat': self.remat and train, 'dtype': self.dtype, 'final_relu': final_relu}
            return resnet.stage(self.backbone, number, norm, suffix=suffix, **settings)(x)[0]

        x = resnet.Stem(self.backbone.width, norm, dtype=self.dtype, relu=self.stmn.stem_relu, name='stem')(
            clips.astype(self.dtype)
        )
        for number in (1, 2, 3):
            x = stage(number, x)
        person = stage(4, x).astype(out_dtype)
        unrefined = pool(person)
        features = unrefined  # of the frames, [B, L, D]
        extras = {'feature_unrefined': unrefined.mean(1)}
        if self.stmn.sm:
            refined, extras['spatial_match'] = spatial_memory.SpatialMemory(
                self.stmn.spatial_items,
                norm,
                query_layout=self.stmn.query_layout,
                key_norm=self.stmn.key_norm,
                scale_start=self.stmn.scale_start,
                name='spatial_memory',
            )(stage(4, x, '_spatial', final_relu=False), person)
            features = pool(refined)
            # For figures only; the slope of the length of an all-zero position would be NaN.
            before, after = (jnp.linalg.norm(jax.lax.stop_gradient(f), axis=-1) for f in (person, refined))
            extras['refinement'] = after - before

        embedding, logits = head.Head(self.head.kind, self.num_ids, norm, name='head_spatial')(
            features.reshape(b * l, -1)
        )
        spatial = output.Stream(
            embedding=embedding.reshape(b, l, -1).mean(1),
            embedding_before_neck=features.mean(1),
            logits=logits.reshape(b, l, -1).mean(1),
        )
        match self.stmn.tm:
            case 'off':
                return _result(spatial, extras, {})
            case 'memory':
                weigh = temporal_memory.TemporalMemory(
                    self.stmn.temporal_items, key_norm=self.stmn.key_norm, dtype=self.dtype, name='temporal_memory'
                )
                weights, extras['temporal_match'] = weigh(pool(stage(4, x, '_temporal', final_relu=False)))
            case 'mlp':
                weigh = temporal_memory.TemporalMlp(self.stmn.mlp_hidden, dtype=self.dtype, name='temporal_mlp')
                weights = weigh(pool(stage(4, x, '_temporal', final_relu=False)))
            case other:
                raise config.unknown('stmn.tm', other)
        extras['frame_weights'] = weights
        clip = jnp.einsum('bl,bld->bd', weights, features, precision='highest')
        embedding, logits = head.Head(self.head.kind, self.num_ids, norm, name='head_temporal')(clip)
        temporal = output.Stream(embedding=embedding, embedding_before_neck=clip, logits=logits)
        return _result(temporal, extras, {'spatial': spatial, 'temporal': temporal})


def _result(stream, extras, streams):
    return output.ModelOutput(
        embedding=stream.embedding,
        embedding_before_neck=stream.embedding_before_neck,
        logits=stream.logits,
        extras=extras,
        streams=streams,
    )
