"""Says before a slice is paid for whether a system fits on it, what limits it, and how fast it can be at best.

  python -m jaxreid.plan --config configs/strf_mars.py --target v5e:4x4 h200:8 --config.sampler.num_ids=16

Compiles the real step with the compilers of these accelerators, of which none is needed: v5e:4x4, v5p:2x2x4, v6e:4x4,
a100:8, h100:8, h200:8 and other sizes of these kinds. `--quick` takes one bottleneck per stage: minutes become seconds,
and the numbers are of that smaller network. TPUs need the extra [tpu], GPUs the extra [cuda].
"""

import argparse
import os
import pathlib
import sys
from typing import NamedTuple

from jaxreid import command_line, config
from jaxreid.plan import outcome, program, targets
from jaxreid.process import atomic, commands

_GIB = 2**30


class Asked(NamedTuple):
    """What the arguments ask for; `description` of a GPU, '' for ours."""

    options: argparse.Namespace
    settings: list[str]
    experiment: config.Experiment
    targets: list[targets.Target]
    description: str


def parse(argv: list[str]) -> Asked:
    """Arguments, checked. Raises ConfigError, OSError: a target, config or file that cannot be."""
    parser = commands.parser('plan', __doc__)
    add = parser.add_argument
    add('--config', default=command_line.DEFAULT_CONFIG, metavar='NAME[:VARIANT]', help='as of training (%(default)s)')
    add('--target', nargs='+', required=True, metavar='KIND:SIZE', help='v5e:4x4 ... h200:8, one or several')
    add('--mode', choices=('train', 'eval'), default='train', help='the step of training or of evaluation (train)')
    add('--quick', action='store_true', help='one bottleneck per stage, one compile')
    add('--once', action='store_true', help='one compile: the largest batch is not looked for')
    add('--target-config', type=pathlib.Path, metavar='FILE', help="a GPU's own description, a text proto")
    add('--json', type=pathlib.Path, metavar='OUT', help='all of it, for programs')
    options, settings = parser.parse_known_args(argv)
    wanted = [targets.parse(name) for name in options.target]
    if options.target_config and any(target.chip.platform != 'cuda' for target in wanted):
        raise config.ConfigError('--target-config describes a GPU, and not all targets are GPUs')
    description = options.target_config.read_text() if options.target_config else ''
    return Asked(options, settings, command_line.read_config(options.config, settings), wanted, description)


def main() -> int:
    """Compiles for each target in a process of its own, and prints what it found."""
    options, settings, experiment, wanted, description = parse(sys.argv[1:])
    os.environ.update(targets.ENVIRONMENT)
    rows: list[dict] = []
    failed = False
    for target in wanted:
        try:
            check(experiment, target, options.mode)
            found = outcome.in_child(experiment, target, options.mode, options.quick, not options.once, description)
        except (ValueError, ImportError) as e:
            print(f'jaxreid: {target.name}: {e}', file=sys.stderr)
            failed = True
            continue
        print(text(found, experiment, target), flush=True)
        rows.append({'config': options.config, 'settings': settings} | outcome.as_json(found))
        if options.json:
            atomic.write_json(options.json, {'versions': targets.versions(), 'rows': rows})
    return int(failed)


def check(experiment: config.Experiment, target: targets.Target, mode: program.Mode) -> None:
    """Raises ValueError, ImportError: what can be known before anything is compiled."""
    clips = program.clips_of(experiment, mode)
    if clips % target.devices:
        raise ValueError(
            f'{clips} clips do not split over the {target.devices} devices of {target.name}; make '
            + ('sampler.num_ids * sampler.tracklets_per_id' if mode == 'train' else 'test.batch_clips')
            + f' a multiple of {target.devices}'
        )
    targets.check_compiler(target)


def text(found: outcome.Outcome, experiment: config.Experiment, target: targets.Target) -> str:
    """An outcome for people."""
    memory, chip = found.memory, target.chip
    what = 'training step' if found.mode == 'train' else 'evaluation step'
    lines = [
        f'{found.target}: {what} of {found.clips} clips, {found.frames} frames, {found.dtype}'
        + ', ONE BOTTLENECK PER STAGE' * found.quick + f' (compiled in {found.compile_s:.0f} s)',
        f'  memory      {"fits" if found.fits else "DOES NOT FIT"}: {memory.needed / _GIB:.2f} of '
        f'{memory.limit / _GIB:.2f} GiB a device (arguments {mib(memory.arguments)}, '
        f'{mib(memory.donated)} of them donated; temporaries {mib(memory.temporaries)}; code {mib(memory.code)})',
    ]  # fmt: skip
    if found.largest:
        lines.append(f'  batch       {found.largest}')
    total = sum(found.bytes.values())
    lines += [
        f'  arithmetic  {found.flops / 1e12:.3f} TFLOP: {1e3 * found.arithmetic_s:.2f} ms at '
        f'{chip.flops / 1e12:.0f} TFLOP/s',
        f'  traffic     {total / 1e9:.2f} GB, {total * found.devices / found.frames / 1e6:.0f} MB a frame: '
        f'{1e3 * found.memory_s:.2f} ms at {chip.bandwidth / 1e9:,.0f} GB/s ('
        + ', '.join(f'{kind} {bytes_ / 1e9:.2f}' for kind, bytes_ in found.bytes.items()) + ')',
    ]  # fmt: skip
    for one in found.sends:
        lines.append(
            f'  sends       {one.count} {one.op} {one.dtype}, {one.bytes / 2**20:.2f} MiB, '
            + ('waited for' if one.blocking else 'beside other work')
            + f', from {one.first:.0%} to {one.last:.0%} of the step'
        )
    if found.sends:
        lines.append(
            f'  links       {1e3 * found.links_s:.2f} ms waited for, {1e3 * found.beside_s:.2f} ms beside, at '
            f'{target.link / 1e9:.0f} GB/s a device and {1e6 * chip.hop:.0f} us a hop (assumed)'
        )
    longest = max(
        ('arithmetic', found.arithmetic_s), ('traffic', found.memory_s), ('links', found.links_s), key=lambda x: x[1]
    )
    rate = found.frames / found.bound_s
    lines.append(
        f'  at best     {1e3 * found.bound_s:.2f} ms a step, {rate:,.0f} frames/s, {found.highest_mfu:.0%} of peak; '
        f'the longest part: {longest[0]}. Everything overlaps but what is waited for, at the rates of the data sheet'
    )
    if found.mode == 'train' and not found.quick:
        if found.steps:
            lines.append(
                f'  recipe      {found.steps:,} steps: at least {found.steps * found.bound_s / 3600:.2f} hours'
            )
        else:
            lines.append('  recipe      its steps are not known before the data set is opened')
    if found.mode == 'train' and experiment.data.store == 'device':
        lines.append(f'  store       {program.STORE_FRAMES:,} frames of MARS on the devices, whatever the data set')
    if found.mode == 'eval' and experiment.test.clips == 'whole':
        lines.append('  clips       of the shortest tracklets; longer ones come in batches of as many frames')
    lines += [f'  note        {said}' for said in found.notes]
    return '\n'.join(lines + [f'  warning     {said}' for said in found.warnings]) + '\n'


def mib(size: float) -> str:
    return f'{size / 2**20:,.0f} MiB'


if __name__ == '__main__':
    sys.exit(command_line.run(main))
