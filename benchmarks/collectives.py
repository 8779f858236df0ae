"""What a training step sends between simulated devices of this machine: every collective operation and its bytes."""

import collections
import dataclasses

import jax

from jaxreid import config, sharding
from jaxreid.plan import hlo, program


@dataclasses.dataclass(frozen=True)
class Collectives:
    """count, bytes: by kind; bytes are those of the results on one device."""

    count: dict[str, int]
    bytes: dict[str, float]


def read(text: str) -> Collectives:
    """Collectives of a compiled program (`compiled.as_text()`); one inside a loop counts once."""
    count: collections.Counter = collections.Counter()
    total: collections.Counter = collections.Counter()
    for one in hlo.Program(text).collectives:
        count[one.op] += 1
        total[one.op] += one.bytes
    return Collectives(dict(count), dict(total))


def of_train_step(experiment: config.Experiment, devices: int) -> tuple[Collectives, int]:
    """Those of a training step, compiled for so many devices of this machine but not run; the gradient's bytes."""
    step, arguments = program.step_on(experiment, sharding.make_mesh(jax.devices()[:devices]), 'train')
    gradient = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(arguments[0].params))
    return read(step.lower(*arguments).compile().as_text()), gradient
