"""`--mode summary`: sizes and costs of a network, without opening a data set."""

import pathlib
from typing import TypedDict

import jax

from jaxreid import config
from jaxreid.models import build, cost
from jaxreid.process import atomic
from jaxreid.training import step


class Summary(TypedDict):
    """Sizes and costs of a network."""

    system: str
    num_ids: int
    trainable_parameters: int
    parameters_by_part: dict[str, int]
    gmacs_per_frame: float
    frames: int
    height: int
    width: int


def compute(experiment: config.Experiment) -> Summary:
    """Trainable parameters in all and by part, and dense multiply-accumulates of a frame at the config's size."""
    num_ids = experiment.data.num_ids
    model = build.build(experiment, num_ids=num_ids, dtype=step.compute_dtype(experiment.train.compute_dtype))
    variables = jax.eval_shape(lambda: step.init_variables(model, experiment, jax.random.key(0)))
    total, parts = cost.parameters(variables)
    gmacs = cost.gmacs_per_frame(
        model,
        variables,
        frames=experiment.sampler.frames,
        height=experiment.data.height,
        width=experiment.data.width,
        flow=experiment.data.flow != 'off',
    )
    return {
        'system': experiment.system,
        'num_ids': num_ids,
        'trainable_parameters': total,
        'parameters_by_part': parts,
        'gmacs_per_frame': gmacs,
        'frames': experiment.sampler.frames,
        'height': experiment.data.height,
        'width': experiment.data.width,
    }


def write(experiment: config.Experiment, workdir: pathlib.Path) -> None:
    """Prints the table and writes `<workdir>/summary.json`."""
    summary = compute(experiment)
    atomic.write_json(workdir / 'summary.json', summary)
    for part, number in summary['parameters_by_part'].items():
        print(f'{part:<28}{number:>14,}')
    print(f'{"trainable parameters":<28}{summary["trainable_parameters"]:>14,}  ({summary["num_ids"]} training ids)')
    print(
        f'{"GMACs per frame, forward":<28}{summary["gmacs_per_frame"]:>14.4f}  '
        f'({summary["frames"]} frames of {summary["height"]} x {summary["width"]})'
    )
    print(f'written to {workdir / "summary.json"}')
