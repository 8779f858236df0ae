"""STAR: spatio-temporal attention on RGB and optical flow (BMVC 2019; docs/star.md)."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxreid import config
from jaxreid.layers import frame_attention, temporal_aggregation
from jaxreid.models import output, system


class Star(system.System, kw_only=True):  # type: ignore[call-arg]
    """Two stems whose pooled outputs are summed, four stages with frame attention, aggregation over time, classifier.

    Extras:
      attention: [B, T, H, W], the weights of the positions in the last stage (of its last bottleneck where every one
        has attention); the mean square of the channels where nothing weighs positions there.
      frame_weights: [B, T], sum 1; without the aggregators that have none ('conv3d', 'pool').
      stripes: by level G as a string, [B, T, G, C], the means of G horizontal stripes of the last maps; none without
        the pyramid regulariser.
      The last two are 0 at frames that are not real.
    """

    star: config.Star

    @nn.compact
    def __call__(
        self,
        clips: jax.Array,
        flow: jax.Array | None = None,
        *,
        train: bool,
        lengths: jax.Array | None = None,
        chunk: int = 0,
    ) -> output.ModelOutput:
        """Runs on clips and their flow; `train` takes and updates batch statistics.

        Args:
          clips: [B, T, H, W, 3], normalised. Gives only the shape where `star.streams` lacks 'rgb'.
          flow: [B, T, H, W, 2], (u, v) in units of 20 px; needed where `star.streams` holds 'flow', unused elsewhere.
          train: must be false with the next two.
          lengths: [B] int, the real frames of each clip, the first ones; a length below 1 counts as 1. The result is
            that of the clip cut to them. None: all frames.
          chunk: frames of every clip that pass the convolutions at a time, to bound memory on whole tracklets; 0: all.

        Raises:
          ValueError: flow that is missing, `lengths` or `chunk` in training, stripes that do not divide the rows, or a
            name in the settings that does not exist.
        """
        if train and (lengths is not None or chunk):
            raise ValueError('lengths and chunk are for whole tracklets at test time; call with train=False.')
        inputs = {}
        if 'rgb' in self.star.streams:
            inputs['stem'] = clips
        if 'flow' in self.star.streams:
            if flow is None:
                raise ValueError(
                    f"star.streams = {self.star.streams} holds 'flow', but none was given; pass [B, T, H, W, 2], zeros "
                    'where there is none (data.flow = zeros).'
                )
            inputs['flow_stem'] = _with_magnitude(flow) if self.star.flow_channels == 3 else flow

        norm = self.norm(train)
        frames = clips.shape[1]
        if chunk and not self.is_initializing():
            maps, attention = self._in_pieces(inputs, norm, chunk)
        else:
            maps, attention = self._per_frame(inputs, norm)
        real = None if lengths is None else jnp.arange(frames)[None, :] < jnp.clip(lengths, 1, frames)[:, None]

        feature, weights = self._aggregator(norm)(maps, real)
        levels = self.star.pyramid_levels if self.star.pyramid_weight else ()
        extras: dict[str, Any] = {
            'attention': attention,
            'stripes': {str(g): temporal_aggregation.only_real(stripe_means(maps, g), real) for g in levels},
        }
        if weights is not None:
            extras['frame_weights'] = weights
        return self.classify(feature, norm).as_output(extras)

    def _per_frame(self, inputs, norm):
        """What treats every frame by itself: inputs by stem [B, T, ...] -> maps [B, T, H, W, C], extras' attention."""
        x = functools.reduce(jnp.add, [self.stem(x, norm, name=name) for name, x in inputs.items()])
        attend = self._attention(norm)
        for stage in (1, 2, 3, 4):
            attends = attend is not None and stage in self.star.attention_stages
            attention = attend if attends and self.star.attention_place == 'block' else None
            x, weights = self.stage(stage, norm, attention=attention)(x)
            seen = weights.get(f'block{self.backbone.depths[stage - 1] - 1}')
            if attends and self.star.attention_place == 'stage':
                x, seen = attend(name=f'attention{stage}')(x)
        if seen is None:
            seen = jnp.square(x.astype(self.out_dtype)).mean(-1)
        return x, seen

    def _in_pieces(self, inputs, norm, chunk):
        """`_per_frame` on `chunk` frames after the other; equal to it, as no batch statistics are taken."""
        frames = next(iter(inputs.values())).shape[1]
        pieces = -(-frames // chunk)

        def cut(x):  # [B, T, ...] -> [pieces, B, chunk, ...], black frames behind the last
            x = jnp.pad(x, [(0, 0), (0, pieces * chunk - frames)] + [(0, 0)] * (x.ndim - 2))
            return jnp.moveaxis(x.reshape(x.shape[0], pieces, chunk, *x.shape[2:]), 1, 0)

        def join(x):
            x = jnp.moveaxis(x, 0, 1)
            return x.reshape(x.shape[0], pieces * chunk, *x.shape[3:])[:, :frames]

        # Flax's loop over modules; lax.map cannot hold them.
        loop = nn.scan(
            lambda module, carry, piece: (carry, module._per_frame(piece, norm)),
            variable_broadcast=('params', 'batch_stats'),
            split_rngs={'params': False},
        )
        _, results = loop(self, (), jax.tree.map(cut, inputs))
        return jax.tree.map(join, results)

    def _attention(self, norm):
        s = self.star
        match s.attention:
            case 'lsta':
                kind = functools.partial(frame_attention.Lsta, spatial=s.lsta_spatial, shared=s.lsta_shared)
            case 'cbam':
                kind = functools.partial(frame_attention.Cbam, norm=norm)
            case 'se':
                kind = functools.partial(frame_attention.SqueezeExcite)
            case 'holistic':
                kind = functools.partial(frame_attention.Holistic)
            case 'off':
                return None
            case _:
                raise config.unknown('star.attention', s.attention)
        return functools.partial(kind, reduction=s.attention_reduction, gates=s.gates)

    def _aggregator(self, norm):
        hidden, name = self.star.hidden, 'aggregator'
        match self.star.aggregator:
            case 'gsta':
                return temporal_aggregation.Gsta(hidden, dtype=self.dtype, name=name)
            case 'lstm':
                return temporal_aggregation.LstmKernel(hidden, dtype=self.dtype, name=name)
            case 'conv3d':
                return temporal_aggregation.Conv3d(hidden, norm, dtype=self.dtype, name=name)
            case 'holistic':
                return temporal_aggregation.Holistic(name=name)
            case 'pool':
                return temporal_aggregation.Pool(name=name)
        raise config.unknown('star.aggregator', self.star.aggregator)


def stripe_means(maps: jax.Array, stripes: int) -> jax.Array:
    """Means of equal horizontal stripes, from the top: [B, T, H, W, C] -> [B, T, stripes, C], at least float32."""
    b, t, h, w, c = maps.shape
    if h % stripes:
        raise ValueError(f'star.pyramid_levels holds {stripes}, which does not divide the {h} rows of the last maps.')
    maps = maps.astype(jnp.promote_types(maps.dtype, jnp.float32))
    return maps.reshape(b, t, stripes, h // stripes, w, c).mean((3, 4))


def flow_stem_from_rgb(variables: output.Variables) -> output.Variables:
    """The variables with the first kernel of the flow stem set to the mean of the RGB stem's over its inputs.

    The mean [7, 7, 1, width] is repeated over the flow's channels. For a start, random or from ImageNet; without one of
    the stems the variables come back as they are.
    """
    params = variables['params']
    if 'stem' not in params or 'flow_stem' not in params:
        return variables
    kernel = params['flow_stem']['conv1']['kernel']
    mean = params['stem']['conv1']['kernel'].mean(2, keepdims=True)
    flow_stem = params['flow_stem'] | {'conv1': {'kernel': jnp.broadcast_to(mean, kernel.shape).astype(kernel.dtype)}}
    return variables | {'params': params | {'flow_stem': flow_stem}}


def _with_magnitude(flow):
    squared = jnp.square(flow.astype(jnp.promote_types(flow.dtype, jnp.float32))).sum(-1, keepdims=True)
    return jnp.concatenate([flow, jnp.sqrt(squared).astype(flow.dtype)], axis=-1)
