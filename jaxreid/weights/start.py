"""Where a network's parameters begin: at random, from ImageNet, or from a network that was trained before."""

import pathlib
from typing import Any

from jaxreid import config
from jaxreid.models import star
from jaxreid.weights import imagenet, rendered, transfer


def check(backbone: config.Backbone) -> None:
    """Refuses a start whose files are missing, before anything is compiled.

    Raises:
      state_file.WeightsError: says what was looked for and what to do.
    """
    if backbone.init == 'imagenet':
        imagenet.find(backbone.weights)


def initialise(variables: Any, experiment: config.Experiment) -> tuple[Any, str]:
    """Gives freshly initialised variables the start that `backbone.init` asks for.

    Args:
      variables: {'params': ..., 'batch_stats': ...} of the experiment's network.
      experiment: its settings.

    Returns:
      Variables of the same structure, and what they are in words.

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
        case 'checkpoint':
            source = pathlib.Path(backbone.weights).expanduser()
            return transfer.start(variables, transfer.read(source, experiment), source=str(source))
        case 'rendered':
            source = rendered.folder(backbone)
            return transfer.start(variables, transfer.read(source, experiment), source=str(source))
    raise config.unknown('backbone.init', backbone.init)
