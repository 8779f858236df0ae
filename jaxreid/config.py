"""Every setting of an experiment: its unit, its default and what it may be.

A file in `configs/` fills an `Experiment` with `get_config(variant)`; the command line changes single fields
(`--config.optim.lr=1e-4`); `validate` then checks types and combinations once. Each field is read in one place.
"""

import dataclasses
import difflib
import math
import typing

from jaxreid.data.datasets import catalogue

SYSTEMS = ('baseline', 'stmn', 'sta', 'star')
DATASETS = tuple(catalogue.by_name())
SPLITS = tuple([str(i) for i in range(max(facts.num_splits for facts in catalogue.by_name().values()))])
PRESETS = tuple([preset for facts in catalogue.by_name().values() for preset in facts.presets])
AP3D_BLOCKS = ('ap3d_i3d', 'ap3d_a', 'ap3d_b', 'ap3d_c')  # temporal convolution over aligned frames
BLOCKS = ('c2d', 'i3d', 'p3da', 'p3db', 'p3dc', *AP3D_BLOCKS)
SAMPLER_KINDS = (
    'tracklet_epoch',
    'tracklet_epoch_distinct',
    'camera_epoch_distinct',
    'identity_epoch',
    'identity_epoch_cameras',
    'identity_epoch_unique',
)
TRAIN_CLIPS = ('stride_crop', 'rrs', 'random', 'begin_crop', 'consecutive')
TEST_CLIPS = ('all_frames', 'interleaved', 'rrs', 'begin_crop', 'random', 'even', 'whole')
BRANCHES = ('t_tau', 't_sigma', 's_tau', 's_sigma')
PROTOCOLS = tuple(
    dict.fromkeys(
        (
            'mars-paper',
            'mars-official',
            'torchreid',
            'ste-nvan',
            *(one.protocol for one in catalogue.by_name().values()),
        )
    )
)


@dataclasses.dataclass
class Data:
    """Where the tracklets are and how their frames are read."""

    dataset: str = 'mars'  # one of DATASETS
    # dataset folder; manifest: the .csv or .jsonl file; synthetic: the folder to render into ('' = the user's cache)
    root: str = ''
    frames_root: str = ''  # manifest: folder that its paths start from; '' = the one that it lies in
    # More data sets whose training tracklets are mixed in, NAME=ROOT each, where there are several NAME:SPLIT=ROOT or
    # NAME:PRESET=ROOT; NAME= for one that is among the record sets of data.records
    also: tuple[str, ...] = ()
    preset: str = 'demo'  # synthetic only: one of PRESETS
    split: str = '0'  # which of a data set's splits, from 0 on, or all: one run each, and their mean
    split_rule: str = ''  # how its splits are made, where there are several ways (docs/data.md); '' = the usual one
    part: str = 'official'  # official | validation: training identities split 500/125 and queried (STMN section 4.1)
    part_trial: int = 0  # validation: which random draw of 200 queries
    dense_frames: int = 0  # long training tracklets are cut into pieces of so many frames, see dense_split; 0 = not
    dense_stride: int = 0  # distance between the pieces' first frames; 0 = dense_frames
    flow: str = 'off'  # off | tvl1 (computed from the frames when asked for) | zeros
    # opencv: on the CPU, needs OpenCV's contrib modules | jax: on the device, frames in the network's size. Named, and
    # not chosen by what is installed: their flows differ by thousandths of a pixel, and a run shall be repeatable
    flow_engine: str = 'opencv'
    flow_cache_mb: int = 512  # computed flow kept in memory, per split and process
    flow_folder: str = (
        ''  # computed flow is kept here between runs; '' = in memory only, for synthetic beside the frames
    )
    # Where training frames come from. folder: the dataset as downloaded | records: ArrayRecord files that
    # data_pipelines.build made | ram: all decoded once, into host memory | device: all decoded once, into the devices'
    # memory, a part on each. The last two decode, and read the test split, from data.records if set, else the folder
    store: str = 'folder'
    records: str = ''  # folder or URL of record sets; ram and device decode from them too; data.root is not needed then
    num_ids: int = 625  # published number of training ids, used by --mode summary only
    height: int = 256  # pixels
    width: int = 128  # pixels
    resize: str = 'bicubic'  # bicubic | bilinear, Pillow's antialiased filters; no-op where the size fits
    on_corrupt_train: str = 'skip_frame'  # skip_frame (counted; a neighbour takes its place) | error
    on_corrupt_eval: str = 'error'  # skip_frame | error
    threads: int = 2  # decoding threads per process
    processes: int = 0  # decoding processes; 0 = threads of this process only
    prefetch: int = 4  # batches decoded ahead


@dataclasses.dataclass
class Sampler:
    """P identities x K tracklets x T frames of a training batch (docs/training.md)."""

    kind: str = 'tracklet_epoch'  # one of SAMPLER_KINDS
    num_ids: int = 8  # P, identities per batch
    tracklets_per_id: int = 4  # K
    clip: str = 'stride_crop'  # one of TRAIN_CLIPS
    frames: int = 4  # T, frames per clip
    stride_frames: int = 8  # distance between sampled frames of stride_crop


@dataclasses.dataclass
class Augment:
    """Random changes of a training clip, made on the device."""

    flip: float = 0.5  # probability of a horizontal flip, one draw per clip
    erase: float = 0.5  # probability of random erasing
    erase_area_min: float = 0.02  # share of the frame
    erase_area_max: float = 0.4
    erase_aspect_min: float = 0.3  # height/width lies in [min, 1/min]
    erase_scope: str = 'frame'  # frame: each frame draws its own rectangle | clip: all frames share one
    translate_px: int = 0  # zero padding of a random crop, one draw per clip


@dataclasses.dataclass(unsafe_hash=True)  # hashable: a field of Flax modules
class Backbone:
    """ResNet with optional 3-D blocks (docs/strf.md)."""

    block: str = 'p3dc'  # one of BLOCKS: what replaces the middle convolution of the chosen bottlenecks
    stages: tuple[int, ...] = (2, 3)  # stages (1-4) that hold replaced bottlenecks: every other one, from 0
    width: int = 64  # planes of stage 1; stages 2-4 have 2, 4, 8 times as many
    depths: tuple[int, ...] = (3, 4, 6, 3)  # bottlenecks per stage
    strides: tuple[int, ...] = (1, 2, 2, 1)  # spatial stride of each stage; the last is the papers' "last stride"
    frame_pool: str = 'max'  # max | avg: spatial pooling of a frame's last feature map
    # imagenet | checkpoint (whatever of another network fits by name and shape) | rendered (a small C2D trained on
    # rendered people of its own, made in the cache on first use) | random
    init: str = 'imagenet'
    # imagenet: torchvision's ResNet-50, a .pth or .safetensors file or a Hugging Face repository; '' = in the cache
    # checkpoint: a workdir, a checkpoint, or a file of PyTorch tensors
    weights: str = ''


@dataclasses.dataclass(unsafe_hash=True)  # hashable: a field of Flax modules
class Strf:
    """Spatio-temporal representation factorisation units (STRF, ICCV 2021; docs/strf.md)."""

    stages: tuple[int, ...] = (2, 3)  # stages (1-4) whose 3-D bottlenecks hold a unit; () = no STRF
    branches: tuple[str, ...] = (
        't_tau',
        't_sigma',
        's_tau',
        's_sigma',
    )  # any non-empty subset; tau dynamic, sigma static
    r_tau: int = 1  # pooling extent of the fine/dynamic branches, in positions or frames
    r_sigma: int = 3  # pooling extent of the coarse/static branches
    global_pool: tuple[str, ...] = ()  # branches whose pooling takes the whole extent instead of r
    avg_pool: tuple[str, ...] = ()  # branches that pool by average; the others by maximum
    avg_counts_padding: bool = True  # zeros of the border count in an average (PyTorch's default)
    pool_mode: str = 'same'  # same (stride 1) | strided (stride = extent, supplement A)
    order: str = 't_then_s'  # t_then_s | s_then_t | parallel
    location: str = '3x1x1'  # 3x1x1: before the temporal convolution | 1x3x3: before the spatial one
    kappa: float = 4.0  # factor on the covariance
    reduction: int = 16  # n: channels are reduced C -> C/n before the covariance
    softmax_axis: str = 'source'  # source | target
    # vectors of positions before their covariance: frame (length 1 in every frame, as in AP3D) | l2 (length 1 over
    # channels and frames) | centre (less their mean over positions) | none (eq. 3 to the letter)
    cov_norm: str = 'frame'
    residual: bool = False  # add the input to the sum of the branches
    branch_reduce: str = 'sum'  # sum | mean
    fam: str = 'covariance'  # covariance | none_hadamard | none_gram | none_softmax (Fig. 6a: FFM without FAM)


@dataclasses.dataclass(unsafe_hash=True)  # hashable: a field of Flax modules
class Ap3d:
    """Appearance-preserving module of the ap3d_* blocks (AP3D, ECCV 2020)."""

    temperature: float = 4.0  # factor on the cosine between a position and its neighbours in time
    reduction: int = 16  # channels are reduced C -> C/reduction before they are compared
    contrastive: bool = True  # weigh the aligned frame by how much it resembles the central one


@dataclasses.dataclass(unsafe_hash=True)  # hashable: a field of Flax modules
class NonLocal:
    """Non-local blocks on stage outputs (STRF section 3.3; placement from AP3D's code)."""

    stage2: tuple[int, ...] = ()  # bottleneck indices after which a block sits, e.g. (1, 3)
    stage3: tuple[int, ...] = ()  # e.g. (1, 3, 5)


@dataclasses.dataclass(unsafe_hash=True)  # hashable: a field of Flax modules
class Head:
    """What turns the clip feature into embedding and logits (docs/strf.md)."""

    kind: str = (
        'a'  # a: BN neck with trained shift, classifier with bias | b: frozen shift, no bias | plain: no neck, no bias
    )


@dataclasses.dataclass(unsafe_hash=True)  # hashable: a field of Flax modules
class Stmn:
    """Spatial and temporal memory networks (STMN, ICCV 2021; docs/stmn.md)."""

    sm: bool = True  # spatial memory, with its query head
    tm: str = 'memory'  # temporal weights from: memory | mlp | off (temporal mean, one stream)
    spatial_items: int = 10  # M
    temporal_items: int = 5  # N
    mlp_hidden: int = 5  # tm = mlp: hidden units (the paper's large one has 512)
    spread: str = 'mean'  # memory spread loss, over the items of a memory: mean (released code) | sum (paper) | off
    alpha: float = 0.3  # margin of the spread loss, a probability
    spread_groups: int = 1  # spread is taken over this many equal slices of the global batch (released code: per GPU)
    query_layout: str = 'position'  # position | flat (released code: rows of 16 channels x 128 positions)
    key_norm: str = 'item'  # keys of both memories are normalised per item | channel (released code: across items)
    stem_relu: bool = True  # False: no ReLU after the stem's BN (released code)


@dataclasses.dataclass(unsafe_hash=True)  # hashable: a field of Flax modules
class Sta:
    """Spatial-temporal attention without parameters (STA, AAAI 2019; docs/sta.md)."""

    mode: str = 'fusion'  # image (each frame a sample) | avg | sta (weighted sum only) | fusion (Algorithm 1)
    stripes: int = 4  # K, horizontal stripes of the feature map
    dim: int = 1024  # of the embedding
    attn_map: str = 'energy'  # energy (eq. 1) | l2 (public re-implementation)
    embed_bn: bool = False  # BN on the embedding
    embed_relu: bool = False  # ReLU on the embedding
    reg_lambda: float = 0.1  # weight of the inter-frame regularisation; 0 = off
    reg_squared: bool = False  # squared norm (the text) and not its root (eq. 7)


@dataclasses.dataclass(unsafe_hash=True)  # hashable: a field of Flax modules
class Star:
    """Spatio-temporal attention on RGB and optical flow (STAR, BMVC 2019; docs/star.md)."""

    streams: tuple[str, ...] = ('rgb', 'flow')  # what the stems see
    flow_channels: int = 2  # 2: (u, v) | 3: with the magnitude
    attention: str = 'lsta'  # frame attention: lsta | cbam | se | holistic | off
    attention_place: str = 'stage'  # once after a stage | block: in every residual block
    attention_stages: tuple[int, ...] = (1, 2, 3, 4)
    attention_reduction: int = 16  # r of the channel gates
    lsta_spatial: str = 'dilated'  # spatial gate of lsta: dilated | plain (3x3, dilation 1) | conv7 (one 7x7) | off
    lsta_shared: bool = False  # the three scales share one kernel
    aggregator: str = 'gsta'  # frames to clip: gsta | lstm | conv3d | holistic | pool
    hidden: int = 256  # channels of the recurrent state and of the 3-D convolutions
    pyramid_weight: float = 0.1  # lambda of the pyramid ranking regulariser; 0 = off
    pyramid_margin: float = 0.4  # alpha1
    pyramid_levels: tuple[int, ...] = (1, 2, 4)  # G, horizontal stripes per level
    pyramid_mine: str = 'stripe'  # hardest samples by: stripe | embedding


@dataclasses.dataclass
class Loss:
    """Objective: cross entropy + weight * batch-hard triplet (STRF eq. 9)."""

    smoothing: float = 0.0  # label smoothing epsilon of the cross entropy
    triplet: str = 'margin'  # margin | soft | off
    triplet_weight: float = 1.0
    margin: float = 0.3
    distance: str = 'cosine'  # cosine | euclidean
    triplet_on: str = 'after_neck'  # after_neck | before_neck
    mining: str = 'gather'  # gather | ring: of all devices' rows at once, or block by block (meshes of hundreds)


@dataclasses.dataclass
class Optim:
    """Adam with coupled weight decay and a schedule over epochs."""

    lr: float = 3e-4
    weight_decay: float = 5e-4  # L2, added to the gradient before Adam's moments
    schedule: str = 'step'  # step | cosine | constant
    decay_epochs: tuple[int, ...] = (50, 100, 150, 200)  # step: lr is multiplied by decay_factor at the start of each
    decay_factor: float = 0.1
    warmup_epochs: float = 0.0  # linear from warmup_factor * lr, counted in steps
    warmup_factor: float = 0.01


@dataclasses.dataclass
class Train:
    """Length, precision, seeds and bookkeeping of a run."""

    epochs: int = 250
    max_steps: int = 0  # stop early after so many steps; 0 = all epochs
    seed: int = 0
    compute_dtype: str = 'auto'  # auto (bfloat16 on accelerators, float32 on CPU) | float32 | bfloat16 | float64
    bn_groups: int = 1  # BatchNorm statistics over this many equal slices of the global batch, in order
    remat: bool = False  # recompute bottleneck activations in the backward pass
    steps_per_dispatch: int = 1  # steps that devices make without the host; for accelerators with data.store=device
    log_every_steps: int = 10
    checkpoint_every_steps: int = 500
    eval_every_epochs: int = 10  # monitoring by test.monitor_clips; 0 = only at the end


@dataclasses.dataclass
class Test:
    """How tracklets become features and features become a score (docs/protocols.md)."""

    # all_frames: consecutive clips | interleaved: clips of every n-th frame, rest dropped (STMN) | rrs: first frame of
    # each chunk | begin_crop: from the start | random, even: `frames` of all | whole: one sequence per tracklet (STAR)
    clips: str = 'all_frames'  # one of TEST_CLIPS
    also_clips: tuple[str, ...] = ()  # --mode eval and extract: further TEST_CLIPS, each with a file of its own
    monitor_clips: str = 'begin_crop'  # one of TEST_CLIPS, for the evaluations during training
    frames: int = 4  # frames per clip; whole: frames that pass the CNN at a time
    seed: int = 0  # of random clips
    flip: bool = False  # average every clip with its mirror image
    # auto (that of training, but float16 for bfloat16 unless on a TPU: as fast, finer) | float32 | bfloat16 | float16
    compute_dtype: str = 'auto'
    distance: str = 'cosine'  # cosine | euclidean
    protocols: tuple[str, ...] = ('mars-paper',)  # each is scored; the first is the headline
    batch_clips: int = 64  # clips per device batch
    references: bool = True  # synthetic: score colour alone, the untrained network and single frames beside the result
    rerank: bool = False  # score the k-reciprocal re-ranked distances (Zhong et al., CVPR 2017)
    rerank_k1: int = 20
    rerank_k2: int = 6
    rerank_lambda: float = 0.3  # weight of the original distance


@dataclasses.dataclass
class Experiment:
    """One row of a table: a system on a dataset."""

    system: str = (
        'baseline'  # baseline: C2D ... P3D-C, AP3D, with or without STRF or non-local blocks | stmn | sta | star
    )
    data: Data = dataclasses.field(default_factory=Data)
    sampler: Sampler = dataclasses.field(default_factory=Sampler)
    augment: Augment = dataclasses.field(default_factory=Augment)
    backbone: Backbone = dataclasses.field(default_factory=Backbone)
    strf: Strf = dataclasses.field(default_factory=Strf)
    ap3d: Ap3d = dataclasses.field(default_factory=Ap3d)
    nonlocal_blocks: NonLocal = dataclasses.field(default_factory=NonLocal)
    stmn: Stmn = dataclasses.field(default_factory=Stmn)
    sta: Sta = dataclasses.field(default_factory=Sta)
    star: Star = dataclasses.field(default_factory=Star)
    head: Head = dataclasses.field(default_factory=Head)
    loss: Loss = dataclasses.field(default_factory=Loss)
    optim: Optim = dataclasses.field(default_factory=Optim)
    train: Train = dataclasses.field(default_factory=Train)
    test: Test = dataclasses.field(default_factory=Test)


CHOICES: dict[str, tuple[str | int, ...]] = {
    'system': SYSTEMS,
    'data.dataset': DATASETS,
    'data.split': (*SPLITS, 'all'),
    'data.part': ('official', 'validation'),
    'data.flow': ('off', 'tvl1', 'zeros'),
    'data.flow_engine': ('opencv', 'jax'),
    'data.preset': PRESETS,
    'data.store': ('folder', 'records', 'ram', 'device'),
    'data.resize': ('bicubic', 'bilinear'),
    'data.on_corrupt_train': ('skip_frame', 'error'),
    'data.on_corrupt_eval': ('skip_frame', 'error'),
    'sampler.kind': SAMPLER_KINDS,
    'sampler.clip': TRAIN_CLIPS,
    'augment.erase_scope': ('frame', 'clip'),
    'backbone.block': BLOCKS,
    'backbone.frame_pool': ('max', 'avg'),
    'backbone.init': ('imagenet', 'checkpoint', 'rendered', 'random'),
    'strf.branches': BRANCHES,
    'strf.global_pool': BRANCHES,
    'strf.avg_pool': BRANCHES,
    'strf.pool_mode': ('same', 'strided'),
    'strf.order': ('t_then_s', 's_then_t', 'parallel'),
    'strf.location': ('3x1x1', '1x3x3'),
    'strf.softmax_axis': ('source', 'target'),
    'strf.cov_norm': ('frame', 'l2', 'centre', 'none'),
    'strf.branch_reduce': ('sum', 'mean'),
    'strf.fam': ('covariance', 'none_hadamard', 'none_gram', 'none_softmax'),
    'head.kind': ('a', 'b', 'plain'),
    'stmn.tm': ('memory', 'mlp', 'off'),
    'stmn.spread': ('mean', 'sum', 'off'),
    'stmn.query_layout': ('position', 'flat'),
    'stmn.key_norm': ('item', 'channel'),
    'sta.mode': ('image', 'avg', 'sta', 'fusion'),
    'sta.attn_map': ('energy', 'l2'),
    'star.streams': ('rgb', 'flow'),
    'star.flow_channels': (2, 3),
    'star.attention': ('lsta', 'cbam', 'se', 'holistic', 'off'),
    'star.attention_place': ('stage', 'block'),
    'star.attention_stages': (1, 2, 3, 4),
    'star.lsta_spatial': ('dilated', 'plain', 'conv7', 'off'),
    'star.aggregator': ('gsta', 'lstm', 'conv3d', 'holistic', 'pool'),
    'star.pyramid_mine': ('stripe', 'embedding'),
    'loss.triplet': ('margin', 'soft', 'off'),
    'loss.distance': ('cosine', 'euclidean'),
    'loss.triplet_on': ('after_neck', 'before_neck'),
    'loss.mining': ('gather', 'ring'),
    'optim.schedule': ('step', 'cosine', 'constant'),
    'train.compute_dtype': ('auto', 'float32', 'bfloat16', 'float64'),
    'test.clips': TEST_CLIPS,
    'test.also_clips': TEST_CLIPS,
    'test.monitor_clips': TEST_CLIPS,
    'test.compute_dtype': ('auto', 'float32', 'bfloat16', 'float16'),
    'test.distance': ('cosine', 'euclidean'),
    'test.protocols': PROTOCOLS,
}

# Smallest allowed value of the numbers that have one.
MINIMA: dict[str, float] = {
    'data.num_ids': 1,
    'data.height': 1,
    'data.width': 1,
    'data.threads': 1,
    'data.part_trial': 0,
    'data.dense_frames': 0,
    'data.dense_stride': 0,
    'data.flow_cache_mb': 0,
    'data.processes': 0,
    'data.prefetch': 1,
    'sampler.num_ids': 1,
    'sampler.tracklets_per_id': 1,
    'sampler.frames': 1,
    'sampler.stride_frames': 1,
    'augment.translate_px': 0,
    'backbone.width': 1,
    'strf.r_tau': 1,
    'strf.r_sigma': 1,
    'strf.reduction': 1,
    'strf.kappa': 0,
    'ap3d.temperature': 0,
    'ap3d.reduction': 1,
    'stmn.spatial_items': 1,
    'stmn.temporal_items': 1,
    'stmn.mlp_hidden': 1,
    'stmn.alpha': 0,
    'stmn.spread_groups': 1,
    'sta.stripes': 1,
    'sta.dim': 1,
    'sta.reg_lambda': 0,
    'star.attention_reduction': 1,
    'star.hidden': 1,
    'star.pyramid_weight': 0,
    'star.pyramid_margin': 0,
    'loss.triplet_weight': 0,
    'loss.margin': 0,
    'optim.decay_factor': 0,
    'optim.warmup_factor': 0,
    'optim.weight_decay': 0,
    'optim.warmup_epochs': 0,
    'train.epochs': 1,
    'train.max_steps': 0,
    'train.seed': 0,
    'train.bn_groups': 1,
    'train.steps_per_dispatch': 1,
    'train.log_every_steps': 1,
    'train.checkpoint_every_steps': 1,
    'train.eval_every_epochs': 0,
    'test.frames': 1,
    'test.seed': 0,
    'test.rerank_k1': 1,
    'test.rerank_k2': 1,
    'test.batch_clips': 1,
}


class ConfigError(ValueError):
    """A setting has a wrong type, an unknown value, or cannot go with another."""


def flatten(node: typing.Any, prefix: str = '') -> dict[str, typing.Any]:
    """Maps a dataclass to {'section.field': value}."""
    flat = {}
    for field in dataclasses.fields(node):
        value = getattr(node, field.name)
        if dataclasses.is_dataclass(value):
            flat.update(flatten(value, f'{prefix}{field.name}.'))
        else:
            flat[prefix + field.name] = value
    return flat


def nearest(name: typing.Any, names: typing.Iterable[typing.Any]) -> str:
    """Says ' Did you mean X?' where a name is close to a valid one, or lists the valid ones."""
    names = [str(n) for n in names]
    close = difflib.get_close_matches(str(name), names, n=1, cutoff=0.6) if len(str(name)) > 2 else []
    return f' Did you mean {close[0]!r}?' if close else f' Valid: {", ".join(names)}.'


def unknown_field(path: str) -> ConfigError:
    """The error for a setting that does not exist, e.g. 'optim.lrr'."""
    known = sorted(flatten(Experiment()))
    section = path.rpartition('.')[0]
    siblings = [k for k in known if k.rpartition('.')[0] == section]
    close = difflib.get_close_matches(path, known, n=1, cutoff=0.6)
    hint = f' Did you mean {close[0]!r}?' if close else f' Valid: {", ".join(siblings or known)}.'
    return ConfigError(f'unknown setting config.{path}.{hint}')


def _type_problem(path: str, value: typing.Any, hint: typing.Any) -> str | None:
    if typing.get_origin(hint) is tuple:
        element = typing.get_args(hint)[0]
        if not isinstance(value, tuple):
            return f'config.{path} = {value!r} is not a tuple; write e.g. --config.{path}="(1, 2)"'
        for item in value:
            if _type_problem(path, item, element):
                return f'config.{path} = {value!r} holds {item!r}, which is not of type {element.__name__}'
        return None
    accepted = (int, float) if hint is float else hint
    if not isinstance(value, accepted) or (isinstance(value, bool) and hint is not bool):
        return f'config.{path} = {value!r} has type {type(value).__name__}, expected {hint.__name__}'
    if hint is float and not math.isfinite(value):
        return f'config.{path} = {value!r} is not finite'
    return None


def _type_problems(node: typing.Any, prefix: str = '') -> list[str]:
    hints = typing.get_type_hints(type(node))
    problems = []
    for field in dataclasses.fields(node):
        value, hint, path = getattr(node, field.name), hints[field.name], prefix + field.name
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            if isinstance(value, hint):
                problems += _type_problems(value, f'{path}.')
            else:
                problems.append(f'config.{path} = {value!r} is not a {getattr(hint, "__name__", hint)} section')
        elif problem := _type_problem(path, value, hint):
            problems.append(problem)
    return problems


def _value_problems(c: Experiment) -> list[str]:
    problems = []
    flat = flatten(c)
    for path, choices in CHOICES.items():
        values = flat[path] if isinstance(flat[path], tuple) else (flat[path],)
        for value in values:
            if value not in choices:
                problems.append(f'config.{path} = {value!r} is not known.{nearest(value, choices)}')
    for path, minimum in MINIMA.items():
        if flat[path] < minimum:
            problems.append(f'config.{path} = {flat[path]} is below its minimum {minimum}')
    for path in ('augment.flip', 'augment.erase', 'loss.smoothing', 'test.rerank_lambda'):
        if not 0 <= flat[path] <= 1:
            problems.append(f'config.{path} = {flat[path]} is not between 0 and 1')
    if not 0 < c.augment.erase_area_min <= c.augment.erase_area_max <= 1:
        problems.append('config.augment.erase_area_min and _max must satisfy 0 < min <= max <= 1')
    if not 0 < c.augment.erase_aspect_min <= 1:
        problems.append(f'config.augment.erase_aspect_min = {c.augment.erase_aspect_min} is not in (0, 1]')
    if c.optim.lr <= 0:
        problems.append(f'config.optim.lr = {c.optim.lr} is not above 0')
    if len(c.backbone.depths) != 4 or len(c.backbone.strides) != 4:
        problems.append(
            f'config.backbone.depths = {c.backbone.depths} and config.backbone.strides = {c.backbone.strides} '
            'need four numbers, one per stage (a tuple given twice on the command line is appended)'
        )
    elif min(c.backbone.depths) < 1 or not set(c.backbone.strides) <= {1, 2}:
        problems.append('config.backbone.depths must be at least 1 and config.backbone.strides 1 or 2')
    for path in ('backbone.stages', 'strf.stages', 'star.attention_stages'):
        if not set(flat[path]) <= {1, 2, 3, 4} or len(set(flat[path])) != len(flat[path]):
            problems.append(f'config.{path} = {flat[path]} must name stages 1 to 4, each once')
    for path in ('strf.branches', 'test.protocols', 'star.streams', 'star.pyramid_levels'):
        if not flat[path] or len(set(flat[path])) != len(flat[path]):
            problems.append(f'config.{path} = {flat[path]} needs at least one entry, each once')
    return problems


def _combination_problems(c: Experiment) -> list[str]:
    problems = []
    clips = c.sampler.num_ids * c.sampler.tracklets_per_id
    if clips % c.train.bn_groups:
        problems.append(
            f'{clips} clips (sampler.num_ids * sampler.tracklets_per_id) do not split over train.bn_groups = '
            f'{c.train.bn_groups}; make the first a multiple of the second'
        )
    if c.strf.stages and c.backbone.block in ('c2d', *AP3D_BLOCKS):
        problems.append(
            f'config.strf.stages needs one of the blocks i3d, p3da, p3db, p3dc to host the units, not '
            f"{c.backbone.block}; set backbone.block or strf.stages='()'"
        )
    if c.train.steps_per_dispatch > (shortest := min(c.train.log_every_steps, c.train.checkpoint_every_steps)):
        problems.append(
            f'config.train.steps_per_dispatch = {c.train.steps_per_dispatch} would never be made: reports and '
            f'checkpoints end a dispatch, and train.log_every_steps or train.checkpoint_every_steps is {shortest}'
        )
    if c.train.steps_per_dispatch > 1 and c.data.store != 'device':
        problems.append(
            f'config.train.steps_per_dispatch = {c.train.steps_per_dispatch} needs frames that are on the devices: set '
            f'data.store=device, or 1 with data.store={c.data.store}'
        )
    problems += _data_problems(c)
    problems += _system_problems(c)
    if c.strf.stages and c.strf.location == '1x3x3' and c.backbone.block == 'i3d':
        problems.append("config.strf.location = '1x3x3' needs a P3D block: I3D has no separate spatial convolution")
    if c.strf.stages and c.strf.fam == 'covariance':
        for stage in c.strf.stages:
            planes = c.backbone.width * 2 ** (stage - 1)
            if planes % c.strf.reduction:
                problems.append(
                    f'strf.reduction = {c.strf.reduction} does not divide the {planes} channels of stage {stage} '
                    '(backbone.width * 2^(stage-1))'
                )
    if c.backbone.block in AP3D_BLOCKS:
        for stage in c.backbone.stages:
            planes = c.backbone.width * 2 ** (stage - 1)
            if planes % c.ap3d.reduction:
                problems.append(
                    f'ap3d.reduction = {c.ap3d.reduction} does not divide the {planes} channels of stage {stage} '
                    '(backbone.width * 2^(stage-1))'
                )
    for path, blocks, depth in (
        ('nonlocal_blocks.stage2', c.nonlocal_blocks.stage2, c.backbone.depths[1]),
        ('nonlocal_blocks.stage3', c.nonlocal_blocks.stage3, c.backbone.depths[2]),
    ):
        if any(not 0 <= b < depth for b in blocks):
            problems.append(f'config.{path} = {blocks} names a bottleneck outside 0 ... {depth - 1}')
    if c.backbone.init == 'imagenet' and (c.backbone.width != 64 or c.backbone.depths != (3, 4, 6, 3)):
        problems.append(
            'ImageNet weights exist for width 64 and depths (3, 4, 6, 3) only; ask for a random start with '
            '--config.backbone.init=random'
        )
    if (c.backbone.init == 'checkpoint') != bool(c.backbone.weights) and c.backbone.init != 'imagenet':
        problems.append(
            f'config.backbone.init = {c.backbone.init!r} with config.backbone.weights = {c.backbone.weights!r}: '
            'init=checkpoint needs the workdir, checkpoint or file to start from, random and rendered read none'
        )
    if c.loss.triplet != 'off' and c.sampler.num_ids < 2:
        problems.append('the triplet needs negatives: config.sampler.num_ids must be at least 2 (or loss.triplet=off)')
    return problems


def _data_problems(c: Experiment) -> list[str]:
    problems = []
    problems += [
        problem for entry in c.data.also if (problem := also_problem(entry, with_records=bool(c.data.records)))
    ]
    if c.data.frames_root and c.data.dataset != 'manifest':
        problems.append(f'config.data.frames_root = {c.data.frames_root!r} belongs to dataset=manifest; set data.root')
    facts = catalogue.find(c.data.dataset)
    if c.data.split not in facts.split_names():
        several = [one.name for one in catalogue.by_name().values() if one.num_splits > 1]
        has = 'one split' if facts.num_splits == 1 else f'splits 0 to {facts.num_splits - 1}'
        problems.append(
            f'config.data.split = {c.data.split} belongs to {" and ".join(several)}; {facts.name} has {has}'
        )
    if c.data.split_rule and c.data.split_rule not in (rules := [str(rule) for rule in facts.split_rules]):
        problems.append(
            f'config.data.split_rule = {c.data.split_rule!r} is no way in which {facts.name} is split. Valid: '
            + ', '.join(map(repr, ['', *rules]))
        )
    if c.data.part_trial and (c.data.part != 'validation' or facts.own_validation):
        problems.append(
            f"config.data.part_trial = {c.data.part_trial} draws the queries of data.part='validation' (where a data "
            'set has none of its own); set it to 0'
        )
    if c.data.dense_stride > c.data.dense_frames:
        problems.append(
            f'config.data.dense_stride = {c.data.dense_stride} is above data.dense_frames = {c.data.dense_frames}: '
            'frames between the pieces would be lost'
        )
    if c.data.store == 'records' and not c.data.records:
        problems.append(
            "config.data.store = 'records' needs config.data.records, the OUT of python -m data_pipelines.build"
        )
    if c.data.store == 'folder' and c.data.records:
        problems.append(
            f"config.data.records = {c.data.records!r} is not read with data.store = 'folder'; set data.store=records"
        )
    if c.data.store in ('ram', 'device') and c.data.processes:
        problems.append(
            f'config.data.store = {c.data.store!r} decodes once, in data.threads; each of data.processes = '
            f'{c.data.processes} would copy all frames: set data.processes=0'
        )
    return problems


def also_names(data: Data) -> list[str]:
    """What stands before the roots in `data.also`: 'mars', 'synthetic:tiny'."""
    return [entry.partition('=')[0] for entry in data.also]


def also_problem(entry: str, *, with_records: bool) -> str | None:
    """What is wrong with an entry of `data.also`, if anything; one without a root is read from records."""
    where, _, root = entry.partition('=')
    name, colon, detail = where.partition(':')
    start = f'config.data.also holds {entry!r}'
    if name not in DATASETS:
        return f'{start}; expected NAME=ROOT, as in mars=/path; {name!r} is no data set.{nearest(name, DATASETS)}'
    facts = catalogue.find(name)
    if colon and detail not in (details := facts.after_colon()):
        allowed = f'{", ".join(details)} may follow' if details else 'nothing may follow'
        return f'{start}; after {name!r} and a colon {allowed}, not {detail!r}'
    if not root and not facts.rendered and not with_records:
        return f'{start}; expected {where}=ROOT with the folder of the data set'
    return None


def _system_problems(c: Experiment) -> list[str]:
    problems = []
    with_flow = c.system == 'star' and 'flow' in c.star.streams
    if with_flow and c.data.flow == 'off':
        problems.append("config.star.streams holds 'flow': set config.data.flow to tvl1 or zeros")
    if not with_flow and c.data.flow != 'off':
        problems.append(f"config.data.flow = {c.data.flow!r}, but nothing looks at flow; set it to 'off'")
    if c.system != 'baseline' and (c.backbone.block != 'c2d' or c.strf.stages or c.nonlocal_blocks != NonLocal()):
        problems.append(
            f'config.system = {c.system!r} stands on C2D: set backbone.block=c2d, strf.stages="()" and no '
            'nonlocal_blocks, or system=baseline'
        )
    if 'whole' in (c.test.clips, *c.test.also_clips) and c.system != 'star':
        problems.append("config.test.clips = 'whole' (one sequence per tracklet) belongs to system = 'star'")
    if c.test.monitor_clips == 'whole' and c.system != 'star':
        problems.append("config.test.monitor_clips = 'whole' (one sequence per tracklet) belongs to system = 'star'")
    if c.system == 'stmn' and c.stmn.tm != 'off' and c.test.frames != c.sampler.frames:
        problems.append(
            f'STMN weighs exactly sampler.frames = {c.sampler.frames} frames; config.test.frames = {c.test.frames} '
            'must be the same'
        )
    if c.system == 'sta' and c.sta.reg_lambda and c.sta.mode not in ('sta', 'fusion'):
        problems.append(f'config.sta.mode = {c.sta.mode!r} has no attention maps to regularise: set sta.reg_lambda=0')
    clips = c.sampler.num_ids * c.sampler.tracklets_per_id
    if c.system == 'stmn' and clips % c.stmn.spread_groups:
        problems.append(f'{clips} clips do not split over config.stmn.spread_groups = {c.stmn.spread_groups}')
    rows = -(-c.data.height // 4)
    for stride in c.backbone.strides if len(c.backbone.strides) == 4 else ():
        rows = -(-rows // stride)
    stripes = {'sta': (c.sta.stripes,), 'star': c.star.pyramid_levels if c.star.pyramid_weight else ()}
    for count in stripes.get(c.system, ()):
        if rows % count:
            problems.append(f'{rows} rows of the last feature map do not split into {count} stripes')
    return problems


def validate(c: Experiment) -> Experiment:
    """Returns the settings unchanged, or raises with every problem found.

    Raises:
      ConfigError: wrong types, unknown values, impossible combinations; each line names the field, what was found
        and what is valid.
    """
    problems = _type_problems(c)
    problems = problems or _value_problems(c)
    problems = problems or _combination_problems(c)
    if problems:
        raise ConfigError('\n'.join(problems))
    return c


def to_dict(c: Experiment) -> dict[str, typing.Any]:
    """The settings as plain JSON-able values (tuples become lists)."""

    def plain(value):
        if isinstance(value, dict):
            return {k: plain(v) for k, v in value.items()}
        return [plain(v) for v in value] if isinstance(value, tuple | list) else value

    return plain(dataclasses.asdict(c))


def _renamed(data: dict[str, typing.Any]) -> dict[str, typing.Any]:
    """Settings of the data as they are called today: a data set's way to be split once had a name of its own."""
    data = dict(data)
    for facts in catalogue.by_name().values():
        if facts.split_rules and facts.split_rules_setting != 'split_rule':
            rule = data.pop(facts.split_rules_setting, facts.split_rules[0])
            if data.get('dataset') == facts.name and rule != facts.split_rules[0]:
                data['split_rule'] = str(rule)
    return data


def from_dict(values: dict[str, typing.Any]) -> Experiment:
    """The settings that `to_dict` wrote; what was added since then has its default.

    Raises:
      ConfigError: a setting that is not known any more, or of another type: written by something else.
    """
    experiment = Experiment()
    if not isinstance(values, dict):
        raise ConfigError(f'settings are {type(values).__name__}, expected an object: they are not of jaxreid')
    if isinstance(values.get('data'), dict):
        values = values | {'data': _renamed(values['data'])}

    def fill(node, values, prefix):
        known = {field.name for field in dataclasses.fields(node)}
        for name, value in values.items():
            if name not in known:
                raise unknown_field(prefix + name)
            if isinstance(value, dict) and dataclasses.is_dataclass(getattr(node, name)):
                fill(getattr(node, name), value, f'{prefix}{name}.')
            else:
                value = str(value) if prefix + name == 'data.split' else value  # once a number
                setattr(node, name, tuple(value) if isinstance(value, list) else value)

    fill(experiment, values, '')
    problems = _type_problems(experiment)
    if problems:
        raise ConfigError('\n'.join(problems))
    return experiment
