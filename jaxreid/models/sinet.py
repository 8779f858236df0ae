"""SINet (CVPR 2022): C2D whose stages 2 and 3 hold modules that join the frames of a clip (docs/sinet.md)."""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxreid import config
from jaxreid.layers import head, pooling, spatial_conv
from jaxreid.layers.sinet import integration_distribution, salient_to_broad
from jaxreid.models import output, system


class Sinet(system.System, kw_only=True):  # type: ignore[call-arg]
    """ResNet with IDMs in stage 2 and SBMs in stage 3, pooling over each frame and then over time, neck, classifier.

    Extras: `attention` [B, T, H, W], the energy of the map behind stage 3; and, where training contrasts frames,
    `projected` [B, T, D]: the frames' features behind the neck, which sees them after the clips', and a projection.
    """

    sinet: config.Sinet

    @nn.compact
    def __call__(self, clips: jax.Array, *, train: bool) -> output.ModelOutput:
        """Runs on normalised clips [B, T, H, W, 3]; `train` takes and updates batch statistics.

        Raises:
          ValueError: the clips have another length or size than the modules are made for.
        """
        b, t = clips.shape[:2]
        s, norm = self.sinet, self.norm(train)
        idm = functools.partial(integration_distribution.IntegrationDistribution, norm, s.reduction, dtype=self.dtype)
        sbm = functools.partial(salient_to_broad.SalientToBroad, norm, beta=s.beta, alpha=s.alpha, dtype=self.dtype)
        x, _ = self.stage(1, norm)(self.stem(clips, norm, padding=int(s.stem_padding)))
        x, _ = self.stage(2, norm, after={i: functools.partial(idm, name=f'idm{i}') for i in s.idm})(x)
        after = {i: functools.partial(sbm, salient=n, name=f'sbm{i}') for n, i in enumerate(s.sbm, start=1)}
        x, _ = self.stage(3, norm, after=after)(x)
        extras = {'attention': jnp.square(x.astype(self.out_dtype)).mean(-1)}
        x, _ = self.stage(4, norm)(x)
        frames = pooling.frames(x.astype(self.out_dtype), kind=self.backbone.frame_pool)  # [B, T, D]

        feature = frames.mean(1)
        neck = head.Head(self.head.kind, self.num_ids, norm, name='head')
        embedding, logits = neck(feature)
        if s.contrast_weight and (train or self.is_initializing()):
            # As in the released code the neck's running moments follow the clips and then the frames.
            behind, _ = neck(frames.reshape(b * t, -1))
            project = nn.Dense(
                behind.shape[-1],
                dtype=self.out_dtype,
                param_dtype=self.out_dtype,
                kernel_init=spatial_conv.HE_FAN_OUT,
                name='projection',
            )
            extras['projected'] = project(behind).reshape(b, t, -1)
        return output.Stream(embedding=embedding, embedding_before_neck=feature, logits=logits).as_output(extras)
