"""What a checkpoint's network sees in chosen tracklets: the extras of `ModelOutput`, fetched to the host."""

import concurrent.futures
import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxreid import config
from jaxreid.data.batches import clip_sampling
from jaxreid.data.stores import frame_store
from jaxreid.evaluation import network as network_lib
from jaxreid.models import output
from jaxreid.process import progress
from jaxreid.training import augment

BATCH = 8  # clips at a time


def clip(num_frames: int, experiment: config.Experiment) -> np.ndarray:
    """[T], the frames that stand for a tracklet: the first of each of T equal parts, T that of training."""
    return clip_sampling.rrs_first(num_frames, frames=experiment.sampler.frames)


def run(
    network: network_lib.Network,
    store: frame_store.Store,
    rows: Sequence[int],
    frames: Sequence[np.ndarray],
    reduce: Callable[[output.ModelOutput], dict[str, jax.Array]],
    *,
    label: str,
) -> dict[str, np.ndarray]:
    """Runs clips through the network and keeps what `reduce` takes of the output.

    Args:
      network: a restored network.
      store: answers the rows.
      rows: tracklets, one per clip.
      frames: [T] positions each.
      reduce: output of B clips -> arrays [B, ...] by name; part of the compiled program.
      label: what the progress bar says.

    Returns:
      The arrays [clips, ...] by name, on the host; none for no clips.

    Raises:
      ValueError: something is not finite.
    """
    with_flow = network.experiment.data.flow != 'off'
    # A few clips: no need for half precision.
    model = network.model.clone(dtype=jnp.promote_types(network.model.dtype, jnp.float32))
    apply = _program(model, reduce)

    def read(start):
        chosen = [*range(start, min(start + BATCH, len(rows)))]
        padded = chosen + chosen[:1] * (BATCH - len(chosen))  # one shape: one compilation
        clips = np.stack([store.read(rows[i], frames[i]) for i in padded])
        flow = np.stack([store.read_flow(rows[i], frames[i]) for i in padded]) if with_flow else None
        return len(chosen), clips, flow

    parts: dict[str, list[np.ndarray]] = {}
    starts = range(0, len(rows), BATCH)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:  # the next batch is read while the network works
        ahead = pool.submit(read, 0) if len(rows) else None
        for start in progress.compiling_first(starts, total=len(starts), label=label):
            assert ahead is not None
            real, clips, flow = ahead.result()
            ahead = pool.submit(read, start + BATCH) if start + BATCH < len(rows) else None
            for name, values in jax.device_get(apply(network.variables, clips, flow)).items():
                parts.setdefault(name, []).append(np.asarray(values[:real], np.float32))
    joined = {name: np.concatenate(values) for name, values in parts.items()}
    for name, values in joined.items():
        if not np.isfinite(values).all():
            raise ValueError(
                f'the network of {network.path} gives NaN or infinity as {name}, as one whose training diverged does; '
                'choose another checkpoint'
            )
    return joined


@functools.lru_cache(maxsize=8)
def _program(model, reduce):
    """Compiled once per network and question, however often it is asked."""

    def apply(variables, clips, flow):
        motion = {} if flow is None else {'flow': augment.normalise_flow(flow, model.dtype)}
        return reduce(model.apply(variables, augment.normalise(clips, model.dtype), **motion, train=False))

    return jax.jit(apply)


def extras(outputs: output.ModelOutput, *, names: Sequence[str]) -> dict[str, jax.Array]:
    """Those of the named extras that the network gives."""
    return {name: outputs.extras[name] for name in names if name in outputs.extras}


def survey(outputs: output.ModelOutput) -> dict[str, jax.Array]:
    """What figures over a whole data set need of every clip of a network with memories.

    `unrefined`, `refined` [B, D]: mean of the frames before and after the spatial memory. `strongest` [B, L, M]: the
    highest probability of any place of a frame. `temporal_match` [B, N]. What the network lacks is missing.
    """
    kept = extras(outputs, names=('temporal_match',))
    if 'spatial_match' in outputs.extras:
        spatial = outputs.streams.get('spatial', outputs)
        kept['unrefined'] = outputs.extras['feature_unrefined']
        kept['refined'] = spatial.embedding_before_neck
        kept['strongest'] = outputs.extras['spatial_match'].max((2, 3))
    return kept


MAPS = functools.partial(
    extras,
    names=('attention', 'stripe_scores', 'frame_weights', 'spatial_match', 'refinement', 'temporal_match'),
)
