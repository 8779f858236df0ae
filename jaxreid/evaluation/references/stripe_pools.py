"""Four ways to pool the last maps of one trained STA: what its attention gains without another training.

  python -m jaxreid.evaluation.references.stripe_pools runs/sta_synthetic

Each row pools the same maps, averages over positions, and is scored by the network's own protocol and distance. The
linear layer behind the maps is left out, since it was trained for one of the rows.
"""

import functools
import pathlib
import sys
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging

from jaxreid import config, sharding
from jaxreid.data import source
from jaxreid.data.batches import eval_pipeline
from jaxreid.evaluation import evaluate, feature_file, features, network
from jaxreid.layers import stripe_attention
from jaxreid.process import commands, exit_status
from jaxreid.training import augment

ROWS = ('mean of the frames', 'F2, weighted', 'F1, strongest stripes', 'F1 beside F2', 'first frame alone')


def pools(maps: jax.Array, attention: jax.Array, *, stripes: int) -> dict[str, jax.Array]:
    """ROWS -> [B, D or 2 D], from maps [B, T, H, W, D] and their attention [B, T, H, W]."""
    scores = stripe_attention.stripe_scores(attention, stripes=stripes)
    weighted, strongest = stripe_attention.weighted(maps, scores), stripe_attention.strongest(maps, scores)
    fused = maps.mean(1), weighted, strongest, jnp.concatenate([strongest, weighted], axis=-1), maps[:, 0]
    return {name: x.mean((1, 2)) for name, x in zip(ROWS, fused, strict=True)}


def compare(path: pathlib.Path) -> dict[str, tuple[float, float]]:
    """Row -> mAP and rank-1 in percent, of the network at `path`. Raises ConfigError: it is no STA."""
    loaded = network.Network.load(path)
    experiment, test = loaded.experiment, loaded.experiment.test
    if experiment.system != 'sta':
        raise config.ConfigError(f'{path} holds a network of system {experiment.system!r}; stripes are those of sta')
    dataset = source.read(experiment.data)

    def local_step(variables, inputs):
        clips = augment.normalise(inputs['clips'], loaded.model.dtype)
        extras = loaded.model.apply(variables, clips, train=False).extras
        return pools(extras['maps'], extras['attention'], stripes=experiment.sta.stripes)

    step = jax.jit(
        jax.shard_map(
            local_step, mesh=loaded.mesh, in_specs=(sharding.COPIED, sharding.SPLIT), out_specs=sharding.SPLIT
        )
    )
    count = functools.partial(eval_pipeline.count, clips=test.clips, frames=test.frames, batch_clips=test.batch_clips)
    with loaded.batches(dataset, source.store(experiment.data, dataset, split='test'), clips=test.clips) as batches:
        found = features.over_clips(
            step, loaded.folded, batches, len(dataset.test), mesh=loaded.mesh,
            total=count(dataset.test, multiple_of=loaded.mesh.size), label='pools',
        )  # fmt: skip
    meta: feature_file.Meta = {
        **loaded.making(), 'compute_dtype': str(loaded.model.dtype), 'frames_seen': 0, 'corrupt_frames_replaced': 0
    }  # fmt: skip
    scores = {}
    for name in ROWS:
        made = features.describe(dataset, found[name], found[name], meta)
        result = evaluate.score(made, experiment, selected='last step')[0]
        scores[name] = result['mAP'], result['cmc']['1']
    return scores


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m jaxreid.evaluation.references.stripe_pools CHECKPOINT`."""
    parser = commands.parser('pools', __doc__)
    parser.add_argument('checkpoint', type=pathlib.Path, metavar='CHECKPOINT', help='workdir or checkpoint of an STA')
    options = parser.parse_args(argv)
    logging.set_verbosity(logging.FATAL)  # Orbax logs errors that it raises too

    def act() -> None:
        print(f'{"last maps of one network":<26}{"mAP":>8}{"rank-1":>8}')
        for name, scores in compare(options.checkpoint).items():
            print(f'{name:<26}' + ''.join(f'{np.round(x, 1):>8}' for x in scores))

    return exit_status.run(act)


if __name__ == '__main__':
    sys.exit(main())
