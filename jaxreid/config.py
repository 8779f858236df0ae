"""Every setting of an experiment: what it means, its default, what it may be, its unit and what it changes.

A file in `configs/` fills an `Experiment` with `get_config(variant)`; the command line changes single fields
(`--config.optim.lr=1e-4`); `validate` then checks types, values and combinations once. Each field is read in one place.
What is said here is said nowhere else: checks, messages, help, the page of settings, and whether a run may go on or a
result still counts (`changed`) follow from it.
"""

import dataclasses
import difflib
import functools
import math
import operator
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, TypeVar

from jaxreid.data.datasets import catalogue

DATASETS = tuple(catalogue.by_name())
SPLITS = tuple([str(i) for i in range(max(facts.num_splits for facts in catalogue.by_name().values()))])
PRESETS = tuple([preset for facts in catalogue.by_name().values() for preset in facts.presets])
_OWN_PROTOCOLS = [facts.protocol for facts in catalogue.by_name().values()]
_OF_OUTFITS = ['general', 'same-clothes', 'clothes-changing']
_PUBLISHED = ['mars-paper', 'mars-official', 'torchreid', 'ste-nvan', *_OF_OUTFITS, 'reassociation']
PROTOCOLS = tuple(dict.fromkeys([*_PUBLISHED, *_OWN_PROTOCOLS]))

Affects = Literal['network', 'training', 'test', 'nothing']  # each changes what comes after it too
EFFECTS: tuple[Affects, ...] = typing.get_args(Affects)
Ap3dBlock = Literal['ap3d_i3d', 'ap3d_a', 'ap3d_b', 'ap3d_c']  # temporal convolution over aligned frames
AP3D_BLOCKS: tuple[Ap3dBlock, ...] = typing.get_args(Ap3dBlock)
Block = Literal['c2d', 'i3d', 'p3da', 'p3db', 'p3dc', Ap3dBlock]
Branch = Literal['t_tau', 't_sigma', 's_tau', 's_sigma']
Distance = Literal['cosine', 'euclidean']
Flow = Literal['off', 'tvl1', 'zeros']
OnCorrupt = Literal['skip_frame', 'error']
Stage = Literal[1, 2, 3, 4]
Stride = Literal[1, 2]
SamplerKind = Literal[
    'tracklet_epoch',
    'tracklet_epoch_distinct',
    'camera_epoch_distinct',
    'identity_epoch',
    'identity_epoch_cameras',
    'identity_epoch_unique',
]
TestClips = Literal['all_frames', 'interleaved', 'rrs', 'begin_crop', 'random', 'even', 'whole']
TestDtype = Literal['auto', 'float32', 'bfloat16', 'float16']
T = TypeVar('T')
_TOO_LARGE = 2**32  # for any whole number: seeds are the largest that need be
_MAX_SIDE = 4096  # of a frame, in pixels; of layers and stripes, in channels and rows [choice]
_MAX_BATCH_BYTES = 2**38  # of the frames of a batch: more than any host has for it [choice]


def setting(default: T, meaning: str, unit: str = '', **facts: Any) -> T:
    """A field of a section; `facts` are those of `Setting` that its type does not tell."""
    facts |= {'meaning': meaning, 'unit': unit}
    return dataclasses.field(default=default, metadata=facts)


@typing.dataclass_transform()
def section(affects: Affects) -> Callable[[type[T]], type[T]]:
    """Makes a class of settings a dataclass, hashable since Flax modules have it as a field; `affects` is what they
    change where they do not say otherwise.
    """

    def made(cls: type[T]) -> type[T]:
        made = dataclasses.dataclass(unsafe_hash=True)(cls)
        for field in dataclasses.fields(made):  # type: ignore[arg-type]
            field.metadata = types.MappingProxyType({'affects': affects, **field.metadata})
        return made

    return made


@section(affects='training')
class Data:
    """Where the tracklets are and how their frames are read."""

    dataset: str = setting('mars', 'data set', choices=DATASETS)
    root: str = setting(
        '',
        "its folder; manifest: its .csv or .jsonl file; synthetic: where it is rendered, '' = the user's cache",
        affects='nothing',
    )
    frames_root: str = setting('', "manifest: where its paths start; '' = where it lies", affects='nothing')
    also: tuple[str, ...] = setting(
        (),
        'more data sets whose training tracklets are mixed in, NAME=ROOT each, where there are several NAME:SPLIT=ROOT '
        'or NAME:PRESET=ROOT; NAME= for one that is among the record sets of data.records',
    )
    preset: str = setting('demo', 'synthetic: its size', choices=PRESETS)
    split: str = setting('0', 'of a data set with several; all: a run each, and their mean', choices=(*SPLITS, 'all'))
    split_rule: str = setting('', "how it is split, where there are several ways (docs/data.md); '' = the usual one")
    part: Literal['official', 'validation'] = setting(
        'official', 'validation: training identities split 500/125 and queried (STMN section 4.1)'
    )
    part_trial: int = setting(0, 'validation: which random draw of 200 queries', minimum=0, affects='test')
    dense_frames: int = setting(0, 'long training tracklets are cut into such pieces; 0 = not', 'frames', minimum=0)
    dense_stride: int = setting(0, "between the pieces' first frames; 0 = dense_frames", 'frames', minimum=0)
    flow: Flow = setting('off', 'optical flow; tvl1 is computed from the frames')
    # Named, and not chosen by what is installed: flows differ by thousandths of a pixel, and a run shall be repeatable.
    flow_engine: Literal['opencv', 'jax'] = setting(
        'opencv', "opencv: on the CPU, needs OpenCV's contrib modules; jax: on the device, frames in the network's size"
    )
    flow_cache_mb: int = setting(512, 'flow in memory, per split and process', 'MiB', minimum=0, affects='nothing')
    flow_folder: str = setting(
        '', "keeps flow between runs; '' = in memory only, for synthetic beside the frames", affects='nothing'
    )
    store: Literal['folder', 'records', 'ram', 'device'] = setting(
        'folder',
        'where training frames come from. folder: the data set as downloaded; records: ArrayRecord files that '
        "data_pipelines.build made; ram: all decoded once, into host memory; device: into the devices' memory, a part "
        'on each. The last two decode, and read the test split, from data.records if set, else the folder',
        affects='nothing',
    )
    records: str = setting(
        '', 'folder or URL of record sets, which ram and device decode too; needs no data.root', affects='nothing'
    )
    num_ids: int = setting(625, 'published training ids, for --mode summary', minimum=1, affects='nothing')
    height: int = setting(256, 'of a frame', 'pixels', minimum=1, maximum=_MAX_SIDE)
    width: int = setting(128, 'of a frame', 'pixels', minimum=1, maximum=_MAX_SIDE)
    resize: Literal['bicubic', 'bilinear'] = setting('bicubic', "Pillow's filter; no-op where the size fits")
    # Where a run ends under both policies no frame was damaged: they affect nothing.
    on_corrupt_train: OnCorrupt = setting(
        'skip_frame', 'skip_frame: counted, a neighbour takes its place; error: the run stops', affects='nothing'
    )
    on_corrupt_eval: OnCorrupt = setting('error', 'as on_corrupt_train, of test frames', affects='nothing')
    threads: int = setting(2, 'decoding threads per process', minimum=1, maximum=1024, affects='nothing')
    processes: int = setting(
        0, 'decoding processes; 0 = threads of this one only', minimum=0, maximum=1024, affects='nothing'
    )
    prefetch: int = setting(4, 'decoded ahead', 'batches', minimum=1, maximum=1024, affects='nothing')


@section(affects='training')
class Sampler:
    """P identities x K tracklets x T frames of a training batch (docs/training.md)."""

    kind: SamplerKind = setting('tracklet_epoch', 'what an epoch goes through, and how a batch is drawn')
    num_ids: int = setting(8, 'P, per batch', 'identities', minimum=1)
    tracklets_per_id: int = setting(4, 'K, per identity of a batch', 'tracklets', minimum=1)
    clip: Literal['stride_crop', 'rrs', 'random', 'begin_crop', 'consecutive'] = setting(
        'stride_crop', 'which frames of a tracklet make a clip'
    )
    frames: int = setting(4, 'T, per clip', 'frames', minimum=1)
    stride_frames: int = setting(8, 'distance between sampled frames of stride_crop', 'frames', minimum=1)


@section(affects='training')
class Augment:
    """Random changes of a training clip, made on the device."""

    flip: float = setting(0.5, 'of a horizontal flip, one draw per clip', 'probability', minimum=0, maximum=1)
    erase: float = setting(0.5, 'of random erasing', 'probability', minimum=0, maximum=1)
    erase_area_min: float = setting(0.02, 'smallest rectangle', 'share of the frame', above=0, maximum=1)
    erase_area_max: float = setting(0.4, 'largest rectangle', 'share of the frame', above=0, maximum=1)
    erase_aspect_min: float = setting(0.3, 'height/width of a rectangle lies in [min, 1/min]', above=0, maximum=1)
    erase_scope: Literal['frame', 'clip'] = setting('frame', 'frame: each draws its own rectangle; clip: all share one')
    translate_px: int = setting(0, 'zero padding of a random crop, one draw per clip', 'pixels', minimum=0)


@section(affects='network')
class Backbone:
    """ResNet with optional 3-D blocks (docs/strf.md)."""

    block: Block = setting('p3dc', 'what replaces the middle convolution of the chosen bottlenecks')
    stages: tuple[Stage, ...] = setting((2, 3), 'that replace it: in every other bottleneck, from 0', entries='once')
    width: int = setting(
        64, 'of stage 1; stages 2-4 have 2, 4, 8 times as many', 'planes', minimum=1, maximum=_MAX_SIDE
    )
    depths: tuple[int, int, int, int] = setting((3, 4, 6, 3), 'per stage', 'bottlenecks', minimum=1, maximum=512)
    strides: tuple[Stride, Stride, Stride, Stride] = setting((1, 2, 2, 1), 'per stage; the last: "last stride"')
    frame_pool: Literal['max', 'avg'] = setting('max', "spatial pooling of a frame's last feature map")
    init: Literal['imagenet', 'clip', 'checkpoint', 'rendered', 'random'] = setting(
        'imagenet',
        'first parameters. clip: its image tower, for a ViT; checkpoint: whatever of another network fits by name and '
        'shape; rendered: a small C2D, or ViT, trained on rendered people of its own, made in the cache on first use',
        affects='training',
    )
    weights: str = setting(
        '',
        "imagenet: torchvision's ResNet-50, clip: CLIP's ViT-B/16, a .pth or .safetensors file or a Hugging Face "
        "repository, '' = in the cache; checkpoint: a workdir, a checkpoint, a published folder, hf:OWNER/NAME or "
        'hf:OWNER/NAME@REVISION, or a file of PyTorch tensors',
        affects='training',
    )


@section(affects='network')
class Strf:
    """Spatio-temporal representation factorisation units (STRF, ICCV 2021; docs/strf.md)."""

    stages: tuple[Stage, ...] = setting((2, 3), 'whose 3-D bottlenecks hold a unit; () = no STRF', entries='once')
    branches: tuple[Branch, ...] = setting(
        ('t_tau', 't_sigma', 's_tau', 's_sigma'), 'parts of a unit; tau dynamic, sigma static', entries='some'
    )
    r_tau: int = setting(1, 'pooling extent of the fine/dynamic branches', 'positions or frames', minimum=1)
    r_sigma: int = setting(3, 'pooling extent of the coarse/static branches', 'positions or frames', minimum=1)
    global_pool: tuple[Branch, ...] = setting((), 'branches whose pooling takes the whole extent instead of r')
    avg_pool: tuple[Branch, ...] = setting((), 'branches that pool by average; the others by maximum')
    avg_counts_padding: bool = setting(True, "zeros of the border count in an average (PyTorch's default)")
    pool_mode: Literal['same', 'strided'] = setting('same', 'stride 1, or the extent: strided (supplement A)')
    order: Literal['t_then_s', 's_then_t', 'parallel'] = setting('t_then_s', 'of temporal and spatial branches')
    location: Literal['3x1x1', '1x3x3'] = setting('3x1x1', 'before the temporal convolution, or the spatial: 1x3x3')
    kappa: float = setting(4.0, 'factor on the covariance', minimum=0)
    reduction: int = setting(16, 'n: channels are reduced C -> C/n before the covariance', minimum=1)
    softmax_axis: Literal['source', 'target'] = setting('source', 'positions over which the weights sum to 1')
    cov_norm: Literal['frame', 'l2', 'centre', 'none'] = setting(
        'frame',
        'vectors of positions before their covariance: frame (length 1 in every frame, as in AP3D), l2 (length 1 over '
        'channels and frames), centre (less their mean over positions), none (eq. 3 to the letter)',
    )
    residual: bool = setting(False, 'add the input to the sum of the branches')
    branch_reduce: Literal['sum', 'mean'] = setting('sum', 'what joins the branches')
    fam: Literal['covariance', 'none_hadamard', 'none_gram', 'none_softmax'] = setting(
        'covariance', 'none_...: FFM without FAM (Fig. 6a)'
    )


@section(affects='network')
class Ap3d:
    """Appearance-preserving module of the ap3d_* blocks (AP3D, ECCV 2020)."""

    temperature: float = setting(4.0, 'factor on the cosine of a position and its neighbours in time', minimum=0)
    reduction: int = setting(16, 'channels are reduced C -> C/reduction before they are compared', minimum=1)
    contrastive: bool = setting(True, 'weigh the aligned frame by how much it resembles the central one')


@section(affects='network')
class NonLocal:
    """Non-local blocks on stage outputs (STRF section 3.3; placement from AP3D's code)."""

    stage2: tuple[int, ...] = setting((), 'indices of bottlenecks after which a block sits, e.g. (1, 3)')
    stage3: tuple[int, ...] = setting((), 'as stage2, e.g. (1, 3, 5)')


@section(affects='network')
class Head:
    """What turns the clip feature into embedding and logits (docs/strf.md)."""

    kind: Literal['a', 'b', 'plain'] = setting(
        'a', 'a: BN neck with trained shift, classifier with bias; b: frozen shift, no bias; plain: no neck, no bias'
    )


@section(affects='network')
class Stmn:
    """Spatial and temporal memory networks (STMN, ICCV 2021; docs/stmn.md)."""

    sm: bool = setting(True, 'spatial memory, with its query head')
    tm: Literal['memory', 'mlp', 'off'] = setting('memory', 'gives temporal weights; off: mean, one stream')
    spatial_items: int = setting(10, 'M, of the spatial memory', 'items', minimum=1, maximum=_MAX_SIDE)
    temporal_items: int = setting(5, 'N, of the temporal memory', 'items', minimum=1, maximum=_MAX_SIDE)
    mlp_hidden: int = setting(
        5, "tm = mlp: hidden layer (the paper's large one has 512)", 'units', minimum=1, maximum=_MAX_SIDE
    )
    spread: Literal['mean', 'sum', 'off'] = setting(
        'mean', 'memory spread loss, over the items of a memory: mean (released code), sum (paper)', affects='training'
    )
    alpha: float = setting(0.3, 'margin of the spread loss', 'probability', minimum=0, affects='training')
    spread_groups: int = setting(
        1, 'equal slices of the global batch that spread is taken over (code: per GPU)', minimum=1, affects='training'
    )
    query_layout: Literal['position', 'flat'] = setting(
        'position', 'flat: rows of 16 channels x 128 positions (released code)'
    )
    key_norm: Literal['item', 'channel'] = setting('item', 'of both memories; channel: across items (released code)')
    stem_relu: bool = setting(True, "False: no ReLU after the stem's BN (released code)")
    scale_start: float = setting(
        0.0, "of the spatial memory's BN, before training; 0: changes nothing at first", affects='training'
    )


@section(affects='network')
class Sta:
    """Spatial-temporal attention without parameters (STA, AAAI 2019; docs/sta.md)."""

    mode: Literal['image', 'avg', 'sta', 'fusion'] = setting(
        'fusion', 'image: each frame a sample; sta: weighted sum only; fusion: Algorithm 1'
    )
    stripes: int = setting(4, 'K, of the feature map', 'horizontal stripes', minimum=1)
    dim: int = setting(1024, 'of the embedding', minimum=1, maximum=2**16)
    attn_map: Literal['energy', 'l2'] = setting('energy', 'energy: eq. 1; l2: public re-implementation')
    embed_bn: bool = setting(False, 'BN on the embedding')
    embed_relu: bool = setting(False, 'ReLU on the embedding')
    reg_lambda: float = setting(0.1, 'of the inter-frame regularisation; 0 = off', minimum=0, affects='training')
    reg_squared: bool = setting(False, 'squared norm (the text) and not its root (eq. 7)', affects='training')


@section(affects='network')
class Star:
    """Spatio-temporal attention on RGB and optical flow (STAR, BMVC 2019; docs/star.md)."""

    streams: tuple[Literal['rgb', 'flow'], ...] = setting(('rgb', 'flow'), 'what the stems see', entries='some')
    flow_channels: Literal[2, 3] = setting(2, '2: (u, v); 3: with the magnitude', 'channels')
    attention: Literal['lsta', 'cbam', 'se', 'holistic', 'off'] = setting('lsta', 'frame attention')
    gates: Literal['identity', 'sigmoid'] = setting(
        'identity', 'how frame attention starts; identity: changes nothing; sigmoid: random masks (the letter)'
    )
    attention_place: Literal['stage', 'block'] = setting('stage', 'once after a stage, or in every residual block')
    attention_stages: tuple[Stage, ...] = setting((1, 2, 3, 4), 'that have frame attention', entries='once')
    attention_reduction: int = setting(16, 'r of the channel gates', minimum=1)
    lsta_spatial: Literal['dilated', 'plain', 'conv7', 'off'] = setting(
        'dilated', 'spatial gate of lsta; plain: 3x3, dilation 1; conv7: one 7x7'
    )
    lsta_shared: bool = setting(False, 'the three scales share one kernel')
    aggregator: Literal['gsta', 'lstm', 'conv3d', 'holistic', 'pool'] = setting('gsta', 'frames to clip')
    hidden: int = setting(
        256, 'of the recurrent state and of the 3-D convolutions', 'channels', minimum=1, maximum=_MAX_SIDE
    )
    pyramid_weight: float = setting(0.1, 'lambda of the ranking regulariser; 0 = off', minimum=0, affects='training')
    pyramid_margin: float = setting(0.4, 'alpha1', minimum=0, affects='training')
    pyramid_levels: tuple[int, ...] = setting(
        (1, 2, 4), 'G, per level', 'horizontal stripes', minimum=1, entries='some', affects='training'
    )
    pyramid_mine: Literal['stripe', 'embedding'] = setting('stripe', 'tells the hardest samples', affects='training')


@section(affects='network')
class Sinet:
    """Salient-to-broad transition and integration-distribution (SINet, CVPR 2022; docs/sinet.md)."""

    idm: tuple[int, ...] = setting(
        (1, 3), 'bottlenecks of stage 2 that an IDM follows, which fixes the clips', minimum=0
    )
    sbm: tuple[int, ...] = setting(
        (1, 3, 5),
        'bottlenecks of stage 3 that an SBM follows; the first has 1 salient frame of 4, the next 2, then 3',
        minimum=0,
    )
    reduction: int = setting(16, 'of the channels, and of the positions, in an IDM', minimum=1)
    beta: float = setting(5.0, 'steepness of the suppression in an SBM', minimum=0)
    alpha: float = setting(0.1, "share of the other frames' mean in an SBM", minimum=0)
    contrast_weight: float = setting(0.001, 'of the InfoNCE over frames; 0 = off, without its projection', minimum=0)
    temperature: float = setting(0.07, 'of that InfoNCE', above=0, affects='training')
    stem_padding: bool = setting(True, "False: none around the stem's maximum (released code)")


@section(affects='network')
class Vit:
    """CLIP's image tower, a vision transformer (docs/tfclip.md)."""

    width: int = setting(768, 'of a token', 'channels', minimum=1, maximum=2**16)
    depth: int = setting(12, 'of the tower', 'blocks', minimum=1, maximum=512)
    heads: int = setting(12, 'of attention; they divide the width', minimum=1, maximum=512)
    patch: int = setting(16, 'side of a patch; it divides height and width of a frame', 'pixels', minimum=1)
    adapters: int = setting(
        0, 'hidden channels of the adapters of every block (VSLA-CLIP), 0 = none; 4 heads', minimum=0, maximum=2**16
    )
    projection: int = setting(512, 'of a token in the space that CLIP shares with text', 'channels', minimum=1)


@section(affects='network')
class Tfclip:
    """TF-CLIP (AAAI 2024; docs/tfclip.md)."""

    memory: bool = setting(True, 'teach the projection by the CLIP memory of the training identities')
    ssp: bool = setting(True, 'change the memory by what a clip shows; needs memory')
    tmd: bool = setting(True, 'temporal memory diffusion, with its part of the feature')
    cameras: int = setting(6, 'embeddings of cameras, beside the class token; 0 = none', minimum=0, maximum=2**16)
    cameras_at_test: bool = setting(True, 'the embeddings also at test time, as in the released code', affects='test')
    dropout: float = setting(0.1, 'in SSP', 'probability', minimum=0, maximum=0.99, affects='training')


@section(affects='training')
class Loss:
    """Objective: cross entropy + weight * batch-hard triplet (STRF eq. 9)."""

    identity_weight: float = setting(1.0, 'of the cross entropy of each stream', minimum=0)
    smoothing: float = setting(0.0, 'label smoothing epsilon of the cross entropy', minimum=0, maximum=1)
    triplet: Literal['margin', 'soft', 'off'] = setting('margin', 'soft: without a margin')
    triplet_weight: float = setting(1.0, 'of the triplet term', minimum=0)
    margin: float = setting(0.3, 'of triplet = margin', minimum=0)
    distance: Distance = setting('cosine', 'between features in the triplet')
    triplet_on: Literal['after_neck', 'before_neck'] = setting('after_neck', 'the feature that the triplet sees')
    mining: Literal['gather', 'ring'] = setting(
        'gather', "of all devices' rows at once, or block by block: ring (meshes of hundreds)", affects='nothing'
    )


@section(affects='training')
class Optim:
    """Adam with coupled weight decay and a schedule over epochs."""

    lr: float = setting(3e-4, 'learning rate', above=0)
    memory_rate: float = setting(
        1.0, "factor on the learning rate of the keys, values and BN of STMN's memories", above=0
    )
    trunk_rate: float = setting(1.0, 'factor on the learning rate of ResNet or ViT, of what is not frozen', above=0)
    bias_rate: float = setting(1.0, 'factor on the learning rate of shifts, those of norms too', above=0)
    tenfold: tuple[Literal['ssp', 'tmd', 'classifier_tmd'], ...] = setting(
        (), 'modules of TF-CLIP with ten times the learning rate', entries='once'
    )
    frozen_stages: tuple[Literal[0, 1, 2, 3, 4], ...] = setting(
        (),
        'of the ResNet, 0 is the stem, or a ViT but for its adapters: they stay; BN statistics follow the data',
        entries='once',
    )
    weight_decay: float = setting(5e-4, "L2, added to the gradient before Adam's moments", minimum=0)
    schedule: Literal['step', 'cosine', 'constant'] = setting('step', 'of the learning rate')
    decay_epochs: tuple[int, ...] = setting((50, 100, 150, 200), 'step: at whose start lr drops', 'epochs')
    decay_factor: float = setting(0.1, 'step: what lr is multiplied by', minimum=0)
    warmup_epochs: float = setting(0.0, 'linear from warmup_factor * lr, counted in steps', 'epochs', minimum=0)
    warmup_factor: float = setting(0.01, 'see warmup_epochs', minimum=0)


@section(affects='training')
class Train:
    """Length, precision, seeds and bookkeeping of a run."""

    epochs: int = setting(250, 'length of the run', 'epochs', minimum=1)
    max_steps: int = setting(0, 'stop early after so many; 0 = all epochs', 'steps', minimum=0)
    seed: int = setting(0, 'of parameters, batches and augmentation', minimum=0)
    compute_dtype: Literal['auto', 'float32', 'bfloat16', 'float64'] = setting(
        'auto', 'auto: bfloat16 on accelerators, float32 on CPU'
    )
    bn_groups: int = setting(1, 'equal slices of the global batch, in order, each with its own statistics', minimum=1)
    remat: bool = setting(False, 'recompute bottleneck activations in the backward pass', affects='nothing')
    steps_per_dispatch: int = setting(
        1, 'made without the host; for accelerators with data.store=device', 'steps', minimum=1, affects='nothing'
    )
    log_every_steps: int = setting(10, 'between reports', 'steps', minimum=1, affects='nothing')
    checkpoint_every_steps: int = setting(500, 'between checkpoints', 'steps', minimum=1, affects='nothing')
    eval_every_epochs: int = setting(10, 'of monitoring; 0 = only at the end', 'epochs', minimum=0, affects='nothing')


@section(affects='test')
class Test:
    """How tracklets become features and features become a score (docs/protocols.md)."""

    clips: TestClips = setting(
        'all_frames',
        'all_frames: consecutive clips; interleaved: clips of every n-th frame, rest dropped (STMN); rrs: first frame '
        'of each chunk; begin_crop: from the start; random, even: test.frames of all; whole: one sequence per tracklet '
        '(STAR)',
    )
    also_clips: tuple[TestClips, ...] = setting((), '--mode eval, extract: more clips, each with a file of its own')
    monitor_clips: TestClips = setting('begin_crop', 'of the evaluations during training', affects='nothing')
    frames: int = setting(4, 'per clip; whole: that pass the CNN at a time', 'frames', minimum=1)
    seed: int = setting(0, 'of random clips', minimum=0)
    flip: bool = setting(False, 'average every clip with its mirror image')
    compute_dtype: TestDtype = setting(
        'auto', 'auto: that of training, but float16 for bfloat16 unless on a TPU: as fast, finer'
    )
    distance: Distance = setting('cosine', 'between features')
    protocols: tuple[str, ...] = setting(
        ('mars-paper',), 'each is scored; the first is the headline', choices=PROTOCOLS, entries='some'
    )
    batch_clips: int = setting(64, 'per device batch', 'clips', minimum=1, affects='nothing')
    references: bool = setting(
        True, 'synthetic: score colour alone, the untrained network and single frames beside it', affects='nothing'
    )
    rerank: bool = setting(False, 'score the k-reciprocal re-ranked distances (Zhong et al., CVPR 2017)')
    rerank_k1: int = setting(20, 'nearest neighbours among which mutual ones are looked for', minimum=1)
    rerank_k2: int = setting(6, 'neighbours that are averaged over', minimum=1)
    rerank_lambda: float = setting(0.3, 'weight of the original distance', minimum=0, maximum=1)


@section(affects='network')
class Experiment:
    """One row of a table: a system on a dataset."""

    system: Literal['baseline', 'stmn', 'sta', 'star', 'sinet', 'tfclip'] = setting(
        'baseline', 'baseline: C2D ... P3D-C, AP3D, with or without STRF or non-local blocks'
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
    sinet: Sinet = dataclasses.field(default_factory=Sinet)
    tfclip: Tfclip = dataclasses.field(default_factory=Tfclip)
    vit: Vit = dataclasses.field(default_factory=Vit)
    head: Head = dataclasses.field(default_factory=Head)
    loss: Loss = dataclasses.field(default_factory=Loss)
    optim: Optim = dataclasses.field(default_factory=Optim)
    train: Train = dataclasses.field(default_factory=Train)
    test: Test = dataclasses.field(default_factory=Test)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """What is known of a setting."""

    section: str  # '' of `system`
    name: str
    default: Any
    kind: type  # bool, int, float or str; of a tuple: of its entries
    is_tuple: bool
    length: int | None  # of a tuple that always has so many entries
    choices: tuple[Any, ...]  # empty where they are not listed
    meaning: str
    unit: str
    # What else comes out where the setting is another: another network (so also another training and test) | another
    # training of the same network | another test of the same parameters | nothing: numbers are the same but for
    # rounding, as on another number of devices.
    affects: Affects
    minimum: float | None = None  # of the number, or of each in the tuple
    above: float | None = None  # a minimum that is not allowed itself
    maximum: float | None = None
    entries: Literal['any', 'once', 'some'] = 'any'  # of a tuple. once: none twice | some: and at least one

    @property
    def path(self) -> str:
        """'optim.lr'."""
        return f'{self.section}.{self.name}'.removeprefix('.')

    @property
    def bounds(self) -> list[tuple[str, Callable, float]]:
        """Words, comparison and number of each bound."""
        lower = ('at least', operator.ge, self.minimum), ('above', operator.gt, self.above)
        found = *lower, ('at most', operator.le, self.maximum)
        return [(words, holds, number) for words, holds, number in found if number is not None]

    @property
    def allowed(self) -> str:
        """What it may be, in words; '' where every value of its type will do."""
        return ' | '.join(map(str, self.choices)) or ' and '.join(f'{words} {n}' for words, _, n in self.bounds)


@functools.cache
def sections() -> dict[str, type]:
    """Name of every section -> its class."""
    return {name: kind for name, kind in typing.get_type_hints(Experiment).items() if name != 'system'}


@functools.cache
def settings() -> dict[str, Setting]:
    """Every setting by its path, 'system' and 'data.dataset' to 'test.rerank_lambda'."""
    found = [
        _setting(name, field, hint)
        for name, node in ({'': Experiment} | sections()).items()
        for field, hint in zip(dataclasses.fields(node), typing.get_type_hints(node).values(), strict=True)
        if 'meaning' in field.metadata
    ]
    return {one.path: one for one in found}


def _setting(section: str, field: dataclasses.Field, hint: Any) -> Setting:
    is_tuple, arguments = typing.get_origin(hint) is tuple, typing.get_args(hint)
    entry = arguments[0] if is_tuple else hint
    choices = typing.get_args(entry)
    facts = {
        'kind': type(choices[0]) if choices else entry,
        'is_tuple': is_tuple,
        'length': len(arguments) if is_tuple and Ellipsis not in arguments else None,
        'choices': choices,
        **field.metadata,
    }
    return Setting(section=section, name=field.name, default=field.default, **facts)


def choices(path: str) -> tuple[Any, ...]:
    """What the setting may be, or an entry of it."""
    return settings()[path].choices


class ConfigError(ValueError):
    """A setting has a wrong type, an unknown value, or cannot go with another."""


def flatten(node: Any, prefix: str = '') -> dict[str, Any]:
    """Maps a dataclass to {'section.field': value}."""
    flat = {}
    for field in dataclasses.fields(node):
        value = getattr(node, field.name)
        if dataclasses.is_dataclass(value):
            flat.update(flatten(value, f'{prefix}{field.name}.'))
        else:
            flat[prefix + field.name] = value
    return flat


def apply(experiment: Experiment, changes: Mapping[str, Any]) -> None:
    """Sets settings, or whole sections, by path, in place. Raises ConfigError: no such setting; names the nearest."""
    for path, value in changes.items():
        if path not in settings() and path not in sections():
            raise unknown_field(path)
        section, _, name = path.rpartition('.')
        setattr(getattr(experiment, section) if section else experiment, name, value)


def nearest(name: Any, names: Iterable[Any], listed: Iterable[Any] = ()) -> str:
    """Says ' Did you mean X?' where a name is close to a valid one, or lists the valid ones (or those `listed`)."""
    names = [str(n) for n in names]
    close = difflib.get_close_matches(str(name), names, n=1, cutoff=0.6) if len(str(name)) > 2 else []
    return f' Did you mean {close[0]!r}?' if close else f' Valid: {", ".join(map(str, listed or names))}.'


def unknown_field(path: str) -> ConfigError:
    """The error for a setting that does not exist, e.g. 'optim.lrr'."""
    known = sorted(settings())
    section = path.rpartition('.')[0]
    siblings = [k for k in known if k.rpartition('.')[0] == section]
    return ConfigError(f'unknown setting config.{path}.{nearest(path, known, siblings)}')


def unknown(path: str, value: Any) -> ConfigError:
    """The error for a setting, or an entry of it, that is none of its choices; names the nearest."""
    return ConfigError(f'config.{path} = {value!r} is not known.{nearest(value, choices(path))}')


def sections_of(c: Experiment) -> list[str]:
    """The sections that matter to a system: not those of others, nor of blocks that it has none of."""
    own = {'baseline': {'strf', 'nonlocal_blocks'} | ({'ap3d'} if c.backbone.block in AP3D_BLOCKS else set())}
    own['tfclip'] = {'tfclip', 'vit'}
    others = {'strf', 'nonlocal_blocks', 'ap3d', 'vit', *choices('system')} - own.get(c.system, {c.system})
    return [name for name in sections() if name not in others]


def with_cameras(c: Experiment, *, train: bool) -> bool:
    """Whether the network is told which camera a clip is from."""
    return c.system == 'tfclip' and c.tfclip.cameras > 0 and (train or c.tfclip.cameras_at_test)


def has_fixed_length(c: Experiment) -> bool:
    """Whether the network takes clips of exactly `sampler.frames` frames: it has weights for each."""
    return {'stmn': c.stmn.tm != 'off', 'sinet': bool(c.sinet.idm)}.get(c.system, False)


def deciding(c: Experiment, what: Affects) -> dict[str, Any]:
    """The settings, by path, that decide what the network is, how it is trained (with the former), or a test's result.

    Where they are equal the 'network', the 'training' or the 'test' is the same, but for rounding.
    """
    effects, matters = EFFECTS[: EFFECTS.index(what) + 1], ('', *sections_of(c))
    flat = flatten(c) | {'data.also': tuple(also_names(c.data))}  # from other folders they are the same
    if c.backbone.init != 'checkpoint':
        flat['backbone.weights'] = ''  # of one published network, wherever they lie
    return {k: flat[k] for k, one in settings().items() if one.affects in effects and one.section in matters}


def changed(before: Experiment, now: Experiment, what: Affects) -> dict[str, str]:
    """Setting -> what it was and is, of those in `deciding` that differ."""
    old, new = deciding(before, what), deciding(now, what)
    return {
        path: f'config.{path}: {old[path]!r} before, {new[path]!r} now'
        for path in sorted(old.keys() & new.keys())
        if old[path] != new[path]
    }


def changed_amid_run(before: Experiment, now: Experiment) -> dict[str, str]:
    """`changed` of the training, but for its length: a cosine may only become longer."""
    other_end = now.optim.schedule != 'cosine' or now.train.epochs > before.train.epochs
    length = {'train.max_steps'} | ({'train.epochs'} if other_end else set())
    return {path: line for path, line in changed(before, now, 'training').items() if path not in length}


def _type_problem(one: Setting, value: Any) -> str | None:
    path, kind = one.path, one.kind
    if one.is_tuple and not isinstance(value, tuple):
        return f'config.{path} = {value!r} is not a tuple; write e.g. --config.{path}="(1, 2)"'
    accepted: Any = (int, float) if kind is float else kind
    for item in value if one.is_tuple else (value,):
        if not isinstance(item, accepted) or (isinstance(item, bool) and kind is not bool):
            if one.is_tuple:
                return f'config.{path} = {value!r} holds {item!r}, which is not of type {kind.__name__}'
            return f'config.{path} = {value!r} has type {type(value).__name__}, expected {kind.__name__}'
        if isinstance(item, int) and abs(item) >= _TOO_LARGE:
            return f'config.{path} = {value!s:.60} is too large; expected less than 2^32 = {_TOO_LARGE}'
        if kind is float and not math.isfinite(item):
            return f'config.{path} = {value!r} is not finite'
    return None


def _type_problems(c: Experiment) -> list[str]:
    flat = flatten(c)
    problems = [_type_problem(one, flat[path]) for path, one in settings().items() if path in flat]
    return [problem for problem in problems if problem] + [
        f'config.{name} = {getattr(c, name)!r} is not a {kind.__name__} section'
        for name, kind in sections().items()
        if not isinstance(getattr(c, name), kind)
    ]


def _value_problems(one: Setting, value: Any) -> Iterator[str]:
    path, items = one.path, value if one.is_tuple else (value,)
    if one.choices:
        yield from (str(unknown(path, item)) for item in items if item not in one.choices)
    elif not all(holds(item, bound) for item in items for _, holds, bound in one.bounds):
        yield f'config.{path} = {value} is not {one.allowed}'
    if one.length not in (None, len(items)):
        yield f'config.{path} = {value} has {len(items)} entries, expected {one.length}'
    if one.entries != 'any' and len(set(items)) != len(items):
        yield f'config.{path} = {value} holds an entry twice, expected each once'
    if one.entries == 'some' and not items:
        yield f'config.{path} = () is empty, expected at least one entry'


def _combination_problems(c: Experiment) -> Iterator[str]:
    if c.augment.erase_area_min > c.augment.erase_area_max:
        yield 'config.augment.erase_area_min and _max must satisfy min <= max'
    clips = c.sampler.num_ids * c.sampler.tracklets_per_id
    batches = {'sampler': (clips, c.sampler.frames), 'test': (c.test.batch_clips, c.test.frames)}
    for name, (count, frames) in batches.items():
        if (size := 3 * count * frames * c.data.height * c.data.width) > _MAX_BATCH_BYTES:
            yield (
                f'config.{name}: {count} clips of {frames} frames of {c.data.height}x{c.data.width} pixels are '
                f'{size >> 30} GiB a batch, more than {_MAX_BATCH_BYTES >> 30}; choose smaller ones'
            )
    if clips % c.train.bn_groups:
        yield (
            f'{clips} clips (sampler.num_ids * sampler.tracklets_per_id) do not split over train.bn_groups = '
            f'{c.train.bn_groups}; make the first a multiple of the second'
        )
    if c.strf.stages and c.backbone.block in ('c2d', *AP3D_BLOCKS):
        yield (
            f'config.strf.stages needs one of the blocks i3d, p3da, p3db, p3dc to host the units, not '
            f"{c.backbone.block}; set backbone.block or strf.stages='()'"
        )
    if c.train.steps_per_dispatch > (shortest := min(c.train.log_every_steps, c.train.checkpoint_every_steps)):
        yield (
            f'config.train.steps_per_dispatch = {c.train.steps_per_dispatch} would never be made: reports and '
            f'checkpoints end a dispatch, and train.log_every_steps or train.checkpoint_every_steps is {shortest}'
        )
    if c.train.steps_per_dispatch > 1 and c.data.store != 'device':
        yield (
            f'config.train.steps_per_dispatch = {c.train.steps_per_dispatch} needs frames that are on the devices: set '
            f'data.store=device, or 1 with data.store={c.data.store}'
        )
    yield from _data_problems(c)
    yield from _system_problems(c)
    if c.strf.stages and c.strf.location == '1x3x3' and c.backbone.block == 'i3d':
        yield "config.strf.location = '1x3x3' needs a P3D block: I3D has no separate spatial convolution"
    for path, stages, reduction in (
        ('strf', c.strf.stages if c.strf.fam == 'covariance' else (), c.strf.reduction),
        ('ap3d', c.backbone.stages if c.backbone.block in AP3D_BLOCKS else (), c.ap3d.reduction),
    ):
        for stage in stages:
            if (planes := c.backbone.width * 2 ** (stage - 1)) % reduction:
                yield (
                    f'{path}.reduction = {reduction} does not divide the {planes} channels of stage {stage} '
                    '(backbone.width * 2^(stage-1))'
                )
    for path, blocks, depth in (
        ('nonlocal_blocks.stage2', c.nonlocal_blocks.stage2, c.backbone.depths[1]),
        ('nonlocal_blocks.stage3', c.nonlocal_blocks.stage3, c.backbone.depths[2]),
        ('sinet.idm', c.sinet.idm if c.system == 'sinet' else (), c.backbone.depths[1]),
        ('sinet.sbm', c.sinet.sbm if c.system == 'sinet' else (), c.backbone.depths[2]),
    ):
        if any(not 0 <= b < depth for b in blocks):
            yield f'config.{path} = {blocks} names a bottleneck outside 0 ... {depth - 1}'
    if c.backbone.init == {'tfclip': 'imagenet'}.get(c.system, 'clip'):
        stands_on, start = ('ViT', 'clip') if c.system == 'tfclip' else ('ResNet', 'imagenet')
        yield (
            f'config.backbone.init = {c.backbone.init!r}, but system = {c.system!r} stands on a {stands_on}: set it to '
            f'{start}, checkpoint, rendered or random'
        )
    if c.backbone.init == 'imagenet' and (c.backbone.width != 64 or c.backbone.depths != (3, 4, 6, 3)):
        yield (
            'ImageNet weights exist for width 64 and depths (3, 4, 6, 3) only; ask for a random start with '
            '--config.backbone.init=random'
        )
    if (c.backbone.init == 'checkpoint') != bool(c.backbone.weights) and c.backbone.init not in ('imagenet', 'clip'):
        yield (
            f'config.backbone.init = {c.backbone.init!r} with config.backbone.weights = {c.backbone.weights!r}: '
            'init=checkpoint needs the workdir, folder or file to start from, random and rendered read none'
        )
    if c.loss.triplet != 'off' and c.sampler.num_ids < 2:
        yield 'the triplet needs negatives: config.sampler.num_ids must be at least 2 (or loss.triplet=off)'


def _data_problems(c: Experiment) -> Iterator[str]:
    found = (also_problem(entry, with_records=bool(c.data.records)) for entry in c.data.also)
    yield from filter(None, found)
    if c.data.frames_root and c.data.dataset != 'manifest':
        yield f'config.data.frames_root = {c.data.frames_root!r} belongs to dataset=manifest; set data.root'
    facts = catalogue.find(c.data.dataset)
    if c.data.split not in facts.split_names():
        several = [one.name for one in catalogue.by_name().values() if one.num_splits > 1]
        has = 'one split' if facts.num_splits == 1 else f'splits 0 to {facts.num_splits - 1}'
        yield f'config.data.split = {c.data.split} belongs to {" and ".join(several)}; {facts.name} has {has}'
    if c.data.split_rule and c.data.split_rule not in (rules := [str(rule) for rule in facts.split_rules]):
        yield (
            f'config.data.split_rule = {c.data.split_rule!r} is no way in which {facts.name} is split. Valid: '
            + ', '.join(map(repr, ['', *rules]))
        )
    if c.data.part_trial and (c.data.part != 'validation' or facts.own_validation):
        yield (
            f"config.data.part_trial = {c.data.part_trial} draws the queries of data.part='validation' (where a data "
            'set has none of its own); set it to 0'
        )
    if c.data.dense_stride > c.data.dense_frames:
        yield (
            f'config.data.dense_stride = {c.data.dense_stride} is above data.dense_frames = {c.data.dense_frames}: '
            'frames between the pieces would be lost'
        )
    if c.data.store == 'records' and not c.data.records:
        yield 'config.data.store=records needs config.data.records, the OUT of python -m jaxreid.data_pipelines.build'
    if c.data.store == 'folder' and c.data.records:
        yield (
            f"config.data.records = {c.data.records!r} is not read with data.store = 'folder'; set data.store=records"
        )
    if c.data.store in ('ram', 'device') and c.data.processes:
        yield (
            f'config.data.store = {c.data.store!r} decodes once, in data.threads; each of data.processes = '
            f'{c.data.processes} would copy all frames: set data.processes=0'
        )


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


def _system_problems(c: Experiment) -> Iterator[str]:
    with_flow = c.system == 'star' and 'flow' in c.star.streams
    if with_flow and c.data.flow == 'off':
        yield "config.star.streams holds 'flow': set config.data.flow to tvl1 or zeros"
    if not with_flow and c.data.flow != 'off':
        yield f"config.data.flow = {c.data.flow!r}, but nothing looks at flow; set it to 'off'"
    if c.system != 'baseline' and (c.backbone.block != 'c2d' or c.strf.stages or c.nonlocal_blocks != NonLocal()):
        yield (
            f'config.system = {c.system!r} stands on C2D: set backbone.block=c2d, strf.stages="()" and no '
            'nonlocal_blocks, or system=baseline'
        )
    for name, kinds in (('clips', (c.test.clips, *c.test.also_clips)), ('monitor_clips', (c.test.monitor_clips,))):
        if 'whole' in kinds and c.system != 'star':
            yield f"config.test.{name} = 'whole' (one sequence per tracklet) belongs to system = 'star'"
    if c.test.frames != c.sampler.frames and has_fixed_length(c):
        yield (
            f'{c.system} weighs exactly sampler.frames = {c.sampler.frames} frames; config.test.frames = '
            f'{c.test.frames} must be the same'
        )
    if c.system == 'sinet':
        yield from _sinet_problems(c)
    if c.system == 'sta' and c.sta.reg_lambda and c.sta.mode not in ('sta', 'fusion'):
        yield f'config.sta.mode = {c.sta.mode!r} has no attention maps to regularise: set sta.reg_lambda=0'
    if c.system == 'tfclip':
        if c.tfclip.ssp and not c.tfclip.memory:
            yield 'config.tfclip.ssp changes the memory: set tfclip.memory=true, or ssp=false'
        if c.vit.adapters % 4:
            yield f'config.vit.adapters = {c.vit.adapters} is no multiple of the 4 heads of the adapter over time'
        if c.vit.width % c.vit.heads:
            yield f'config.vit.heads = {c.vit.heads} does not divide vit.width = {c.vit.width}'
        if c.data.height % c.vit.patch or c.data.width % c.vit.patch:
            yield (
                f'frames of {c.data.height} x {c.data.width} do not split into patches of vit.patch = {c.vit.patch} '
                'pixels; make data.height and data.width multiples of it'
            )
    clips = c.sampler.num_ids * c.sampler.tracklets_per_id
    if c.system == 'stmn' and clips % c.stmn.spread_groups:
        yield f'{clips} clips do not split over config.stmn.spread_groups = {c.stmn.spread_groups}'
    rows = -(-c.data.height // 4)
    for stride in c.backbone.strides:
        rows = -(-rows // stride)
    stripes = {'sta': (c.sta.stripes,), 'star': c.star.pyramid_levels if c.star.pyramid_weight else ()}
    for count in stripes.get(c.system, ()):
        if rows % count:
            yield f'{rows} rows of the last feature map do not split into {count} stripes'


def _sinet_problems(c: Experiment) -> Iterator[str]:
    frames, tested = c.sampler.frames, c.test.frames
    fours = [name for name, used in (('sbm', c.sinet.sbm), ('contrast_weight', c.sinet.contrast_weight)) if used]
    if fours and (frames % 4 or tested % 4):
        yield (
            f'config.sinet.{fours[0]} takes frames by fours: config.sampler.frames = {frames} and '
            f'config.test.frames = {tested} must be multiples of 4'
        )
    if list(c.sinet.sbm) != sorted(set(c.sinet.sbm)) or len(c.sinet.sbm) > 3:
        yield f'config.sinet.sbm = {c.sinet.sbm} must be at most three bottlenecks in rising order'
    if c.sinet.contrast_weight and c.sampler.tracklets_per_id < 2:
        yield 'the InfoNCE needs positives: config.sampler.tracklets_per_id must be at least 2 (or contrast_weight=0)'


def validate(c: Experiment) -> Experiment:
    """Returns the settings unchanged, or raises with every problem found.

    Raises:
      ConfigError: wrong types, unknown values, impossible combinations; each line names the field, what was found
        and what is valid.
    """
    problems = _type_problems(c)
    flat = {} if problems else flatten(c)
    problems = problems or [line for path, value in flat.items() for line in _value_problems(settings()[path], value)]
    problems = problems or list(_combination_problems(c))
    if problems:
        raise ConfigError('\n'.join(problems))
    return c


def to_dict(c: Experiment) -> dict[str, Any]:
    """The settings as plain JSON-able values (tuples become lists)."""

    def plain(value):
        if isinstance(value, dict):
            return {k: plain(v) for k, v in value.items()}
        return [plain(v) for v in value] if isinstance(value, tuple | list) else value

    return plain(dataclasses.asdict(c))


def _renamed(data: dict[str, Any]) -> dict[str, Any]:
    """Settings of the data as they are called today: a data set's way to be split once had a name of its own."""
    data = dict(data)
    for facts in catalogue.by_name().values():
        if facts.split_rules and facts.split_rules_setting != 'split_rule':
            rule = data.pop(facts.split_rules_setting, facts.split_rules[0])
            if data.get('dataset') == facts.name and rule != facts.split_rules[0]:
                data['split_rule'] = str(rule)
    return data


def from_dict(values: dict[str, Any]) -> Experiment:
    """The settings that `to_dict` wrote; what was added since then has its default.

    Raises:
      ConfigError: a setting that is not known any more, or of another type: written by something else.
    """
    experiment = Experiment()
    if not isinstance(values, dict):
        raise ConfigError(f'settings are {type(values).__name__}, expected an object: they are not of jaxreid')
    if isinstance(values.get('data'), dict):
        values = values | {'data': _renamed(values['data'])}
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= {f'{name}.{key}': v for key, v in value.items()} if isinstance(value, dict) else {name: value}
    if 'data.split' in flat:
        flat['data.split'] = str(flat['data.split'])  # once a number
    apply(experiment, {path: tuple(value) if isinstance(value, list) else value for path, value in flat.items()})
    problems = _type_problems(experiment)
    if problems:
        raise ConfigError('\n'.join(problems))
    return experiment
