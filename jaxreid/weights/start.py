"""Where a network's parameters begin: at random, from ImageNet or CLIP, or from one that was trained before."""

import pathlib
from typing import Any

import jax
from flax import linen as nn

from jaxreid import config
from jaxreid.models import star
from jaxreid.training import step
from jaxreid.weights import clip, imagenet, rendered, transfer


def first_variables(model: nn.Module, experiment: config.Experiment) -> tuple[Any, str]:
    """The network's variables before training, as `backbone.init` asks, and what they are in words.

    Raises:
      state_file.WeightsError: the weights are missing or do not fit; says what was looked for and what to do.
      checkpoint.CheckpointError: the checkpoint to start from is damaged.
    """
    if find := {'imagenet': imagenet.find, 'clip': clip.find}.get(experiment.backbone.init):
        find(experiment.backbone.weights)  # says what is missing before anything is compiled
    key = jax.random.fold_in(jax.random.key(experiment.train.seed), 0xF1A)
    return initialise(step.init_variables(model, experiment, key), experiment)


def initialise(variables: Any, experiment: config.Experiment) -> tuple[Any, str]:
    """Gives freshly initialised variables the start that `backbone.init` asks for, and says what that is.

    Raises:
      state_file.WeightsError: the weights are missing or do not fit.
      checkpoint.CheckpointError: the checkpoint to start from is damaged.
    """
    backbone = experiment.backbone
    if experiment.system == 'star':
        variables = star.flow_stem_from_rgb(variables)
    match backbone.init:
        case 'random':
            return variables, 'random initialisation'
        case 'imagenet':
            return imagenet.initialise(variables, backbone), 'imagenet initialisation'
        case 'clip':
            return clip.initialise(variables, experiment), "initialisation from CLIP's image tower"
        case 'checkpoint' | 'rendered':
            given = backbone.init == 'checkpoint'
            source = pathlib.Path(backbone.weights).expanduser() if given else rendered.folder(experiment)
            arrays, differs = transfer.read(source, experiment)
            tree, said = transfer.start(variables, arrays, source=str(source))
            return tree, said + differs * given
    raise config.unknown('backbone.init', backbone.init)
