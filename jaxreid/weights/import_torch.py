"""Brings in checkpoints of the authors' PyTorch code: STMN, TF-CLIP, the networks of AP3D's and SINet's,
torchvision's ResNet-50.

  python -m jaxreid.weights.import_torch --source stmn ckpt_best.pth imported/stmn
  python -m jaxreid.main --config configs/stmn_mars.py:released --mode eval --checkpoint imported/stmn

As Python: `model, variables = import_torch.load('ckpt_best.pth', source='stmn')`, then
`model.apply(variables, clips, train=False)` with normalised clips [B, T, H, W, 3].

Width, depths, items, frames and identities are read from the shapes in the file. What shapes cannot tell is told by
the source: which block the parameters belong to (P3D-A, B and C have the same), and for STMN that the released code
reshapes its queries without moving channels last, normalises keys across items and has no ReLU in the stem.
"""

import math
import os
import pathlib
import re
import statistics
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from flax import linen as nn
from flax import traverse_util

from jaxreid import config
from jaxreid.layers import batch_norm
from jaxreid.layers.transformer import ssp
from jaxreid.models import build, cost, output
from jaxreid.process import commands, exit_status
from jaxreid.training import checkpoint
from jaxreid.weights import state_file, torch_names

# Source -> block of AP3D's code. 'ap3d' and 'ap3d_nl' are the released networks, 'ap3dres50' and 'ap3dnlres50' there.
AP3D_BLOCKS: dict[str, config.Block] = {
    'ap3d_c2d': 'c2d', 'ap3d_i3d': 'i3d', 'ap3d_p3da': 'p3da', 'ap3d_p3db': 'p3db', 'ap3d_p3dc': 'p3dc',
    'ap3d': 'ap3d_c', 'ap3d_nl': 'ap3d_c',
}  # fmt: skip
ALIASES = {'ap3dres50': 'ap3d', 'ap3dnlres50': 'ap3d_nl'}
SOURCES = ('torchvision_resnet50', 'stmn', 'sinet', 'tfclip', *AP3D_BLOCKS)

_MOST = 64  # bottlenecks of a stage: ResNet-152 has 36 [choice]
REDUCTION = re.compile(r'\.APM\.semantic_mapping\.weight$')

Tensors = Mapping[str, np.ndarray]


def load(
    path: str | os.PathLike[str], source: str = 'stmn', num_ids: int | None = None
) -> tuple[nn.Module, output.Variables]:
    """The network of a PyTorch checkpoint.

    Args:
      path: a .safetensors file, or a PyTorch checkpoint (needs PyTorch); its pickle is never executed.
      source: one of SOURCES or ALIASES.
      num_ids: training identities; None reads them from the classifier. For 'torchvision_resnet50' another number
        than the file's replaces its classifier by one of zeros.

    Returns:
      The model and its variables {'params', 'batch_stats'}: `model.apply(variables, clips, train=False)` takes
      normalised clips [B, T, H, W, 3] and gives a ModelOutput whose `embedding` [B, D] is the feature that the authors
      retrieve with.

    Raises:
      state_file.WeightsError: unknown source, unreadable file, or names and shapes that do not fit, all of them listed.
    """
    _, model, variables = imported(pathlib.Path(path), source, num_ids)
    return model, variables


def imported(
    path: pathlib.Path, source: str = 'stmn', num_ids: int | None = None
) -> tuple[config.Experiment, nn.Module, output.Variables]:
    """The settings of the network, and what `load` returns; arguments and errors as there."""
    source = ALIASES.get(source, source)
    if source not in SOURCES:
        raise state_file.WeightsError(
            f'source = {source!r} is not known.{config.nearest(source, (*SOURCES, *ALIASES))}'
        )
    tensors = {k: v for k, v in state_file.read(path).items() if not k.endswith(torch_names.COUNTER)}
    if source == 'sinet':
        tensors = torch_names.without_biases(tensors)
    experiment = settings(tensors, source)
    classifier = {'stmn': 'cls_t.weight', 'tfclip': 'classifier2.weight', 'torchvision_resnet50': 'fc.weight'}.get(
        source, 'classifier.weight'
    )
    experiment.data.num_ids = num_ids or _size(tensors, classifier, 0, 1)
    if source == 'torchvision_resnet50':
        tensors = _with_torchvision_head(tensors, experiment.data.num_ids)
    model = build.build(experiment, num_ids=experiment.data.num_ids, dtype=jnp.dtype('float32'))
    data = experiment.data
    shapes = cost.shapes(model, frames=experiment.sampler.frames, height=data.height, width=data.width)
    variables = fit(shapes, tensors, published_names(experiment, source), label=f'{path} as {source!r}')
    if memory := shapes['batch_stats'].get(torch_names.CLIP_MEMORY[1]):
        variables['batch_stats'][torch_names.CLIP_MEMORY[1]] = jnp.zeros(memory.shape, memory.dtype)
    return experiment, model, variables


def settings(tensors: Tensors, source: str) -> config.Experiment:
    """The experiment whose network has the tensors' shapes and computes what `source` computes."""
    e = config.Experiment(strf=config.Strf(stages=()))
    if source == 'tfclip':
        return _tfclip(tensors, e)
    trunk = torch_names.STMN_TRUNK if source == 'stmn' else ''
    stages = [('layer4_val' if source == 'stmn' and s == 4 else f'layer{s}') for s in (1, 2, 3, 4)]
    rows = [_row(tensors, f'{trunk}{stage}') for stage in stages]
    e.backbone = config.Backbone(
        block='c2d',
        width=_width(tensors, trunk),
        depths=tuple(max(1, row.count('block')) for row in rows),
        init='random',
    )
    match source:
        case 'stmn':
            e.system = 'stmn'
            e.backbone.frame_pool = 'avg'
            e.head.kind = 'b'
            e.stmn = config.Stmn(
                spatial_items=_size(tensors, 'smem.key', 0, e.stmn.spatial_items),
                temporal_items=_size(tensors, 'tmem.key', 0, e.stmn.temporal_items),
                query_layout='flat',
                key_norm='channel',
                stem_relu=False,
            )
            e.sampler.frames = e.test.frames = _size(tensors, 'tmem.val', 1, 6)
        case 'sinet':  # SBNet, IDNet and the network without modules too
            e.system = 'sinet'
            e.sinet = config.Sinet(idm=_followed(rows[1]), sbm=_followed(rows[2]), stem_padding=False)
            if 'projection.weight' not in tensors:
                e.sinet.contrast_weight = 0.0
            reduce = next((k for k in tensors if k.endswith('thw_reduction.0.weight')), '')
            places = _size(tensors, reduce, 1, 0)
            if reduce:  # frames of 256 x 128, to which the code is bound, have 32 x 16 positions in stage 2
                e.sampler.frames = e.test.frames = max(1, places // 512)
                e.sinet.reduction = max(1, places // _size(tensors, reduce, 0, 1))
        case 'torchvision_resnet50':
            e.backbone.strides = (1, 2, 2, 2)
            e.backbone.frame_pool = 'avg'
        case _:
            e.backbone.block = AP3D_BLOCKS[source]
            e.backbone.stages = tuple(s for s in (1, 2, 3, 4) if f'layer{s}.0.conv2.weight' not in tensors)
            e.nonlocal_blocks = config.NonLocal(stage2=_followed(rows[1]), stage3=_followed(rows[2]))
            reductions = [
                v.shape[1] // v.shape[0] for k, v in tensors.items() if REDUCTION.search(k) and v.ndim == 5 and v.size
            ]
            # Without any the file is of another source; a divisor lets the error list what is missing.
            e.ap3d.reduction = next(iter(reductions), math.gcd(e.ap3d.reduction, e.backbone.width))
            e.ap3d.contrastive = not reductions or any('.APM.x_mapping.' in k for k in tensors)
    return e


def _tfclip(tensors, e):
    if older := [name for name in tensors if name.startswith(('SAT.', 'prompts_generator.'))]:
        raise state_file.WeightsError(
            f'the file holds {older[0]} and {len(older) - 1} more of the older architecture that the weights released '
            'for TF-CLIP are of; the code released with them (SSP, TMD) cannot load them either'
        )
    e.system, e.head.kind = 'tfclip', 'b'
    e.backbone = config.Backbone(block='c2d', init='random')
    tower = 'image_encoder.'
    numbers = [int(m[1]) for m in (re.match(rf'{tower}transformer\.resblocks\.(\d+)\.', k) for k in tensors) if m]
    e.vit = config.Vit(
        width=_size(tensors, f'{tower}proj', 0, e.vit.width),
        depth=min(max(numbers, default=e.vit.depth - 1) + 1, _MOST),
        heads=max(1, _size(tensors, f'{tower}proj', 0, e.vit.width) // ssp.HEAD_CHANNELS),
        patch=_size(tensors, f'{tower}conv1.weight', 2, e.vit.patch),
        projection=_size(tensors, f'{tower}proj', 1, e.vit.projection),
    )
    # Frames are twice as high as wide, as in every recipe for people.
    columns = max(1, math.isqrt((_size(tensors, f'{tower}positional_embedding', 0, 129) - 1) // 2))
    e.data.height, e.data.width = 2 * columns * e.vit.patch, columns * e.vit.patch
    e.tfclip = config.Tfclip(
        cameras=_size(tensors, 'cv_embed', 0, 0),
        ssp='SSP.alpha' in tensors,
        tmd='classifier_proj_temp.weight' in tensors,
    )
    e.sampler.frames = e.test.frames = 8
    return e


def _row(tensors, stage):
    """What stands in a stage's row, in order: 'block' or what follows one."""
    numbers = [int(m[1]) for m in (re.match(rf'{re.escape(stage)}\.(\d+)\.', name) for name in tensors) if m]
    count = max(numbers, default=-1) + 1
    if count > _MOST:
        raise state_file.WeightsError(
            f'a tensor is called {stage}.{count - 1}; expected at most {_MOST} blocks a stage'
        )
    tells = {'theta': 'nonlocal', 'thw_reduction.0': 'idm', 'se.1': 'sbm'}
    return [
        next((kind for part, kind in tells.items() if f'{stage}.{i}.{part}.weight' in tensors), 'block')
        for i in range(count)
    ]


def _followed(row):
    """Bottlenecks that something else follows."""
    return tuple(row[:i].count('block') - 1 for i, kind in enumerate(row) if kind != 'block')


def _width(tensors, trunk):
    stem = ('conv1.weight', 'bn1.weight', 'bn1.bias', 'bn1.running_mean', 'bn1.running_var')
    # One array of a wrong shape should be one problem, not several hundred.
    return statistics.mode([_size(tensors, trunk + name, 0, 64) for name in stem])


def _size(tensors, name, axis, default):
    shape = tensors[name].shape if name in tensors else ()
    return shape[axis] if axis < len(shape) and shape[axis] else default


def _with_torchvision_head(tensors, num_ids):
    """A neck that changes nothing, and a classifier where the file's is missing or of other classes."""
    width = tensors['fc.weight'].shape[-1] if 'fc.weight' in tensors else 32 * _width(tensors, '')
    if _size(tensors, 'fc.weight', 0, 0) != num_ids:
        zeros = {'fc.weight': np.zeros((num_ids, width), np.float32), 'fc.bias': np.zeros(num_ids, np.float32)}
        tensors = {**tensors, **zeros}
    one = np.ones(width, np.float32)
    neck = {'weight': one * np.sqrt(1 + batch_norm.EPSILON), 'bias': 0 * one, 'running_mean': 0 * one}
    return {**tensors, **{f'bn.{leaf}': a.astype(np.float32) for leaf, a in (neck | {'running_var': one}).items()}}


def published_names(experiment: config.Experiment, source: str) -> torch_names.Names:
    """PyTorch names of everything in the experiment's network."""
    if source != 'torchvision_resnet50':
        return torch_names.published(experiment)
    neck = {k: v for k, v in torch_names.baseline(experiment).items() if k.startswith('bn.')}
    return torch_names.torchvision(experiment.backbone.depths) | neck


def fit(shapes: Any, tensors: Tensors, names: torch_names.Names, *, label: str) -> output.Variables:
    """Variables of a model from tensors by PyTorch name.

    Raises:
      state_file.WeightsError: lists every name that is missing or too many and every shape that does not fit.
    """
    flat = traverse_util.flatten_dict(shapes)
    values: dict[torch_names.Path, jax.Array] = {}
    problems = [f'{name}: not in the model' for name in tensors if name not in names]
    for name, entry in names.items():
        expected = torch_names.their_shape(flat[entry.path].shape, entry)
        if name not in tensors:
            problems.append(f'{name}: not in the file; expected shape {expected}')
        elif tensors[name].shape != expected:
            problems.append(f'{name}: shape {tensors[name].shape} in the file, expected {expected}')
        else:
            value = torch_names.to_ours(tensors[name], entry)
            values[entry.path] = jnp.asarray(value, flat[entry.path].dtype)
    if problems:
        listed = '\n  '.join(problems)
        raise state_file.WeightsError(
            f'{label}: {len(problems)} names or shapes do not fit:\n  {listed}\nName the network that the file holds: '
            f'one of {", ".join(SOURCES)}.'
        )
    return traverse_util.unflatten_dict(values)


def convert(path: pathlib.Path, out: pathlib.Path, source: str, num_ids: int | None = None) -> config.Experiment:
    """Writes the checkpoint `<out>/0` that `--mode eval --checkpoint <out>` restores; returns its settings.

    Raises:
      state_file.WeightsError: see `load`.
      checkpoint.CheckpointError: `out` holds a checkpoint already, or cannot be written.
    """
    if any(p.name.isdigit() for p in out.glob('*')):
        raise checkpoint.CheckpointError(f'{out} holds a checkpoint already; choose another folder')
    experiment, _, variables = imported(path, source, num_ids)
    meta: checkpoint.Meta = {
        'config': config.to_dict(experiment),
        # Which person an output of the classifier stood for is not in the file; evaluation needs only how many.
        'labels': {f'unknown {i}': i for i in range(experiment.data.num_ids)},
        'imported': {'source': ALIASES.get(source, source), 'file': path.name},
    }
    saved = checkpoint.Checkpoints(out, keep=1)
    saved.save(0, variables, meta)
    saved.close()
    return experiment


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m jaxreid.weights.import_torch --source S IN OUT`."""
    parser = commands.parser('import-torch', __doc__)
    parser.add_argument('--source', required=True, choices=(*SOURCES, *ALIASES), help='which code wrote the file')
    parser.add_argument('--num-ids', type=int, help="training identities; default: the classifier's")
    parser.add_argument('input', type=pathlib.Path, metavar='IN', help='.pth, .tar or .safetensors file')
    parser.add_argument('output', type=pathlib.Path, metavar='OUT', help='folder of the new checkpoint')
    arguments = parser.parse_args(argv)
    logging.set_verbosity(logging.FATAL)  # Orbax logs errors that it raises too

    def act() -> None:
        e = convert(arguments.input, arguments.output, arguments.source, arguments.num_ids)
        kind = e.system if e.system == 'tfclip' else f'{e.system}, {e.backbone.block}'
        print(f'{arguments.input} -> {arguments.output}: {kind}, {e.data.num_ids} identities')
        print(f'evaluate it: --mode eval --checkpoint {arguments.output} and the --config named in docs/weights.md')

    return exit_status.run(act)


if __name__ == '__main__':
    sys.exit(main())
