"""Writes a trained network as a program that runs without jaxreid: StableHLO (`jax.export`), or ONNX.

  python -m jaxreid.export runs/strf_mars strf_mars_export
  python -m jaxreid.export runs/strf_mars strf_mars_export --batch 8 --platforms cpu,cuda
  python -m jaxreid.export runs/strf_mars strf_mars_onnx --format onnx
  python -m jaxreid.export runs/strf_mars strf_mars_tracker --format onnx --input images       for Ultralytics' BoT-SORT

Frames go in as they are, uint8: normalisation, the averaging with mirror images (where the config tests so) and the
network are inside. The folder holds the program, model.json (sizes, meaning, config), a sample with its features, and
for StableHLO load.py, which needs jax and NumPy only.
"""

import argparse
import contextlib
import functools
import logging
import os
import pathlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NotRequired, TypedDict

import flatbuffers
import jax
import jax.export
import jax.numpy as jnp
import jaxlib
import numpy as np

from jaxreid import command_line, config
from jaxreid.data import source
from jaxreid.evaluation import feature_file
from jaxreid.evaluation import network as network_lib
from jaxreid.export import load as exported
from jaxreid.process import atomic, commands, digest, exit_status, metrics_log
from jaxreid.training import augment

PLATFORMS = ('cpu', 'cuda', 'rocm', 'tpu')
FORMATS = ('stablehlo', 'onnx')
DTYPES = ('float32', 'float16', 'bfloat16')
INPUTS = ('uint8', 'float32', 'images')
SYMBOLIC = 'symbolic'
ONNX_MODEL = 'model.onnx'
_SAMPLE_CLIPS = 2
_TOLERANCE = {'float32': 1e-5, 'float16': 2e-3, 'bfloat16': 1e-2}  # of the largest value


class Input(TypedDict):
    """What a program takes; of any number of clips the first size is 'batch'."""

    name: str
    shape: list[int | str]
    dtype: str
    meaning: str


class Output(TypedDict):
    """What it gives."""

    name: str
    shape: list[int | str]
    dtype: str


class Exported(TypedDict):
    """What model.json holds; `difference`, from the network on a sample, is not in the file."""

    format: str
    inputs: list[Input]
    output: Output
    inside: dict[str, object]  # what the program does beside the network
    compare_by: str
    resize: str
    network: str
    system: str
    step: int
    trained_on: str
    platforms: list[str]
    versions: dict[str, str]
    config: dict
    files: NotRequired[dict[str, str]]  # name -> digest; the file has a digest of all this too
    difference: NotRequired[float]


def export(
    path: pathlib.Path,
    out: pathlib.Path,
    *,
    batch: str = SYMBOLIC,
    frames: int | None = None,
    platforms: Sequence[str] = ('cpu', 'cuda', 'tpu'),
    neck: str = 'after',
    dtype: config.TestDtype = 'float32',
    frames_dtype: str = 'uint8',
    kind: str = 'stablehlo',
) -> Exported:
    """Exports a checkpoint's network, runs what was written on a sample and compares.

    Args:
      path: a workdir, a folder of checkpoints, or one checkpoint.
      out: the folder to make; must not exist, or be empty.
      batch: clips at a time, a number, or 'symbolic' for any.
      frames: of a clip; None: those of the config's test.
      platforms: of PLATFORMS, where StableHLO will run. ONNX has none.
      neck: 'after' or 'before' the neck.
      dtype: of the activations, one of DTYPES.
      frames_dtype: of INPUTS: 'uint8'; 'float32' for frames of 0 to 255 that were not rounded; 'images' for single
        pictures [B, 3, H, W] float32 of 0 to 1, as trackers give them, each a clip that stands still.
      kind: one of FORMATS.

    Returns:
      What model.json holds.

    Raises:
      ValueError: an argument cannot be, the network does not take clips of so many frames, or what was written
        computes something else.
      OSError: `out` cannot be written. ImportError: the packages for ONNX are missing.
    """
    if kind not in FORMATS:
        raise ValueError(f'format {kind!r} is not known; choose of {", ".join(FORMATS)}')
    write_onnx = _onnx_writer() if kind == 'onnx' else None
    size = SYMBOLIC if batch == SYMBOLIC else _number(batch)
    if frames is not None and frames < 1:
        raise ValueError(f'--frames {frames}: expected at least 1')
    unknown = [name for name in platforms if name not in PLATFORMS]
    if unknown or not platforms:
        raise ValueError(f'platform {unknown[0] if unknown else ""!r} is not known; choose of {", ".join(PLATFORMS)}')
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise ValueError(f'{out} exists and is not empty; nothing is overwritten, choose another folder')
    network = network_lib.Network.load(path)
    experiment, data = network.experiment, network.experiment.data
    experiment.test.compute_dtype = dtype
    variables = jax.device_get(network.folded)
    frames = frames or experiment.test.frames
    shapes: dict[str, tuple[int, ...]] = {'clips': (frames, data.height, data.width, 3)}
    dtypes = {'clips': frames_dtype}
    if frames_dtype == 'images':
        if data.flow != 'off':
            raise ValueError('this network sees motion, which a picture has not; choose one without flow for a tracker')
        shapes, dtypes = {'images': (3, data.height, data.width)}, {'images': 'float32'}
    elif data.flow != 'off':
        shapes['flow'], dtypes['flow'] = (frames, data.height, data.width, 2), 'float32'
    metrics_log.say(f'loaded {network.path}; running it on a sample, then writing it: a minute or less in all')
    embed = _embedder(network.model.clone(dtype=jnp.dtype(dtype)), flip=experiment.test.flip, neck=neck)
    if frames_dtype == 'images':
        embed = _of_images(embed, frames)
    sample = _sample(shapes, dtypes, clips=size if isinstance(size, int) else _SAMPLE_CLIPS)
    expected = np.asarray(jax.jit(embed)(variables, *sample.values()))
    axis = size if isinstance(size, int) else jax.export.symbolic_shape('batch')[0]
    clips = size if isinstance(size, int) else 'batch'
    specs = [jax.ShapeDtypeStruct((axis, *shapes[name]), jnp.dtype(dtypes[name])) for name in shapes]
    meaning = {
        'clips': 'RGB frames of one tracklet in order of time, 0 to 255, resized to this height and width',
        'flow': 'optical flow (u, v) from each frame to the next, in pixels of these frames',
        'images': 'RGB pictures of one person each, 0 to 1, resized to this height and width',
    }
    meta: Exported = {
        'format': kind,
        'inputs': [
            {'name': name, 'shape': [clips, *shapes[name]], 'dtype': dtypes[name], 'meaning': meaning[name]}
            for name in shapes
        ],
        'output': {'name': 'embedding', 'shape': [clips, expected.shape[1]], 'dtype': 'float32'},
        'inside': {
            'normalisation': {'mean': augment.MEAN, 'std': augment.STD, 'of': 'frames / 255, RGB'},
            'flip': experiment.test.flip,
            'neck': neck,
            'compute_dtype': dtype,
        },
        'compare_by': experiment.test.distance,
        'resize': data.resize,
        'network': network.fingerprint,
        'system': experiment.system,
        'step': network.step,
        'trained_on': source.describe(data),
        'platforms': list(platforms) if kind == 'stablehlo' else [],
        'versions': {'jax': jax.__version__, 'jaxlib': jaxlib.__version__, 'numpy': np.__version__},
        'config': config.to_dict(experiment),
    }
    with _folder(out) as partial:
        if write_onnx:
            write_onnx(partial / ONNX_MODEL, functools.partial(embed, variables), specs, list(shapes))
            outputs: np.ndarray | None = run_onnx(partial / ONNX_MODEL, list(sample.values()))
        else:

            def held(*inputs):
                # Behind the barrier XLA does not compute with constants ahead, which takes long and rounds in another
                # way than `--mode extract`.
                return embed(jax.lax.optimization_barrier(variables), *inputs)

            program = jax.export.export(jax.jit(held), platforms=tuple(platforms))(*specs)
            (partial / exported.MODEL).write_bytes(program.serialize())
            (partial / 'load.py').write_bytes(pathlib.Path(exported.__file__).read_bytes())
            _copy_flatbuffers(partial / 'flatbuffers')
            # The device that exports may be none of those exported for.
            metrics_log.say(f'written for {", ".join(platforms)}; comparing what was written with the network')
            outputs = None
        np.savez(partial / exported.SAMPLE, allow_pickle=False, **sample, embedding=expected)
        files = sorted(path for path in partial.rglob('*') if path.is_file())
        meta['files'] = {path.relative_to(partial).as_posix(): exported.digest(path.read_bytes()) for path in files}
        atomic.write_json(partial / exported.META, digest.signed(meta))
        if kind == 'stablehlo' and _runs_here(platforms):
            outputs = exported.load(partial)(*sample.values())
        if outputs is not None:
            difference = float(np.abs(outputs - expected).max() / np.abs(expected).max())
            if not difference <= _TOLERANCE[dtype]:
                raise ValueError(f'what was exported differs from the network by {difference:.1e} of its largest value')
            meta['difference'] = difference
    return meta


def _number(text: str) -> int:
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise ValueError(f"batch {text!r}: expected a number of clips, or '{SYMBOLIC}' for any number")


def _embedder(model: Any, *, flip: bool, neck: str) -> Callable[..., jax.Array]:
    """`(variables, clips, [flow]) -> [B, D] float32`: what `--mode extract` does with a clip."""
    field = {'after': 'embedding', 'before': 'embedding_before_neck'}[neck]

    def embed(variables: Any, clips: jax.Array, *flow: jax.Array) -> jax.Array:
        views = [(clips, *flow)]
        if flip:
            views.append((augment.mirror(clips), *(augment.mirror_flow(f) for f in flow)))
        features = []
        for clips, *motion in views:
            inputs = augment.normalise(clips, model.dtype), *(augment.normalise_flow(f, model.dtype) for f in motion)
            features.append(getattr(model.apply(variables, *inputs, train=False), field))
        return (sum(features) / len(features)).astype(jnp.float32)

    return embed


def _of_images(embed, frames):
    """`(variables, images [B, 3, H, W] of 0 to 1) -> [B, D]`: each picture as a clip of `frames` equal frames."""

    def of(variables, images):
        return embed(variables, jnp.repeat(255 * images.transpose(0, 2, 3, 1)[:, None], frames, axis=1))

    return of


def _sample(shapes: Mapping[str, tuple[int, ...]], dtypes: dict[str, str], *, clips: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    draw: dict[str, Callable[[tuple[int, ...]], np.ndarray]] = {
        'clips': lambda size: rng.integers(0, 256, size),
        'flow': lambda size: rng.normal(0, 5, size),
        'images': rng.random,
    }
    return {name: draw[name]((clips, *shape)).astype(dtypes[name]) for name, shape in shapes.items()}


def _runs_here(platforms: Sequence[str]) -> bool:
    here = jax.default_backend()
    return bool({'gpu': {'cuda', 'rocm'}}.get(here, {here}) & set(platforms))


@contextlib.contextmanager
def _folder(out: pathlib.Path):
    """A folder that is at `out` when the block ends without an error."""
    try:
        with atomic.folder(out) as partial:
            yield partial
    except OSError as e:
        raise OSError(f'cannot write {out}: {e}; make space or choose another folder') from e


def _copy_flatbuffers(to: pathlib.Path) -> None:
    """Puts the pure Python package that `load.py` needs beside jax where the program lies (Apache License 2.0)."""
    to.mkdir()
    for file in pathlib.Path(flatbuffers.__file__).parent.glob('*.py'):
        (to / file.name).write_bytes(file.read_bytes())


def _onnx_writer() -> Callable[[pathlib.Path, Callable, Sequence[jax.ShapeDtypeStruct], Sequence[str]], None]:
    try:
        import jax2onnx
        import onnx
        import onnxruntime  # noqa: F401
    except ImportError as e:
        raise ImportError(f'{e}; docs/export.md says how to install jax2onnx, onnx and onnxruntime') from e
    logging.getLogger('onnx_ir').setLevel(logging.ERROR)

    def write(path, embed, specs, names):
        with warnings.catch_warnings(action='ignore'):  # jax2onnx asks JAX for float64 and takes what it gets
            onnx.save(jax2onnx.to_onnx(embed, list(specs), input_names=list(names)), path)

    return write


def run_onnx(path: pathlib.Path, inputs: Sequence[np.ndarray]) -> np.ndarray:
    """Features [B, D] by ONNX Runtime on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(path, options, providers=['CPUExecutionProvider'])
    return session.run(None, {one.name: array for one, array in zip(session.get_inputs(), inputs, strict=True)})[0]


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = commands.parser('export', __doc__)
    parser.add_argument('path', type=pathlib.Path, metavar='CHECKPOINT', help='workdir or checkpoint')
    parser.add_argument('out', type=pathlib.Path, metavar='OUT', help='folder to make')
    parser.add_argument('--format', choices=FORMATS, default='stablehlo', dest='kind')
    parser.add_argument('--batch', default=SYMBOLIC, help='clips at a time; symbolic: any number (symbolic)')
    parser.add_argument('--frames', type=int, help='frames of a clip (those of the config)')
    parser.add_argument('--platforms', default='cpu,cuda,tpu', help='where it will run (cpu,cuda,tpu)')
    parser.add_argument('--neck', choices=feature_file.NECKS, default='after', help='features after or before the neck')
    parser.add_argument('--dtype', choices=DTYPES, default='float32', help='of the activations (float32)')
    frames = 'frames of 0 to 255 (uint8); images: float32 pictures [B, 3, H, W] of 0 to 1, for trackers'
    parser.add_argument('--input', choices=INPUTS, default='uint8', dest='frames_dtype', help=frames)
    return parser.parse_args(argv)


def act(options: argparse.Namespace) -> None:
    """Does what the command line asks for."""
    command_line.set_up('float32')
    meta = export(**vars(options) | {'platforms': options.platforms.split(',')})
    size = sum(file.stat().st_size for file in options.out.rglob('*') if file.is_file()) / 2**20
    inputs = ', '.join(f'{one["name"]} {one["dtype"]} {one["shape"]}' for one in meta['inputs'])
    print(f'{options.out}: {inputs} -> {meta["output"]["shape"]}, {size:.1f} MiB')
    if 'difference' in meta:
        print(f'run here on a sample, it differs from the network by {meta["difference"]:.1e} of its largest value')
    else:
        print(f'not run: this machine ({jax.default_backend()}) is none of {options.platforms}')
    if options.kind == 'stablehlo':
        print(f'python {os.path.join(options.out, "load.py")} runs it with jax and NumPy only')


def run(argv: Sequence[str]) -> int:
    """Parses, acts; expected errors become one message and an exit status."""
    options = parse(argv)
    return exit_status.run(lambda: act(options))
