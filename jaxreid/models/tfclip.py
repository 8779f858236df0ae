"""TF-CLIP: CLIP's image tower, taught by a memory of the training identities (AAAI 2024; docs/tfclip.md)."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxreid import config, sharding
from jaxreid.layers.transformer import ssp, tmd
from jaxreid.models import output, system, vit


class Tfclip(system.System, kw_only=True):  # type: ignore[call-arg]
    """Means over the frames of class token and projection, and TMD's feature, each with neck and classifier.

    The feature is the three side by side, before their necks, in `embedding` and in `embedding_before_neck`; the
    streams `token`, `projected` and `tmd` are supervised.

    Extras: `attention` [B, T, H, W], the mean square of the patches' tokens. In training also, where the settings have
    them, `memory_logits` [B, num_ids], how the projection resembles the memory of each identity, and `frame_logits`
    [B * T, num_ids] of TMD's frames.

    The memory lies in `batch_stats`: no step changes it. It is 0 until `jaxreid.clip_memory` has made it. What is
    called unused there is what the released code saves and never reads, so that its state dicts return as they were.
    """

    tfclip: config.Tfclip
    vit: config.Vit
    size: tuple[int, int]  # height and width of the frames that the positions are for

    @nn.compact
    def __call__(self, clips: jax.Array, *, train: bool, cameras: jax.Array | None = None) -> output.ModelOutput:
        """Runs on normalised clips; `train` takes and updates batch statistics, and draws dropout from 'dropout'.

        Args:
          clips: [B, T, H, W, 3].
          cameras: [B] int, the data set's numbers, from 1; None: no camera is known, and nothing stands for it.
          train: see above.
        """
        b, t = clips.shape[:2]
        norm, wide = self.norm(train), self.out_dtype
        beside = self._cameras(cameras, frames=t)
        tower = vit.Vit(self.vit, self.size, remat=self.remat and train, dtype=self.dtype, name='visual')
        tokens, projected = tower(clips.reshape(b * t, *clips.shape[2:]), beside, clip_frames=t)
        tokens, projected = (x.reshape(b, t, *x.shape[1:]) for x in (tokens, projected))  # [B, T, 1 + N, ...]
        grid = vit.patch_grid(clips.shape[2:4], self.vit.patch)
        fired = jnp.square(tokens[:, :, 1:].astype(wide)).mean(-1)
        extras = {'attention': fired.reshape(b, t, *grid)}

        features = {name: x[:, :, 0].astype(wide).mean(1) for name, x in (('token', tokens), ('projected', projected))}
        streams = {name: self.classify(x, norm, name=f'head_{name}') for name, x in features.items()}
        if self.tfclip.tmd:
            diffused = tmd.Tmd(self.vit.heads, dtype=self.dtype, name='tmd')(jax.lax.stop_gradient(tokens))
            frames = diffused.astype(wide)
            streams['tmd'], extras['frame_logits'] = self._tmd_heads(frames, norm)
        if self.tfclip.memory and (train or self.is_initializing()):
            extras['memory_logits'] = self._resembles(features['projected'], projected)
        feature = jnp.concatenate([one.embedding_before_neck for one in streams.values()], axis=1)
        return output.ModelOutput(feature, feature, streams['token'].logits, extras, streams)

    def _cameras(self, cameras, *, frames):
        """[B * T, width] to add to the class tokens, or None."""
        if not self.tfclip.cameras:
            return None
        start = nn.initializers.truncated_normal(0.02)
        table = self.param('cameras', start, (self.tfclip.cameras, self.vit.width), self.out_dtype)
        if cameras is None:
            return None
        return jnp.repeat(table[(cameras - 1) % self.tfclip.cameras], frames, axis=0)

    def _tmd_heads(self, frames, norm):
        """Of features [B, T, D]: the stream of the clips, and the frames' logits [B * T, num_ids]; one classifier."""
        b, t, d = frames.shape
        clip = frames.mean(1)
        classifier = self.param('classifier_tmd', nn.initializers.normal(0.001), (d, self.num_ids), frames.dtype)
        self.variable('batch_stats', 'unused_classifier', jnp.zeros, (d, self.num_ids), frames.dtype)

        def necked(x, name):
            return norm(dtype=x.dtype, name=name, frozen_bias=True)(x)

        embedding = necked(clip, 'neck_tmd')
        stream = output.Stream(embedding=embedding, embedding_before_neck=clip, logits=embedding @ classifier)
        return stream, necked(frames.reshape(b * t, d), 'neck_tmd_frames') @ classifier

    def _resembles(self, feature, projected):
        """Products of features [B, P] and the memory, which the clips' tokens [B, T, 1 + N, P] change by SSP."""
        memory = self.variable('batch_stats', 'memory', jnp.zeros, (self.num_ids, self.vit.projection), self.out_dtype)
        if not self.tfclip.ssp:
            return feature @ memory.value.T
        for name in ('alpha', 'norm_scale', 'norm_bias'):
            self.variable('batch_stats', f'unused_{name}', jnp.zeros, (self.vit.projection,), self.out_dtype)
        keys = None
        if self.tfclip.dropout and not self.is_initializing():
            numbers = sharding.row_numbers(len(feature), self.axis_name)
            keys = jax.vmap(jax.random.fold_in, (None, 0))(self.make_rng('dropout'), numbers)
        added = ssp.Ssp(self.tfclip.dropout, dtype=self.dtype, name='ssp')(memory.value, projected.mean(1), keys)
        return jnp.einsum('bp,bkp->bk', feature, memory.value[None] + added.astype(self.out_dtype))
