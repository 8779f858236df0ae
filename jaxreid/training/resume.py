"""Where training starts: at the newest checkpoint of its workdir, or at the first step."""

import pathlib
from collections.abc import Callable
from typing import NamedTuple

import jax
import optax
from flax import linen as nn

from jaxreid import config, sharding
from jaxreid.training import checkpoint, optimizer, step


class Start(NamedTuple):
    """State on the devices, the step it is of, and what it is for people."""

    state: step.TrainState
    step: int
    came_from: str


def start_or_resume(
    model: nn.Module,
    experiment: config.Experiment,
    adam: optax.GradientTransformation,
    newest: checkpoint.Checkpoints,
    meta: checkpoint.Meta,
    mesh: jax.sharding.Mesh,
    *,
    last_step: int,
    first_variables: Callable[[], tuple[dict, str]],
) -> Start:
    """The state of the newest checkpoint, or the first one.

    `model` is without an axis name; `meta` is what this run writes beside its checkpoints; `first_variables` makes the
    variables before the first step, and says what they are.

    Raises:
      checkpoint.CheckpointError: the workdir holds another run, one that is longer, or a damaged checkpoint.
    """
    at = newest.latest()
    if at is None:
        variables, came_from = first_variables()
        state = step.create_state(variables, adam, experiment.train.seed)
        return Start(sharding.copy_to_all(state, mesh), 0, came_from)
    workdir = newest.directory.parent
    saved = checkpoint.read_meta(newest.directory, at)
    checkpoint.check_same_run(saved, experiment, workdir)
    check_labels(saved, meta, workdir)
    if at > last_step:
        raise checkpoint.CheckpointError(
            f'{workdir} is trained to step {at} already, beyond the {last_step} steps asked for; '
            'evaluate it with --mode eval, or use another --workdir'
        )
    abstract = jax.eval_shape(
        lambda: step.create_state(
            step.init_variables(model, experiment, jax.random.key(0)), adam, experiment.train.seed
        )
    )
    placed = checkpoint.abstract_like(abstract, jax.sharding.NamedSharding(mesh, sharding.COPIED))
    came_from = f'checkpoint of step {at}'
    if (before := saved['config']['train']['epochs']) != (now := experiment.train.epochs):
        length = {'steps_per_epoch': meta['steps_per_epoch'], 'before': before, 'now': now, 'at': at}
        came_from += f'. It goes on to {optimizer.lengthened(experiment.optim, **length)}'
    return Start(checkpoint.restore(newest.directory, at, placed), at, came_from)


def check_labels(saved: checkpoint.Meta, now: checkpoint.Meta, workdir: pathlib.Path) -> None:
    """Refuses to continue on other identities than the run began with."""
    before, after = (
        {label: meta.get('pid_names', {}).get(pid, pid) for pid, label in meta['labels'].items()}
        for meta in (saved, now)
    )
    if before != after:
        raise checkpoint.CheckpointError(
            f'{workdir} was trained on {len(before)} identities, and not on these {len(after)}; '
            'check --config.data.root or use another --workdir'
        )
