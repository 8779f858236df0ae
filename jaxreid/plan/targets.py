"""Accelerators that programs are compiled for without having them: data sheets, and the compilers that are needed."""

import dataclasses
import importlib.metadata
import importlib.util
import math
import pathlib
import re
from typing import Any

import jax
from jax.experimental import topologies

import jaxreid
from jaxreid import config

GPUS = pathlib.Path(__file__).parent / 'gpus'  # what XLA's compiler asks of a GPU, a text proto of each
# JAX takes so much of a GPU's memory where XLA_PYTHON_CLIENT_MEM_FRACTION says nothing else.
GPU_SHARE = 0.75
GPUS_PER_HOST = 8
COMPILERS = re.compile('jax|jaxlib|libtpu|jax-cuda[0-9]+-pjrt')  # distributions
# Nothing is asked over the network, no second libtpu is waited for, and no driver of a GPU is looked for.
ENVIRONMENT = {
    'JAX_PLATFORMS': 'cpu', 'TPU_SKIP_MDS_QUERY': '1', 'ALLOW_MULTIPLE_LIBTPU_LOAD': '1', 'TPU_STDERR_LOG_LEVEL': '3',
    'TPU_MIN_LOG_LEVEL': '3', 'TF_CPP_MIN_LOG_LEVEL': '3', 'JAX_SKIP_CUDA_CONSTRAINTS_CHECK': '1',
    'JAX_ENABLE_COMPILATION_CACHE': 'false',  # a program for devices that are not here cannot be read back
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Chip:
    """Rates of a data sheet.

    memory: bytes. flops: bfloat16 products, dense, per second. bandwidth: bytes/s of that memory. link: bytes/s one
    way, of one port of a TPU, of all NVLink ports of a GPU together. hop: seconds that a message needs at least to the
    next chip, or through the switch: assumed, for no data sheet says it.
    """

    platform: str
    axes: int  # of a TPU's torus; 0 of a GPU
    memory: float
    flops: float
    bandwidth: float
    link: float
    hop: float


# cloud.google.com/tpu/docs/v5e, v5p, v6e; NVIDIA's data sheets of A100 80GB SXM, H100 SXM and H200 SXM.
CHIPS = {
    'v5e': Chip('tpu', 2, 16 * 2**30, 197e12, 819e9, 50e9, 1e-6),
    'v5p': Chip('tpu', 3, 95 * 2**30, 459e12, 2765e9, 100e9, 1e-6),
    'v6e': Chip('tpu', 2, 32 * 2**30, 918e12, 1640e9, 100e9, 1e-6),
    'a100': Chip('cuda', 0, 80 * 2**30, 312e12, 2039e9, 300e9, 4e-6),
    'h100': Chip('cuda', 0, 80 * 2**30, 989e12, 3350e9, 450e9, 4e-6),
    'h200': Chip('cuda', 0, 140 * 2**30, 989e12, 4800e9, 450e9, 4e-6),
}
BETWEEN_HOSTS = 50e9  # bytes/s one way of a GPU to another host: 400 Gb/s, assumed


@dataclasses.dataclass(frozen=True)
class Target:
    """So many chips of a kind; `sides` are of a TPU slice, or hosts and GPUs of each."""

    name: str
    chip: Chip
    sides: tuple[int, ...]

    @property
    def devices(self) -> int:
        """How many chips."""
        return math.prod(self.sides)

    @property
    def memory(self) -> float:
        """Bytes of a chip that JAX hands out."""
        return self.chip.memory * (GPU_SHARE if self.chip.platform == 'cuda' else 1)

    @property
    def link(self) -> float:
        """Bytes/s that every chip can send, one way.

        A TPU slice is taken for a mesh: a chip at its corner has one port along each axis that is longer than 1.
        """
        if self.chip.platform == 'cuda':
            return BETWEEN_HOSTS if self.sides[0] > 1 else self.chip.link
        return self.chip.link * max(sum(side > 1 for side in self.sides), 1)

    @property
    def hops(self) -> int:
        """That the news of one chip makes until all have it: along the axes, or by doublings."""
        if self.chip.platform == 'cuda':
            return math.ceil(math.log2(self.devices))
        return sum(side // 2 for side in self.sides)


def parse(name: str) -> Target:
    """'v5e:4x4', 'h200:8'. Raises ConfigError: there is no such target; says what may stand there."""
    kind, _, sides = name.partition(':')
    if kind not in CHIPS:
        raise config.ConfigError(f'there is no target {name!r}; expected {", ".join(CHIPS)} with a size, as v5e:4x4')
    chip = CHIPS[kind]
    if not re.fullmatch('x'.join([r'[1-9]\d{0,3}'] * max(chip.axes, 1)), sides):
        wanted = 'x'.join('4' * chip.axes) if chip.axes else '8, a number of GPUs'
        raise config.ConfigError(f'target {name!r} has no size that {kind} has; expected one as {kind}:{wanted}')
    numbers = tuple(map(int, sides.split('x')))
    if not chip.axes:
        hosts = math.ceil(numbers[0] / GPUS_PER_HOST)
        numbers = hosts, numbers[0] // hosts
        if hosts * numbers[1] != int(sides) or (hosts > 1 and numbers[1] != GPUS_PER_HOST):
            raise config.ConfigError(f'target {name!r}: up to {GPUS_PER_HOST} GPUs, or whole hosts of {GPUS_PER_HOST}')
    return Target(name, chip, numbers)


def check_compiler(target: Target) -> None:
    """Raises ImportError where the compiler of a target is not installed; says what to install."""
    extra, module = {'tpu': ('tpu', 'libtpu'), 'cuda': ('cuda13', 'jax_plugins.xla_cuda13')}[target.chip.platform]
    try:
        found = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        found = None
    if found is None:
        raise ImportError(
            f'this target needs the compiler {module.removeprefix("jax_plugins.")}, which is not installed: '
            f"pip install 'jax[{extra}]=={importlib.metadata.version('jax')}' (the device itself is not needed)"
        )


def versions() -> dict[str, str]:
    """What a plan depends on, by distribution: jaxreid, JAX, and the compilers that are installed."""
    found = {one.name: one.version for one in importlib.metadata.distributions() if COMPILERS.fullmatch(one.name or '')}
    return {'jaxreid': jaxreid.__version__} | dict(sorted(found.items()))


def devices(target: Target, description: str = '') -> list[jax.Device]:
    """Devices to compile for, which nothing can run on.

    `description`: text proto of a GPU's own description, in the place of ours.

    Raises:
      ConfigError: the compiler knows no such slice, or not the description.
    """
    if target.chip.platform == 'tpu':
        one: dict[str, Any] = {'chips_per_host_bounds': (1, 1, 1)} if target.devices == 1 else {}
        asked: dict[str, Any] = {'platform': 'tpu', 'topology_name': target.name, **one}
    else:
        description = description or (GPUS / f'{target.name.partition(":")[0]}.txtpb').read_text()
        asked = {'platform': 'cuda', 'target_config': description, 'topology': '1x{}x{}'.format(*target.sides)}
    try:
        return list(topologies.get_topology_desc(**asked).devices)
    except Exception as e:  # of XLA, whose errors have no common kind
        raise config.ConfigError(f'the compiler refuses this target: {first_line(e)}') from e


def first_line(error: BaseException) -> str:
    """What an error says, in a line."""
    return ' '.join(str(error).split('\n')[0].split()) or type(error).__name__
