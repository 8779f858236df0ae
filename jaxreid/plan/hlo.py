"""What a compiled program moves: bytes and collectives, read from the scheduled text of XLA's compilers.

Every instruction of the schedule reads its operands from the device's memory and writes its results there, but what
the text places in a TPU's fast memory (S(1)), what a fusion only slices, and what is updated in place. Arrays of a TPU
count with the padding of their tiles. Instructions of a loop count as often as it turns.
"""

import dataclasses
import functools
import math
import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

# staging: between a TPU's main and its fast memory, ahead of what needs it.
Kind = Literal['products', 'reductions', 'elementwise', 'copies', 'staging', 'collectives']
COLLECTIVES = ('all-reduce', 'all-gather', 'reduce-scatter', 'collective-permute', 'all-to-all', 'ragged-all-to-all')
BYTES = {
    'pred': 1, 's4': 0.5, 'u4': 0.5, 's8': 1, 'u8': 1, 's16': 2, 'u16': 2, 'bf16': 2, 'f16': 2, 's32': 4, 'u32': 4,
    'f32': 4, 's64': 8, 'u64': 8, 'f64': 8, 'c64': 8,
}  # fmt: skip
_ARRAY = re.compile(rf'\b({"|".join(BYTES)})\[([\d,]*)\](?:\{{([\d,]*)(:[^}}]*)?\}})?')
_INSTRUCTION = re.compile(r'^\s*(ROOT )?%?([\w.\-]+) = (.*?) ([\w\-]+)\((.*)$')
_COMPUTATION = re.compile(r'^(ENTRY )?%?([\w.\-]+) \(.*\) -> .*\{$')
# Instructions that move nothing: names of what is there, and ends of what has been counted at its start.
_FREE = (
    'parameter', 'constant', 'get-tuple-element', 'tuple', 'bitcast', 'after-all', 'partition-id', 'replica-id',
    'opt-barrier', 'optimization-barrier', 'iota',
)  # fmt: skip
_STARTS = ('copy-start', 'slice-start', 'async-start')
_TPU_START, _TPU_DONE = 'async-collective-start', 'async-collective-done'  # names of fusions
_MOVES = {
    'copy', 'transpose', 'bitcast', 'reshape', 'broadcast', 'slice', 'pad', 'concatenate', 'convert', 'dynamic-slice',
    'dynamic-update-slice', 'gather', 'select', 'compare', *_FREE,
}  # fmt: skip
_PRODUCTS = re.compile('custom_call_target="[^"]*(cudnn|cublas|gemm|conv)')
_SECTOR = 32  # bytes that a GPU reads at least


class Array(NamedTuple):
    """dims: logical. bytes: as they lie in memory. fast: not in the device's main memory."""

    dtype: str
    dims: tuple[int, ...]
    bytes: float
    fast: bool

    @property
    def sent(self) -> float:
        """Bytes without the padding of tiles."""
        return BYTES[self.dtype] * math.prod(self.dims)


class Instruction(NamedTuple):
    """A line of a computation."""

    name: str
    results: tuple[Array, ...]
    op: str
    operands: tuple[str, ...]
    rest: str  # attributes and metadata
    is_root: bool

    def attribute(self, name: str) -> str:
        """The name of a computation: calls, to_apply, body."""
        found = re.search(rf'\b{name}=%?([\w.\-]+)', self.rest)
        return found[1] if found else ''

    @property
    def source(self) -> str:
        """The operation of the traced program that it comes from."""
        found = re.search(r'op_name="([^"]*)"', self.rest)
        return found[1] if found else self.name


@dataclasses.dataclass(frozen=True)
class Move:
    """An instruction of the schedule. bytes: read and written, of all its turns."""

    kind: Kind
    bytes: float
    times: int
    instruction: Instruction


@dataclasses.dataclass(frozen=True)
class Collective:
    """dtype: of most of its bytes. bytes: of the results on one device, of one turn; low: of those in 16 bits.

    blocking: nothing is done between its start and its end. place: share of all bytes moved before it starts, 0 to 1.
    """

    op: str
    dtype: str
    bytes: float
    low: float
    blocking: bool
    place: float
    times: int


def _arrays(text: str) -> tuple[Array, ...]:
    found = []
    for dtype, dims, order, layout in _ARRAY.findall(text):
        sizes = [int(n) for n in dims.split(',') if n]
        padded = list(sizes)
        if sizes and (tile := re.search(r'T\(([\d,]+)\)', layout)):
            minor_first = [int(n) for n in order.split(',') if n]
            for axis, side in zip(minor_first, reversed([int(n) for n in tile[1].split(',')])):
                padded[axis] = -(-padded[axis] // side) * side
        found.append(Array(dtype, tuple(sizes), BYTES[dtype] * math.prod(padded), 'S(1)' in layout))
    return tuple(found)


class Program:
    """A scheduled program, `compiled.as_text()`."""

    def __init__(self, text: str):
        self.computations: dict[str, dict[str, Instruction]] = {}
        self.entry = ''
        self.tiled = ':T(' in text  # as in a TPU's memory
        # Numbers of the parameters whose memory a result takes over.
        header = re.search(r'input_output_alias=\{(.*?)\}, \w+=', text[: text.find('\n')])
        self.donated = set(map(int, re.findall(r': \((\d+),', header[1]))) if header else set()
        inside: dict[str, Instruction] | None = None
        for line in text.split('\n'):
            if start := _COMPUTATION.match(line):
                inside = self.computations[start[2]] = {}
                self.entry = start[2] if start[1] else self.entry
            elif line.startswith('}'):
                inside = None
            elif inside is not None and (found := _INSTRUCTION.match(line)):
                root, name, results, op, rest = found.groups()
                depth, end = 1, 0
                while depth and end < len(rest):
                    depth += (rest[end] == '(') - (rest[end] == ')')
                    end += 1
                operands = (
                    (rest[: end - 1],) if op in ('parameter', 'constant') else re.findall('%([\\w.\\-]+)', rest[:end])
                )
                inside[name] = Instruction(name, _arrays(results), op, tuple(operands), rest[end:], bool(root))

    @functools.cached_property
    def moves(self) -> list[Move]:
        """Everything that is done, in order; instructions of a loop once, with their turns."""
        return list(self._moves(self.entry, 1))

    @functools.cached_property
    def arguments(self) -> dict[int, Array]:
        """By number."""
        entry = self.computations[self.entry].values()
        return {int(one.operands[0]): one.results[0] for one in entry if one.op == 'parameter' and one.results}

    def _moves(self, computation: str, times: int) -> Iterator[Move]:
        inside = self.computations[computation]
        for one in inside.values():
            match one.op:
                case 'while':
                    turns = re.search(r'"known_trip_count":\{"n":"(\d+)"\}', one.rest)
                    yield from self._moves(one.attribute('body'), times * (int(turns[1]) if turns else 1))
                case 'call':
                    yield from self._moves(one.attribute('to_apply'), times)
                case 'conditional':  # the first of its branches stands for all
                    names = re.findall(r'(?:true_computation|branch_computations)=\{?%?([\w.\-]+)', one.rest)
                    yield from self._moves(names[0], times)
                case op if op not in _FREE and not op.endswith('-done'):
                    yield Move(self._kind(one), times * self._bytes(one, inside), times, one)

    def _inner(self, one: Instruction) -> dict[str, Instruction]:
        return self.computations.get(one.attribute('calls'), {})

    def _kind(self, one: Instruction) -> Kind:
        ops = {one.op, *(inner.op for inner in self._inner(one).values())}
        if _collective(one, self._inner(one)) and not ops & {'convolution', 'dot'}:
            return 'collectives'
        if one.op in _STARTS and len({a.fast for a in one.results if a.dims}) > 1:
            return 'staging'
        if ops & {'convolution', 'dot'} or _PRODUCTS.search(one.rest):
            return 'products'
        if ops & {'reduce', 'reduce-window', 'select-and-scatter', 'scatter', 'sort'}:
            return 'reductions'
        return 'copies' if ops - {'fusion', *_STARTS} <= _MOVES else 'elementwise'

    def _bytes(self, one: Instruction, beside: dict[str, Instruction]) -> float:
        if one.op in _STARTS and not _collective(one, self._inner(one)):
            large = [a for a in one.results if a.dims]
            moved = min((a.bytes for a in large), default=0)
            spaces = {a.fast for a in large}
            return moved if len(spaces) > 1 else 2 * moved * (spaces == {False})
        operands = [beside[name].results for name in one.operands if name in beside]
        inner = self._inner(one)
        in_place = next((x for x in inner.values() if x.is_root and x.op == 'dynamic-update-slice'), None)
        if one.op.startswith('ragged-all-to-all'):  # what is sent is read, and as much arrives
            return 2 * one.results[-1].bytes
        if one.op == 'dynamic-update-slice':
            return 2 * sum(a.bytes for a in operands[1] if not a.fast)
        results = one.results
        if len(results) > 1 and results[-1].dtype in ('s8', 'u8') and _PRODUCTS.search(one.rest):
            results = results[:-1]  # scratch space, of which the library takes what it needs: mostly nothing
        total: float = sum(a.bytes for a in results if not a.fast)
        if in_place:
            total = sum(a.bytes for a in inner[in_place.operands[1]].results if not any(r.fast for r in one.results))
        for number, arrays in enumerate(operands):
            held = sum(a.bytes for a in arrays if not a.fast)
            total += min(held, self._read(inner, number, held, in_place)) if one.op == 'fusion' else held
        return total

    def _read(self, inner: dict[str, Instruction], number: int, held: float, in_place: Instruction | None) -> float:
        """Bytes of an operand that a fusion reads: where it only slices it, no more than the slices."""
        one = next((x for x in inner.values() if x.op == 'parameter' and x.operands == (str(number),)), None)
        return held * min(1, self._share(inner, one, in_place)) if one else held

    def _share(self, inner: dict[str, Instruction], one: Instruction, in_place: Instruction | None) -> float:
        """How much of an array is looked at inside of a fusion."""
        users = [x for x in inner.values() if one.name in x.operands]
        share = 0.0 if users else 1.0
        for user in users:
            first = user.operands[0] == one.name
            if user.op in ('dynamic-slice', 'slice', 'gather') and first:
                share += math.prod(user.results[0].dims) * self._stepped(user) / math.prod(one.results[0].dims)
            elif user.op in ('bitcast', 'reshape', 'convert', 'copy'):
                share += self._share(inner, user, in_place)
            elif not (user is in_place and first):
                return 1
        return share

    def _stepped(self, one: Instruction) -> int:
        """By how much more a slice reads than it takes: what it steps over, unless that is rows of whole sectors."""
        steps = [int(step or 1) for step in re.findall(r'\[\d+:\d+(?::(\d+))?\]', one.rest.partition('}')[0])]
        row = one.results[0]
        rows = not self.tiled and row.dims and steps[-1:] == [1] and row.dims[-1] * BYTES[row.dtype] >= _SECTOR
        return 1 if rows else math.prod(steps)

    @functools.cached_property
    def collectives(self) -> list[Collective]:
        """In order."""
        total, before = sum(m.bytes for m in self.moves) or 1, 0.0
        found: list[Collective] = []
        started: list[int] = []  # that a TPU has under way; fusions carry them on beside work of their own
        everywhere = {name: one for inside in self.computations.values() for name, one in inside.items()}
        for move in self.moves:
            one = move.instruction
            op = _collective(one, self._inner(one))
            starts, ends = one.name.startswith(_TPU_START), one.name.startswith(_TPU_DONE)
            carries_on = ends or (started and one.op == 'fusion' and not starts)
            if ends:
                started = started[1:]
            elif started and not starts:
                for i in started:
                    found[i] = dataclasses.replace(found[i], blocking=False)
            if op and not carries_on:
                done = next(
                    (x for x in everywhere.values() if x.op.endswith('-done') and x.operands[:1] == (one.name,)), one
                )
                if starts:
                    started.append(len(found))
                    done = next(x for x in self._inner(one).values() if x.op == op)
                by_dtype: dict[str, float] = {}
                for array in done.results:
                    by_dtype[array.dtype] = by_dtype.get(array.dtype, 0) + array.sent
                found.append(
                    Collective(
                        op=op,
                        dtype=max(by_dtype, key=lambda dtype: by_dtype[dtype]),
                        bytes=sum(by_dtype.values()),
                        low=by_dtype.get('bf16', 0) + by_dtype.get('f16', 0),
                        blocking=done is one or done.op == op or not self._between(one, done),
                        place=before / total,
                        times=move.times,
                    )
                )
            before += move.bytes
        return found

    def _between(self, start: Instruction, done: Instruction) -> bool:
        """Whether something is done between the start and the end of an asynchronous operation."""
        inside = next(list(c.values()) for c in self.computations.values() if start.name in c and done.name in c)
        between = inside[inside.index(start) + 1 : inside.index(done)]
        return any(x.op not in _FREE and not x.op.endswith(('-start', '-done')) for x in between)


def _collective(one: Instruction, inner: dict[str, Instruction]) -> str:
    """The kind of a collective, '' of what is none; `inner`: what an asynchronous one wraps."""
    ops = [one.op, *(x.op for x in inner.values())] if one.op in ('async-start', 'fusion') else [one.op]
    return next((op.removesuffix('-start') for op in ops if op.removesuffix('-start') in COLLECTIVES), '')
