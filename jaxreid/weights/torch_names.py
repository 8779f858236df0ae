"""Names of PyTorch parameters and buffers beside ours: tables, and functions that expand them.

Sources of the names: torchvision's ResNet; AP3D's public code (guxinqian/AP3D, models/ResNet.py, AP3D.py, NonLocal.py);
STMN's (cvlab-yonsei/STMN, smem_tmem/model/); SINet's (baist/SINet, models/); OpenAI's CLIP, timm;
TF-CLIP's (AsuradaYuci/TF-CLIP). No public code has STRF units: 'STRF.*'
below is ours.
"""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxreid import config

Path = tuple[str, ...]  # (collection, module ..., leaf)


class Entry(NamedTuple):
    """Where a PyTorch array lies here, and the order of its axes there and here.

    Axes: o outputs, i inputs, t time, h rows, w columns, n anything else; 1 is an axis of length one that only
    PyTorch's array has.
    """

    path: Path
    theirs: str
    ours: str


class Leaf(NamedTuple):
    """An array of a module: collection and name here ('' if the module's own path is the leaf), axes as in Entry."""

    collection: str
    name: str
    theirs: str = 'n'
    ours: str = 'n'


# Kind of module: PyTorch leaf -> ours.
Kind = Mapping[str, Leaf]
CONV_2D: Kind = {'weight': Leaf('params', 'kernel', 'oihw', 'hwio')}
CONV_FRAME: Kind = {'weight': Leaf('params', 'kernel', 'oi1hw', 'hwio')}  # Conv3d of temporal size 1
CONV_CUBE: Kind = {'weight': Leaf('params', 'kernel', 'oithw', 'thwio')}
CONV_TIME: Kind = {'weight': Leaf('params', 'kernel', 'oit11', 'tio')}
REDUCTION: Kind = {'weight': Leaf('params', '', 'oi111', 'io')}
WEIGHTING: Kind = {'weight': Leaf('params', '', '1i111', 'i')}
PROJECTION: Kind = {'weight': Leaf('params', 'kernel', 'oi111', 'io'), 'bias': Leaf('params', 'bias')}
MIXING: Kind = {'weight': Leaf('params', 'kernel', 'oi111', 'io')}  # PROJECTION without a bias
MIXING_PLACES: Kind = {'weight': Leaf('params', 'kernel', 'oi11', 'io')}  # Conv2d over positions
PROJECTION_OF_PLACES: Kind = {**MIXING_PLACES, 'bias': Leaf('params', 'bias')}
PROJECTION_OF_FRAMES: Kind = {**PROJECTION, 'weight': Leaf('params', 'kernel', 'oi1', 'io')}
BATCH_NORM: Kind = {
    'weight': Leaf('params', 'scale'),
    'bias': Leaf('params', 'bias'),
    'running_mean': Leaf('batch_stats', 'mean'),
    'running_var': Leaf('batch_stats', 'var'),
}
FROZEN_SHIFT: Kind = {**BATCH_NORM, 'bias': Leaf('batch_stats', 'bias')}
CLASSIFIER: Kind = {'weight': Leaf('params', 'classifier', 'oi', 'io')}
CLASSIFIER_WITH_BIAS: Kind = {**CLASSIFIER, 'bias': Leaf('params', 'classifier_bias')}
MEMORY: Kind = {'key': Leaf('params', 'keys', 'ni', 'ni'), 'val': Leaf('params', 'values', 'ni', 'ni')}
LSTM: Kind = {
    'weight_ih_l0': Leaf('params', 'weight_ih', 'oi', 'oi'),
    'weight_hh_l0': Leaf('params', 'weight_hh', 'oi', 'oi'),
    'bias_ih_l0': Leaf('params', 'bias_ih'),
    'bias_hh_l0': Leaf('params', 'bias_hh'),
}
DENSE: Kind = {'weight': Leaf('params', 'kernel', 'oi', 'io'), 'bias': Leaf('params', 'bias')}
LAYER_NORM: Kind = {'weight': Leaf('params', 'scale'), 'bias': Leaf('params', 'bias')}
IN_PROJECTION: Kind = {'in_proj_weight': Leaf('params', 'kernel', 'oi', 'io'), 'in_proj_bias': Leaf('params', 'bias')}
COUNTER = 'num_batches_tracked'  # beside the four arrays of every BatchNorm; nothing here reads it

# PyTorch module -> (our module, kind). The frame-wise convolutions ('conv') are CONV_2D or CONV_FRAME.
Table = Mapping[str, tuple[str, Kind | str]]
STEM: Table = {'conv1': ('stem/conv1', 'conv'), 'bn1': ('stem/bn1', BATCH_NORM)}
BOTTLENECK: Table = {
    'conv1': ('conv1', 'conv'),
    'bn1': ('bn1', BATCH_NORM),
    'conv2': ('conv2', 'conv'),
    'bn2': ('bn2', BATCH_NORM),
    'conv3': ('conv3', 'conv'),
    'bn3': ('bn3', BATCH_NORM),
}
SHORTCUT: Table = {'downsample.0': ('downsample_conv', 'conv'), 'downsample.1': ('downsample_bn', BATCH_NORM)}
# What AP3D's code puts in the place of 'conv2'.
ALIGNMENT: Table = {
    'conv2.APM.semantic_mapping': ('apm/semantic', REDUCTION),
    'conv2.APM.x_mapping': ('apm/x_mapping', REDUCTION),
    'conv2.APM.n_mapping': ('apm/n_mapping', REDUCTION),
    'conv2.APM.contrastive_att_net.0': ('apm/contrast', WEIGHTING),
}
ALIGNMENT_ONLY: Table = {'conv2.APM.semantic_mapping': ('apm/semantic', REDUCTION)}
C2D: Table = {'conv2.conv3d': ('conv2', CONV_FRAME)}
I3D: Table = {'conv2.conv3d': ('conv2', CONV_CUBE)}
P3D: Table = {'conv2.spatial_conv3d': ('conv2', CONV_FRAME), 'conv2.temporal_conv3d': ('temporal', CONV_TIME)}
MIDDLE: Mapping[str, Table] = {
    **{'c2d': C2D, 'i3d': I3D, 'ap3d_i3d': I3D},
    **dict.fromkeys(('p3da', 'p3db', 'p3dc', 'ap3d_a', 'ap3d_b', 'ap3d_c'), P3D),
}
STRF_BRANCH = ('conv2.STRF.{branch}', 'strf/{branch}')
NON_LOCAL: Table = {
    'g.0': ('g', PROJECTION),
    'theta': ('theta', PROJECTION),
    'phi.0': ('phi', PROJECTION),
    'W.0': ('out', PROJECTION),
    'W.1': ('norm', BATCH_NORM),
}
IDM: Table = {
    'chl_reduction.0': ('channel_reduction', MIXING),
    'chl_reduction.1': ('channel_norm', BATCH_NORM),
    'thw_reduction.0': ('place_reduction', MIXING_PLACES),
    'thw_reduction.1': ('place_norm', BATCH_NORM),
    'thw_expansion.0': ('place_expansion', PROJECTION_OF_PLACES),
    'chl_expansion.0': ('channel_expansion', PROJECTION),
}
SBM: Table = {
    'se.1': ('squeeze', PROJECTION),
    'se.3': ('excite', PROJECTION),
    'kernel.0': ('templates', MIXING),
    'kernel.1': ('norm', BATCH_NORM),
}
FRAME_PROJECTION: Table = {'projection': ('projection', PROJECTION_OF_FRAMES)}
# SINet's convolutions in front of a norm have a bias, which the norm takes away again: here they have none.
BEFORE_NORM = re.compile(r'(?:conv(\d)|(downsample|kernel|chl_reduction|thw_reduction)\.0)\.(weight|bias)$')
# Classifiers and memories.
TORCHVISION_HEAD: Table = {'fc': ('head', CLASSIFIER_WITH_BIAS)}
HEADS: Mapping[str, Table] = {
    'a': {'bn': ('head/neck', BATCH_NORM), 'classifier': ('head', CLASSIFIER_WITH_BIAS)},
    'b': {'bn': ('head/neck', FROZEN_SHIFT), 'classifier': ('head', CLASSIFIER)},
    'plain': {'classifier': ('head', CLASSIFIER)},
}
STMN_TRUNK = 'features.backbone.'
STMN_SPATIAL: Table = {'smem': ('spatial_memory', MEMORY), 'smem.bn': ('spatial_memory/norm', BATCH_NORM)}
STMN_TEMPORAL: Table = {'tmem': ('temporal_memory', MEMORY), 'tmem.lstm': ('temporal_memory/lstm', LSTM)}
STMN_HEADS: Mapping[str, Table] = {
    'spatial': {'bn_s': ('head_spatial/neck', FROZEN_SHIFT), 'cls_s': ('head_spatial', CLASSIFIER)},
    'temporal': {'bn_t': ('head_temporal/neck', FROZEN_SHIFT), 'cls_t': ('head_temporal', CLASSIFIER)},
}
# CLIP's image tower, as OpenAI names it and as timm does; the blocks' names stand behind `VIT_ROWS`.
VIT: Table = {
    '': ('', {
        'class_embedding': Leaf('params', 'class_token'),
        'positional_embedding': Leaf('params', 'positions', 'ni', 'ni'),
        'proj': Leaf('params', 'projection', 'io', 'io'),
    }),
    'conv1': ('', {'weight': Leaf('params', 'patches', 'oihw', 'hwio')}),
    'ln_pre': ('ln_pre', LAYER_NORM),
    'ln_post': ('ln_post', LAYER_NORM),
}  # fmt: skip
VIT_BLOCK: Table = {
    'attn': ('attn/qkv', IN_PROJECTION),
    'attn.out_proj': ('attn/out', DENSE),
    'ln_1': ('ln_1', LAYER_NORM),
    'mlp.c_fc': ('mlp/fc', DENSE),
    'mlp.c_proj': ('mlp/proj', DENSE),
    'ln_2': ('ln_2', LAYER_NORM),
}
VIT_TIMM: Table = {
    '': ('', {
        'cls_token': Leaf('params', 'class_token', '11n'),
        'pos_embed': Leaf('params', 'positions', '1ni', 'ni'),
    }),
    'patch_embed.proj': ('', {'weight': Leaf('params', 'patches', 'oihw', 'hwio')}),
    'norm_pre': ('ln_pre', LAYER_NORM),
    'norm': ('ln_post', LAYER_NORM),
    'head': ('', {'weight': Leaf('params', 'projection', 'oi', 'io')}),
}  # fmt: skip
VIT_BLOCK_TIMM: Table = {
    'attn.qkv': ('attn/qkv', DENSE),
    'attn.proj': ('attn/out', DENSE),
    'norm1': ('ln_1', LAYER_NORM),
    'mlp.fc1': ('mlp/fc', DENSE),
    'mlp.fc2': ('mlp/proj', DENSE),
    'norm2': ('ln_2', LAYER_NORM),
}
# Who names it -> its table, that of a block, and what stands before a block's number.
VIT_NAMINGS: Mapping[str, tuple[Table, Table, str]] = {
    'openai': (VIT, VIT_BLOCK, 'transformer.resblocks.'),
    'timm': (VIT_TIMM, VIT_BLOCK_TIMM, 'blocks.'),
}
# TF-CLIP, but for its tower, 'image_encoder.'. What the released code saves and never reads is called unused here.
MATRIX: Kind = {'weight': Leaf('params', 'kernel', 'oi', 'io')}
TFCLIP: Table = {
    'classifier2': ('head_token', CLASSIFIER),
    'bottleneck': ('head_token/neck', FROZEN_SHIFT),
    'classifier_proj': ('head_projected', CLASSIFIER),
    'bottleneck_proj': ('head_projected/neck', FROZEN_SHIFT),
}
TFCLIP_CAMERAS: Table = {'': ('', {'cv_embed': Leaf('params', 'cameras', 'ni', 'ni')})}
TFCLIP_TMD: Table = {
    'classifier_proj_temp': ('', {'weight': Leaf('params', 'classifier_tmd', 'oi', 'io')}),
    'classifier_proj_temp2': ('', {'weight': Leaf('batch_stats', 'unused_classifier', 'oi', 'io')}),
    'bottleneck_proj_temp': ('neck_tmd_frames', FROZEN_SHIFT),
    'bottleneck_proj_temp2': ('neck_tmd', FROZEN_SHIFT),
    'TMD.resblocks.0.message_fc': ('tmd/message', DENSE),
    'TMD.resblocks.0.message_ln': ('tmd/message_ln', LAYER_NORM),
    'TMD.resblocks.0.message_attn': ('tmd/message_attn/qkv', IN_PROJECTION),
    'TMD.resblocks.0.message_attn.out_proj': ('tmd/message_attn/out', DENSE),
}
TFCLIP_SSP: Table = {
    'SSP': ('', {'alpha': Leaf('batch_stats', 'unused_alpha')}),
    'SSP.norm': ('', {
        'weight': Leaf('batch_stats', 'unused_norm_scale'), 'bias': Leaf('batch_stats', 'unused_norm_bias')
    }),
    'SSP.memory_proj.0': ('ssp/tokens_ln', LAYER_NORM),
    'SSP.memory_proj.1': ('ssp/tokens', DENSE),
    'SSP.memory_proj.2': ('ssp/tokens_ln_out', LAYER_NORM),
    'SSP.text_proj.0': ('ssp/memory_ln', LAYER_NORM),
    'SSP.text_proj.1': ('ssp/memory', DENSE),
    'SSP.out_proj.0': ('ssp/out_ln', LAYER_NORM),
    'SSP.out_proj.1': ('ssp/out', DENSE),
}  # fmt: skip
TFCLIP_SSP_LAYER: Table = {
    **{f'{kind}_attn.{part}_proj': (f'{kind}/{part}', MATRIX) for kind in ('self', 'cross') for part in 'qkv'},
    **{f'{kind}_attn.proj': (f'{kind}/proj', DENSE) for kind in ('self', 'cross')},
    **{f'norm{i}': (f'norm{i}', LAYER_NORM) for i in (1, 2, 3)},
    'mlp.0': ('fc', DENSE),
    'mlp.3': ('proj', DENSE),
}
SSP_LAYERS = 2
CLIP_MEMORY: Path = ('batch_stats', 'memory')  # of TF-CLIP: no network's file holds it

Names = dict[str, Entry]


def _expand(table: Table, *, theirs: str = '', ours: str = '', conv: Kind = CONV_2D) -> Names:
    names = {}
    for module, (our_module, kind) in table.items():
        for leaf, (collection, our_leaf, their_axes, our_axes) in (conv if isinstance(kind, str) else kind).items():
            path = (collection, *(ours + our_module).split('/'), our_leaf)
            names[theirs + f'{module}.{leaf}'.lstrip('.')] = Entry(tuple(p for p in path if p), their_axes, our_axes)
    return names


def _stage(
    theirs: str,
    ours: str,
    depth: int,
    *,
    conv: Kind = CONV_2D,
    middle: Table | None = None,
    after: Mapping[int, tuple[str, Table]] | None = None,
) -> Names:
    """A row of bottlenecks; `middle` takes the place of 'conv2' in every other one; PyTorch's rows count blocks.

    `after`: of the modules that follow a bottleneck, by its number: our name without the number, and the table.
    """
    names: Names = {}
    number = 0
    for i in range(depth):
        table = dict(BOTTLENECK)
        if middle and i % 2 == 0:
            del table['conv2']
            table |= middle
        table |= SHORTCUT if i == 0 else {}
        names |= _expand(table, theirs=f'{theirs}.{number}.', ours=f'{ours}/block{i}/', conv=conv)
        number += 1
        if after and i in after:
            name, following = after[i]
            names |= _expand(following, theirs=f'{theirs}.{number}.', ours=f'{ours}/{name}{i}/')
            number += 1
    return names


def resnet(depths: Sequence[int]) -> Names:
    """Names of torchvision's bottleneck ResNets without classifier."""
    names = _expand(STEM)
    for stage, depth in enumerate(depths, start=1):
        names |= _stage(f'layer{stage}', f'layer{stage}', depth)
    return names


def torchvision(depths: Sequence[int]) -> Names:
    """`resnet` and its classifier."""
    return resnet(depths) | _expand(TORCHVISION_HEAD)


def vit(depth: int, naming: str, *, theirs: str = '', ours: str = 'visual') -> Names:
    """Names of CLIP's image tower of so many blocks; `naming` is one of VIT_NAMINGS."""
    table, block, row = VIT_NAMINGS[naming]
    names = _expand(table, theirs=theirs, ours=f'{ours}/')
    for i in range(depth):
        names |= _expand(block, theirs=f'{theirs}{row}{i}.', ours=f'{ours}/block{i}/')
    return names


def baseline(e: config.Experiment) -> Names:
    """Names that AP3D's code saves for C2D, I3D, P3D and AP3D, with or without non-local blocks and STRF units."""
    names = _expand(STEM, conv=CONV_FRAME)
    for stage, depth in enumerate(e.backbone.depths, start=1):
        hosts = stage in e.strf.stages
        middle = MIDDLE[e.backbone.block] if hosts or stage in e.backbone.stages else None
        if middle and e.backbone.block in config.AP3D_BLOCKS:
            middle = {**middle, **(ALIGNMENT if e.ap3d.contrastive else ALIGNMENT_ONLY)}
        if middle and hosts and e.strf.fam == 'covariance':
            theirs, ours = STRF_BRANCH
            units = {theirs.format(branch=b): (ours.format(branch=b), REDUCTION) for b in e.strf.branches}
            middle = {**middle, **units}
        following = {2: e.nonlocal_blocks.stage2, 3: e.nonlocal_blocks.stage3}.get(stage, ())
        after = dict.fromkeys(following, ('nonlocal', NON_LOCAL))
        names |= _stage(f'layer{stage}', f'layer{stage}', depth, conv=CONV_FRAME, middle=middle, after=after)
    return names | _expand(HEADS[e.head.kind])


def stmn(e: config.Experiment) -> Names:
    """Names that STMN's code saves; of parts that a variant leaves out, none."""
    names = _expand(STEM, theirs=STMN_TRUNK)
    stages = {f'layer{stage}': f'layer{stage}' for stage in (1, 2, 3)} | {'layer4_val': 'layer4'}
    tables = [STMN_HEADS['spatial']]
    if e.stmn.sm:
        stages['layer4_key_s'] = 'layer4_spatial'
        tables.append(STMN_SPATIAL)
    if e.stmn.tm != 'off':
        stages['layer4_key_t'] = 'layer4_temporal'
        tables.append(STMN_HEADS['temporal'])
    if e.stmn.tm == 'memory':
        tables.append(STMN_TEMPORAL)
    for theirs, ours in stages.items():
        names |= _stage(STMN_TRUNK + theirs, ours, e.backbone.depths[int(ours[5]) - 1])
    for table in tables:
        names |= _expand(table)
    return names


def sinet(e: config.Experiment) -> Names:
    """Names that SINet's code saves, but for the biases that `without_biases` takes away."""
    names = _expand(STEM, conv=CONV_FRAME) | _expand(HEADS[e.head.kind])
    names |= _expand(FRAME_PROJECTION) if e.sinet.contrast_weight else {}
    following = {2: dict.fromkeys(e.sinet.idm, ('idm', IDM)), 3: dict.fromkeys(e.sinet.sbm, ('sbm', SBM))}
    for stage, depth in enumerate(e.backbone.depths, start=1):
        names |= _stage(f'layer{stage}', f'layer{stage}', depth, conv=CONV_FRAME, after=following.get(stage))
    return names


def without_biases(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Tensors of SINet's code without the biases in front of norms: the running means become less by them."""
    kept = dict(tensors)
    for name, bias in tensors.items():
        if (found := BEFORE_NORM.search(name)) and found[3] == 'bias':
            norm = f'bn{found[1]}' if found[1] else f'{found[2]}.1'
            mean = f'{name[: found.start()]}{norm}.running_mean'
            if mean in kept and kept[mean].shape == bias.shape:
                kept[mean] = kept[mean] - kept.pop(name)
    return kept


def tfclip(e: config.Experiment) -> Names:
    """Names that TF-CLIP's code saves; of parts that a variant leaves out, none."""
    names = _expand(TFCLIP) | vit(e.vit.depth, 'openai', theirs='image_encoder.')
    if e.tfclip.cameras:
        names |= _expand(TFCLIP_CAMERAS)
    if e.tfclip.tmd:
        names |= _expand(TFCLIP_TMD) | _expand(VIT_BLOCK, theirs='TMD.resblocks.0.', ours='tmd/block/')
    if e.tfclip.ssp:
        names |= _expand(TFCLIP_SSP)
        for i in range(SSP_LAYERS):
            names |= _expand(TFCLIP_SSP_LAYER, theirs=f'SSP.decoder.{i}.', ours=f'ssp/layer{i}_')
    return names


def published(e: config.Experiment) -> Names:
    """Names that the public code of an experiment's network saves: PyTorch name -> entry.

    STA and STAR have no public code: their names are torchvision's where theirs is a ResNet.
    """
    match e.system:
        case 'baseline':
            return baseline(e)
        case 'stmn':
            return stmn(e)
        case 'sinet':
            return sinet(e)
        case 'tfclip':
            return tfclip(e)
    return resnet(e.backbone.depths)


def by_rule(path: Path, ndim: int) -> tuple[str, Entry]:
    """A PyTorch name and entry for an array that no published network has: our modules and PyTorch's order of axes."""
    leaves = {'kernel': 'weight', 'scale': 'weight', 'mean': 'running_mean', 'var': 'running_var'}
    leaves |= {'classifier': 'classifier.weight', 'classifier_bias': 'classifier.bias'}
    name = '.'.join((*path[1:-1], leaves.get(path[-1], path[-1])))
    if path[-1] not in ('kernel', 'classifier'):
        return name, Entry(path, 'thwio'[-ndim:], 'thwio'[-ndim:])
    spatial = 'thw'[5 - ndim :]
    return name, Entry(path, f'oi{spatial}', f'{spatial}io')


def to_ours(array: np.ndarray, entry: Entry) -> np.ndarray | None:
    """A PyTorch array in our order of axes; None where it has other axes."""
    if array.ndim != len(entry.theirs) or any(n != 1 for n, a in zip(array.shape, entry.theirs) if a == '1'):
        return None
    kept = [a for a in entry.theirs if a != '1']
    array = array.reshape([n for n, a in zip(array.shape, entry.theirs) if a != '1'])
    return array.transpose([kept.index(a) for a in entry.ours])


def to_theirs(array: np.ndarray, entry: Entry) -> np.ndarray:
    """The inverse of `to_ours`, contiguous."""
    shape = their_shape(array.shape, entry)
    array = array.transpose([entry.ours.index(a) for a in entry.theirs if a != '1'])
    return np.ascontiguousarray(array.reshape(shape))


def their_shape(shape: Sequence[int], entry: Entry) -> tuple[int, ...]:
    """The shape that PyTorch's array has where ours has `shape`."""
    sizes = dict(zip(entry.ours, shape, strict=True))
    return tuple(sizes.get(axis, 1) for axis in entry.theirs)
