"""A step compiled for a target: what it needs, moves and sends, and how fast it can be at best."""

import concurrent.futures
import concurrent.futures.process
import dataclasses
import functools
import multiprocessing
import os
import re
import time
from typing import Any

import jax
from jax.sharding import Mesh

from jaxreid import config, sharding
from jaxreid.models import cost
from jaxreid.plan import hlo, largest, program, targets
from jaxreid.reproduce import costs

LARGE = 16 * 2**20  # bytes of an array that is worth a warning


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes on each device. donated: of the arguments, taken over by results. limit: what JAX can hand out."""

    arguments: int
    donated: int
    temporaries: int
    results: int  # that take over no argument
    code: int
    limit: int

    @property
    def needed(self) -> int:
        """All together."""
        return self.arguments + self.temporaries + self.results + self.code


@dataclasses.dataclass(frozen=True)
class Sends:
    """Collectives of one kind together. bytes: of their results. first, last: share of the step's traffic before."""

    op: str
    dtype: str
    blocking: bool
    count: int
    bytes: float
    first: float
    last: float


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Of one step on one target; bytes, FLOPs and seconds are of one device."""

    target: str
    devices: int
    mode: str
    quick: bool
    clips: int  # of a step, on all devices
    frames: int  # likewise
    dtype: str
    memory: Memory
    flops: float  # dense products, forward, backward or both
    bytes: dict[str, float]  # by what is done
    sends: list[Sends]
    arithmetic_s: float
    memory_s: float
    links_s: float  # of blocking collectives, with their hops
    beside_s: float  # of those that something is done beside
    steps: int | None  # of the recipe, where they are known before the data is opened
    warnings: list[str]
    notes: list[str]  # what is unusual and does no harm
    compile_s: float
    largest: str = ''  # batch that fits, in words

    @property
    def fits(self) -> bool:
        """Whether it needs no more memory than there is."""
        return self.memory.needed <= self.memory.limit

    @property
    def bound_s(self) -> float:
        """No step is shorter: work, traffic and what travels beside them overlap, what is waited for does not."""
        return max(self.arithmetic_s, self.memory_s, self.beside_s) + self.links_s

    @property
    def highest_mfu(self) -> float:
        """Share of the peak rate that the step can reach."""
        return self.arithmetic_s / self.bound_s


def of(
    experiment: config.Experiment,
    target: targets.Target,
    mode: program.Mode,
    *,
    quick: bool = False,
    second: bool = True,
    description: str = '',
    devices: list[jax.Device] | None = None,
) -> Outcome:
    """Compiles the step for a target, and other batches in search of the largest.

    Args:
      experiment: validated settings.
      target: what to compile for.
      mode: which step.
      quick: one bottleneck per stage.
      second: whether to look for the largest batch.
      description: see `targets.devices`.
      devices: to compile for; None: the target's.

    Raises:
      ValueError: the batch does not split over the devices, the target is refused, or the step does not fit and the
        compiler says so.
    """
    made_for = program.on_accelerators(program.quick(experiment) if quick else experiment, target.chip.platform)
    mesh = sharding.make_mesh(devices or targets.devices(target, description))
    asked = largest.Batch(program.clips_of(made_for, mode), 0, False)
    try:
        first = once(made_for, target, mode, mesh, quick=quick)
    except largest.DoesNotFit as error:
        if second:
            known = asked._replace(needed=error.needed)
            raise ValueError(f'{error}; {_largest(made_for, target, mode, mesh, known, error.needed)}') from error
        raise
    if not second:
        return first
    batch = first.frames // mesh.size * made_for.data.height * made_for.data.width * 3
    known = asked._replace(needed=first.memory.needed, fits=first.fits)
    grows = first.memory.temporaries + batch
    return dataclasses.replace(first, largest=_largest(made_for, target, mode, mesh, known, grows))


def in_child(
    experiment: config.Experiment,
    target: targets.Target,
    mode: program.Mode,
    quick: bool,
    second: bool,
    description: str = '',
) -> Outcome:
    """`of` in a process of its own: a compiler that dies takes nothing with it."""
    context = multiprocessing.get_context('spawn')
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context, initializer=_quiet) as pool:
        act = functools.partial(of, quick=quick, second=second and not quick, description=description)
        try:
            return pool.submit(act, experiment, target, mode).result()
        except concurrent.futures.process.BrokenProcessPool as e:
            raise ValueError('the compiler ended its process; is there enough memory?') from e


def _quiet() -> None:
    """The compilers look for devices, and say at length on their own that there are none."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def once(e: config.Experiment, target: targets.Target, mode: program.Mode, mesh: Mesh, *, quick: bool) -> Outcome:
    """Compiles the step once. Arguments and errors as `of`."""
    start = time.monotonic()
    step, arguments = program.step_on(e, mesh, mode)
    traced = step.trace(*arguments)
    try:
        compiled = traced.lower().compile()
    except jax.errors.JaxRuntimeError as error:
        if used := re.search(r'Used ([\d.]+)([KMGT]) of ([\d.]+[KMGT]) hbm', str(error)):
            raise largest.DoesNotFit(
                f'does not fit: the step of {program.clips_of(e, mode)} clips needs {used[1]}{used[2]} of '
                f'{used[3]} on each device; take more devices, fewer clips or --config.train.remat=true',
                float(used[1]) * 1024 ** ('KMGT'.index(used[2]) + 1),
            ) from error
        raise ValueError(f'the compiler refuses the step: {targets.first_line(error)}') from error
    text = hlo.Program(compiled.as_text())
    sizes = compiled.memory_analysis()
    moved: dict[str, float] = {}
    for move in text.moves:
        moved[move.kind] = moved.get(move.kind, 0.0) + move.bytes
    flops = 2.0 * cost.macs(traced.jaxpr.jaxpr)
    chip, count = target.chip, mesh.size
    links = {
        blocking: sum(one.times * _seconds(one, target) for one in text.collectives if one.blocking is blocking)
        for blocking in (True, False)
    }
    clips = program.clips_of(e, mode)
    return Outcome(
        target=target.name,
        devices=count,
        mode=mode,
        quick=quick,
        clips=clips,
        frames=clips * (e.sampler.frames if mode == 'train' else e.test.frames),
        dtype=e.train.compute_dtype if mode == 'train' else e.test.compute_dtype.replace('auto', 'float16'),
        memory=Memory(
            arguments=sizes.argument_size_in_bytes,
            donated=sizes.alias_size_in_bytes,
            temporaries=sizes.temp_size_in_bytes,
            results=sizes.output_size_in_bytes - sizes.alias_size_in_bytes,
            code=sizes.generated_code_size_in_bytes,
            limit=int(target.memory),
        ),
        flops=flops,
        bytes=dict(sorted(moved.items(), key=lambda one: -one[1])),
        sends=_together(text.collectives),
        arithmetic_s=flops / chip.flops,
        memory_s=sum(moved.values()) / chip.bandwidth,
        links_s=links[True],
        beside_s=links[False],
        steps=costs.planned_steps(e) if mode == 'train' else None,
        warnings=list(_warnings(e, text, mode)),
        notes=list(_notes(mesh)),
        compile_s=time.monotonic() - start,
    )


def _seconds(one: hlo.Collective, target: targets.Target) -> float:
    """At least, of one collective: its bytes over the links of a device, and its hops."""
    n = target.devices
    if n == 1:
        return 0.0
    share = {'all-reduce': 2 * (n - 1) / n, 'reduce-scatter': n - 1, 'collective-permute': 1}.get(one.op, (n - 1) / n)
    hops = 1 if one.op == 'collective-permute' else target.hops * (1 + (one.op == 'all-reduce'))
    return share * one.bytes / target.link + hops * target.chip.hop


def _together(collectives: list[hlo.Collective]) -> list[Sends]:
    kinds: dict[tuple[str, str, bool], list[hlo.Collective]] = {}
    for one in collectives:
        kinds.setdefault((one.op, one.dtype, one.blocking), []).append(one)
    return [
        Sends(
            op, dtype, blocking, sum(one.times for one in them), sum(one.times * one.bytes for one in them),
            them[0].place, them[-1].place,
        )
        for (op, dtype, blocking), them in kinds.items()
    ]  # fmt: skip


def _warnings(e: config.Experiment, text: hlo.Program, mode: program.Mode):
    kept = {a.dims: a for number, a in text.arguments.items() if number not in text.donated and a.bytes >= LARGE}
    for move in text.moves:
        for array in move.instruction.results:
            if array.dims in kept and not array.fast and array.bytes >= kept[array.dims].bytes:
                yield (
                    f'a copy of an argument is made: {_array(array)}, by {_tail(move.instruction.source)}; '
                    'the temporaries hold it'
                )
    low = sum(one.low * one.times for one in text.collectives if one.op in ('all-reduce', 'reduce-scatter'))
    if mode == 'train' and low:
        yield f'{low / 2**20:.1f} MiB are summed over the devices in 16 bits: rounding grows with their number'
    if mode == 'train' and e.train.compute_dtype == 'bfloat16':
        large: dict[str, hlo.Array] = {}
        for move in text.moves:
            for array in move.instruction.results:
                if array.dtype == 'f32' and len(array.dims) > 2 and array.bytes >= LARGE and not array.fast:
                    large.setdefault(f'{_array(array)}, {_tail(move.instruction.source)}', array)
        if large:
            most = sorted(large, key=lambda said: -large[said].bytes)[:3]
            yield f'{len(large)} activations are in float32, the largest: {"; ".join(most)}'


def _notes(mesh: Mesh):
    hosts = [device.process_index for device in mesh.devices.flat]
    if hosts != sorted(hosts):
        yield f'clips go to the hosts in the order of the links, {hosts}: each host feeds the places that it holds'


def _array(array: hlo.Array) -> str:
    return f'{array.dtype}{list(array.dims)} of {array.bytes / 2**20:.0f} MiB'


def _tail(source: str) -> str:
    return source if len(source) < 60 else f'...{source[-57:]}'


def _largest(
    e: config.Experiment, target: targets.Target, mode: program.Mode, mesh: Mesh, known: largest.Batch, grows: float
) -> str:
    """The largest batch that fits, in words; `known` and `grows` as for `largest.edge`."""

    def compiled(clips: int) -> largest.Batch:
        try:
            found = once(program.with_clips(e, mode, clips), target, mode, mesh, quick=False)
        except largest.DoesNotFit as error:
            return largest.Batch(clips, error.needed, False)
        return largest.Batch(clips, found.memory.needed, found.fits)

    unit = program.unit(e, mode, mesh.size)
    return largest.words(*largest.edge(known, grows, compiled, unit=unit, limit=target.memory))


def as_json(outcome: Outcome) -> dict[str, Any]:
    """All of it, with what follows from it."""
    derived = {'fits': outcome.fits, 'bound_s': outcome.bound_s, 'highest_mfu': outcome.highest_mfu}
    return dataclasses.asdict(outcome) | derived
