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
from jaxreid.layers import pooling
from jaxreid.layers.memories import spatial_memory, temporal_memory
from jaxreid.models import output, system


class Stmn(system.System, kw_only=True):  # type: ignore[call-arg]
    """ResNet with up to three last stages, spatial memory, temporal memory, a neck and classifier per stream.

    Stream `spatial` is the mean of the refined frames, its logits the mean of the frames' logits. Stream `temporal` is
    their weighted sum; it is the result. Without temporal weights (`stmn.tm = 'off'`) the spatial stream is the result
    and the only one, and `streams` is empty. Query heads that nothing reads are not built.

    Extras, where the part that makes them is built: `spatial_match` [B, L, H, W, M] (with `query_layout='flat'` its
    places are rows, not positions); `refinement` [B, L, H, W], by how much the length of the feature changes;
    `temporal_match` [B, N]; `frame_weights` [B, L]; and always `feature_unrefined` [B, D], the mean of the frames as
    they were before the spatial memory.
    """

    stmn: config.Stmn
    frames: int  # L, the length of every clip; the temporal memory holds one value per frame

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
        norm = self.norm(train)
        pool = functools.partial(pooling.frames, kind=self.backbone.frame_pool)  # [B, L, H, W, D] -> [B, L, D]

        x = self.stem(clips, norm, relu=self.stmn.stem_relu)
        for number in (1, 2, 3):
            x, _ = self.stage(number, norm)(x)
        person = self.stage(4, norm)(x)[0].astype(self.out_dtype)

        def last_stage(suffix):  # without its ReLU
            return self.stage(4, norm, suffix=suffix, final_relu=False)(x)[0]

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
            )(last_stage('_spatial'), person)
            features = pool(refined)
            # For figures only; the slope of the length of an all-zero position would be NaN.
            before, after = (jnp.linalg.norm(jax.lax.stop_gradient(f), axis=-1) for f in (person, refined))
            extras['refinement'] = after - before

        frames = self.classify(features.reshape(b * l, -1), norm, name='head_spatial')
        spatial = jax.tree.map(lambda of_frames: of_frames.reshape(b, l, -1).mean(1), frames)
        match self.stmn.tm:
            case 'off':
                return spatial.as_output(extras)
            case 'memory':
                weigh = temporal_memory.TemporalMemory(
                    self.stmn.temporal_items, key_norm=self.stmn.key_norm, dtype=self.dtype, name='temporal_memory'
                )
                weights, extras['temporal_match'] = weigh(pool(last_stage('_temporal')))
            case 'mlp':
                weigh = temporal_memory.TemporalMlp(self.stmn.mlp_hidden, dtype=self.dtype, name='temporal_mlp')
                weights = weigh(pool(last_stage('_temporal')))
            case other:
                raise config.unknown('stmn.tm', other)
        extras['frame_weights'] = weights
        clip = jnp.einsum('bl,bld->bd', weights, features, precision='highest')
        temporal = self.classify(clip, norm, name='head_temporal')
        return temporal.as_output(extras, {'spatial': spatial, 'temporal': temporal})
