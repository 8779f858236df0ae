"""Every setting of an experiment: its unit, its default and what it may be.

A file in `configs/` fills an `Experiment` with `get_config(variant)`; the command line changes single fields
(`--config.optim.lr=1e-4`); `validate` then checks types and combinations once. Each field is read in one place.
"""

import dataclasses
import difflib
import math
import typing

BLOCKS = ('c2d', 'i3d', 'p3da', 'p3db', 'p3dc')
SAMPLER_KINDS = ('tracklet_epoch', 'tracklet_epoch_distinct', 'camera_epoch_distinct', 'identity_epoch', 'identity_epoch_unique')
TRAIN_CLIPS = ('stride_crop', 'rrs', 'random', 'begin_crop', 'consecutive')
TEST_CLIPS = ('all_frames', 'rrs', 'begin_crop')
PROTOCOLS = ('mars-paper', 'mars-official', 'torchreid', 'ste-nvan')


@dataclasses.dataclass
class Data:
    """Where the tracklets are and how their frames are read."""

    dataset: str = 'mars'  # mars | synthetic
    root: str = ''  # dataset folder; for synthetic the cache folder to render into ('' = the user's cache)
    preset: str = 'demo'  # synthetic only: tiny | demo | gait | mars_scale
    store: str = 'folder'  # folder: the dataset as downloaded
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
    """P identities x K tracklets x T frames of a training batch (spec section 7, peers 2.2)."""

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


@dataclasses.dataclass
class Backbone:
    """ResNet with optional 3-D blocks (spec section 1)."""

    block: str = 'p3dc'  # one of BLOCKS: what replaces the middle convolution of the chosen bottlenecks
    stages: tuple[int, ...] = (2, 3)  # stages (1-4) that hold replaced bottlenecks: every other one, from 0
    width: int = 64  # planes of stage 1; stages 2-4 have 2, 4, 8 times as many
    depths: tuple[int, ...] = (3, 4, 6, 3)  # bottlenecks per stage
    strides: tuple[int, ...] = (1, 2, 2, 1)  # spatial stride of each stage; the last is the papers' "last stride"
    frame_pool: str = 'max'  # max | avg: spatial pooling of a frame's last feature map
    init: str = 'imagenet'  # imagenet (see weights) | random
    weights: str = ''  # torchvision ResNet-50: a .pth or .safetensors file, or a Hugging Face repository; '' = look in the cache


@dataclasses.dataclass
class Strf:
    """Spatio-temporal representation factorisation units (STRF, ICCV 2021; spec section 2)."""

    stages: tuple[int, ...] = (2, 3)  # stages (1-4) whose 3-D bottlenecks hold a unit; () = no STRF
    branches: tuple[str, ...] = ('t_tau', 't_sigma', 's_tau', 's_sigma')  # any non-empty subset; tau dynamic, sigma static
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
    cov_norm: str = 'none'  # none | l2
    residual: bool = False  # add the input to the sum of the branches
    branch_reduce: str = 'sum'  # sum | mean
    fam: str = 'covariance'  # covariance | none_hadamard | none_gram | none_softmax (Fig. 6a: FFM without FAM)


@dataclasses.dataclass
class NonLocal:
    """Non-local blocks on stage outputs (STRF section 3.3; placement from AP3D's code)."""

    stage2: tuple[int, ...] = ()  # bottleneck indices after which a block sits, e.g. (1, 3)
    stage3: tuple[int, ...] = ()  # e.g. (1, 3, 5)


@dataclasses.dataclass
class Head:
    """What turns the clip feature into embedding and logits (spec section 1.4)."""

    kind: str = 'a'  # a: BN neck with trained shift, classifier with bias | b: frozen zero shift, no bias


@dataclasses.dataclass
class Loss:
    """Objective: cross entropy + weight * batch-hard triplet (STRF eq. 9)."""

    smoothing: float = 0.0  # label smoothing epsilon of the cross entropy
    triplet: str = 'margin'  # margin | soft | off
    triplet_weight: float = 1.0
    margin: float = 0.3
    distance: str = 'cosine'  # cosine | euclidean
    triplet_on: str = 'after_neck'  # after_neck | before_neck


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
    log_every_steps: int = 10
    checkpoint_every_steps: int = 500
    eval_every_epochs: int = 10  # monitoring by test.monitor_clips; 0 = only at the end


@dataclasses.dataclass
class Test:
    """How tracklets become features and features become a score (spec section 9)."""

    clips: str = 'all_frames'  # one of TEST_CLIPS
    monitor_clips: str = 'begin_crop'  # one of TEST_CLIPS, for the evaluations during training
    frames: int = 4  # frames per clip
    flip: bool = False  # average every clip with its mirror image
    distance: str = 'cosine'  # cosine | euclidean
    protocols: tuple[str, ...] = ('mars-paper',)  # each is scored; the first is the headline
    batch_clips: int = 64  # clips per device batch


@dataclasses.dataclass
class Experiment:
    """One row of a table: a system on a dataset."""

    system: str = 'baseline'  # baseline: C2D ... P3D-C with or without STRF or non-local blocks
    data: Data = dataclasses.field(default_factory=Data)
    sampler: Sampler = dataclasses.field(default_factory=Sampler)
    augment: Augment = dataclasses.field(default_factory=Augment)
    backbone: Backbone = dataclasses.field(default_factory=Backbone)
    strf: Strf = dataclasses.field(default_factory=Strf)
    nonlocal_blocks: NonLocal = dataclasses.field(default_factory=NonLocal)
    head: Head = dataclasses.field(default_factory=Head)
    loss: Loss = dataclasses.field(default_factory=Loss)
    optim: Optim = dataclasses.field(default_factory=Optim)
    train: Train = dataclasses.field(default_factory=Train)
    test: Test = dataclasses.field(default_factory=Test)
