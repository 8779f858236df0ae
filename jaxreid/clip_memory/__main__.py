"""Makes the CLIP memory that a training of TF-CLIP starts with, ahead of it, and says where it is.

  python -m jaxreid.clip_memory --config configs/tfclip_mars.py --config.data.root=/path/to/MARS

Training makes it where it is missing. What is there already is not made again, so that a stopped command goes on.
"""

import re
import sys
from collections.abc import Sequence

import numpy as np

from jaxreid import command_line, config, sharding
from jaxreid.clip_memory import identity_memory
from jaxreid.data import source
from jaxreid.process import commands
from jaxreid.weights import start


def make(experiment: config.Experiment) -> np.ndarray:
    """The memory [num_ids, P] of an experiment.

    Raises:
      ConfigError: its network is taught by none.
    """
    if not identity_memory.wanted(experiment):
        raise config.ConfigError('this network has no CLIP memory; take a config of TF-CLIP with tfclip.memory=true')
    dataset = source.read(experiment.data)
    variables, _ = start.first_variables(identity_memory.network_of(experiment, dataset), experiment)
    return identity_memory.of(variables, experiment, dataset, sharding.make_mesh())


def parse(argv: Sequence[str]) -> config.Experiment:
    """The settings that the command line names."""
    parser = commands.parser('clip-memory', __doc__)
    parser.add_argument('--config', required=True, metavar='NAME', help='config of TF-CLIP')
    parser.epilog = 'Settings are changed with --config.section.field=value, as of jaxreid.main.'
    options, rest = parser.parse_known_args(argv)
    if unknown := [argument for argument in rest if not re.match(r'--config\.[\w.]+=', argument)]:
        parser.error(f'unexpected argument {unknown[0]!r}; settings are written --config.section.field=value')
    return command_line.read_config(options.config, rest)


def run(argv: Sequence[str]) -> int:
    """Parses, computes, says what there is; expected errors become one message and an exit status."""

    def act() -> int:
        memory = make(parse(argv))
        print(f'the CLIP memory of {len(memory)} identities is there, {memory.shape[1]} numbers each')
        return 0

    return command_line.run(act)


if __name__ == '__main__':
    sys.exit(run(sys.argv[1:]))
