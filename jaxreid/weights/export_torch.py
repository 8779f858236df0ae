"""Writes the network of a checkpoint as a PyTorch state dict, under the names of the authors' code where there is one.

  python -m jaxreid.weights.export_torch runs/stmn_mars stmn.safetensors

In PyTorch: `net.load_state_dict(safetensors.torch.load_file('stmn.safetensors'))`.
"""

import pathlib
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import safetensors.numpy
from absl import logging
from flax import traverse_util

from jaxreid import config
from jaxreid.evaluation import network as network_lib
from jaxreid.process import atomic, commands, exit_status
from jaxreid.weights import torch_names


def state_dict(variables: Any, experiment: config.Experiment, *, source: str | None = None) -> dict[str, np.ndarray]:
    """PyTorch names -> arrays in PyTorch's order of axes, of every variable; batch counters are 0.

    Names are those of `torch_names.published`, or our modules joined by dots where no published network has such a one.
    A network whose `source` was 'torchvision_resnet50' goes back under torchvision's names, without the neck that the
    import had added.
    """
    flat = {path: np.asarray(value) for path, value in traverse_util.flatten_dict(variables).items()}
    flat.pop(torch_names.CLIP_MEMORY, None)  # TF-CLIP's code makes it anew for every training, and saves none
    if source == 'torchvision_resnet50':
        flat = {path: value for path, value in flat.items() if 'neck' not in path}
        names = torch_names.torchvision(experiment.backbone.depths)
    else:
        names = {name: entry for name, entry in torch_names.published(experiment).items() if entry.path in flat}
    named = {entry.path for entry in names.values()}
    names |= dict(torch_names.by_rule(path, value.ndim) for path, value in flat.items() if path not in named)
    tensors = {name: torch_names.to_theirs(flat[entry.path], entry) for name, entry in names.items()}
    if experiment.system == 'sinet':
        before_norms = [name for name in tensors if torch_names.BEFORE_NORM.search(name)]
        tensors |= {
            f'{name.removesuffix("weight")}bias': np.zeros(len(tensors[name]), tensors[name].dtype)
            for name in before_norms
        }
    counters = [name.removesuffix('running_var') for name in tensors if name.endswith('running_var')]
    return tensors | {f'{module}{torch_names.COUNTER}': np.zeros((), np.int64) for module in counters}


def convert(path: pathlib.Path, out: pathlib.Path) -> dict[str, np.ndarray]:
    """Writes the state dict of a checkpoint; `path` may be a workdir, a folder of checkpoints, or one checkpoint.

    Raises:
      checkpoint.CheckpointError: there is no readable checkpoint.
      ValueError: `out` is no .safetensors name.
    """
    if out.suffix != '.safetensors':
        raise ValueError(f'{out}: the state dict is written as .safetensors; choose a name that ends so.')
    network = network_lib.Network.load(path)
    imported = network.meta.get('imported', {}).get('source')
    tensors = state_dict(network.variables, network.experiment, source=imported)
    atomic.write(out, safetensors.numpy.save(tensors))
    return tensors


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m jaxreid.weights.export_torch CHECKPOINT OUT.safetensors`."""
    parser = commands.parser('export-torch', __doc__)
    parser.add_argument('checkpoint', type=pathlib.Path, metavar='CHECKPOINT', help='workdir or checkpoint')
    parser.add_argument('output', type=pathlib.Path, metavar='OUT.safetensors')
    arguments = parser.parse_args(argv)
    logging.set_verbosity(logging.FATAL)  # Orbax logs errors that it raises too

    def act() -> None:
        tensors = convert(arguments.checkpoint, arguments.output)
        print(f'{arguments.checkpoint} -> {arguments.output}: {len(tensors)} entries')

    return exit_status.run(act)


if __name__ == '__main__':
    sys.exit(main())
