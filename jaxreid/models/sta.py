"""STA: frames fused stripe by stripe, by attention that has no parameters (STA, AAAI 2019; docs/sta.md)."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxreid import config
from jaxreid.layers import pooling, stripe_attention
from jaxreid.models import output, system


class Sta(system.System, kw_only=True):  # type: ignore[call-arg]
    """C2D, one feature map for the clip, pooling, a linear embedding `fc` with bias, classifier.

    The clip's map by `sta.mode`: 'fusion' the strongest stripes beside the weighted ones, twice the channels
    (Algorithm 1); 'sta' the weighted ones; 'avg' the mean of the frames' maps. With 'image' every frame is a sample:
    training supervises the stream `frames`, and embedding and logits of a clip are the mean of its frames'.

    Any number of frames runs with the same variables. Extras: `maps` [B, T, H, W, D], what is fused; `attention` [B, T,
    H, W], g of eq. 1; with 'sta' and 'fusion' also `stripe_scores` [B, T, K], S of eq. 4.
    """

    sta: config.Sta

    @nn.compact
    def __call__(self, clips: jax.Array, *, train: bool) -> output.ModelOutput:
        """Runs on normalised clips [B, T, H, W, 3]; `train` takes and updates batch statistics."""
        norm = self.norm(train)
        x = self.stem(clips, norm)
        for number in (1, 2, 3, 4):
            x, _ = self.stage(number, norm)(x)
        x = x.astype(self.out_dtype)  # [B, T, H, W, D]
        maps, extras = self._fuse(x)
        rows = pooling.frames(maps, kind=self.backbone.frame_pool)  # [B, 1, D'], in image mode [B, T, D]
        frames = self.classify(self._embed(rows.reshape(-1, rows.shape[-1]), norm), norm)
        if self.sta.mode != 'image':
            return frames.as_output(extras)
        clip = jax.tree.map(lambda rows: rows.reshape(*x.shape[:2], -1).mean(1), frames)  # [B * T, C] -> [B, C]
        return clip.as_output(extras, {'frames': frames})

    def _fuse(self, x):
        """Maps to pool, [B, 1, H, W, D'] or, in image mode, [B, T, H, W, D], and what is worth seeing."""
        attention = stripe_attention.attention_map(x, kind=self.sta.attn_map)
        extras = {'attention': attention, 'maps': x}
        match self.sta.mode:
            case 'image':
                return x, extras
            case 'avg':
                return x.mean(1, keepdims=True), extras
            case 'sta' | 'fusion':
                scores = stripe_attention.stripe_scores(attention, stripes=self.sta.stripes)
                fused = stripe_attention.weighted(x, scores)
                if self.sta.mode == 'fusion':
                    fused = jnp.concatenate([stripe_attention.strongest(x, scores), fused], axis=-1)
                return fused[:, None], extras | {'stripe_scores': scores}
        raise config.unknown('sta.mode', self.sta.mode)

    def _embed(self, rows, norm):  # eq. 8: [R, D'] -> [R, dim]
        x = nn.Dense(self.sta.dim, dtype=rows.dtype, param_dtype=rows.dtype, name='fc')(rows)
        if self.sta.embed_bn:
            x = norm(dtype=rows.dtype, name='embed_bn')(x)
        return nn.relu(x) if self.sta.embed_relu else x
