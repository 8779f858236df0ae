"""Bytes and collectives of a scheduled program, by hand."""

import pytest

from jaxreid.plan import hlo

TEXT = """HloModule jit_step, input_output_alias={ {0}: (0, {}, may-alias) }, entry_computation_layout={()->()}

%add (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %sum = f32[] add(%a, %b)
}

%one_row (param_0: f32[100,4], param_1: s32[]) -> f32[1,4] {
  %param_0 = f32[100,4]{1,0} parameter(0)
  %param_1 = s32[] parameter(1)
  ROOT %ds = f32[1,4]{1,0} dynamic-slice(%param_0, %param_1, %param_1), dynamic_slice_sizes={1,4}
}

%write_row (param_0.1: f32[100,4], param_1.1: f32[1,4], param_2: s32[]) -> f32[100,4] {
  %param_0.1 = f32[100,4]{1,0} parameter(0)
  %param_1.1 = f32[1,4]{1,0} parameter(1)
  %param_2 = s32[] parameter(2)
  ROOT %dus = f32[100,4]{1,0} dynamic-update-slice(%param_0.1, %param_1.1, %param_2, %param_2)
}

%product (param_0.2: bf16[8,16], param_1.2: bf16[16,8]) -> f32[8,8] {
  %param_0.2 = bf16[8,16]{1,0} parameter(0)
  %param_1.2 = bf16[16,8]{1,0} parameter(1)
  ROOT %dot = f32[8,8]{1,0} dot(%param_0.2, %param_1.2), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

%begin (param_0.3: f32[8,8]) -> (f32[8,8], u32[]) {
  %param_0.3 = f32[8,8]{1,0} parameter(0)
  %all-reduce.1 = f32[8,8]{1,0} all-reduce(%param_0.3), channel_id=1, to_apply=%add
  ROOT %under-way = (f32[8,8]{1,0}, u32[]) custom-call(%param_0.3, %all-reduce.1), custom_call_target="start"
}

%go_on (param_0.4: f32[8,8], param_1.4: bf16[8,16], param_2.4: bf16[16,8]) -> (f32[8,8], f32[8,8]) {
  %param_0.4 = f32[8,8]{1,0} parameter(0)
  %param_1.4 = bf16[8,16]{1,0} parameter(1)
  %param_2.4 = bf16[16,8]{1,0} parameter(2)
  %all-reduce.2 = f32[8,8]{1,0} all-reduce(%param_0.4), channel_id=1, to_apply=%add
  %step = f32[8,8]{1,0} custom-call(%all-reduce.2), custom_call_target="step"
  %dot.4 = f32[8,8]{1,0} dot(%param_1.4, %param_2.4), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  ROOT %both = (f32[8,8]{1,0}, f32[8,8]{1,0}) tuple(%dot.4, %step)
}

%end (param_0.5: f32[8,8]) -> f32[8,8] {
  %param_0.5 = f32[8,8]{1,0} parameter(0)
  %all-reduce.3 = f32[8,8]{1,0} all-reduce(%param_0.5), channel_id=1, to_apply=%add
  ROOT %done.5 = f32[8,8]{1,0} custom-call(%param_0.5, %all-reduce.3), custom_call_target="done"
}

%body (state: (s32[], f32[100,4])) -> (s32[], f32[100,4]) {
  %state = (s32[], f32[100,4]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%state), index=0
  %rows = f32[100,4]{1,0} get-tuple-element(%state), index=1
  %row = f32[1,4]{1,0} fusion(%rows, %i), kind=kLoop, calls=%one_row
  %rows.2 = f32[100,4]{1,0} fusion(%rows, %row, %i), kind=kLoop, calls=%write_row
  ROOT %next = (s32[], f32[100,4]{1,0}) tuple(%i, %rows.2)
}

ENTRY %main (p0: f32[100,4], p1: bf16[8,16], p2: bf16[16,8]) -> (f32[100,4], f32[8,8]) {
  %p0 = f32[100,4]{1,0:T(8,128)} parameter(0)
  %p1 = bf16[8,16]{1,0} parameter(1)
  %p2 = bf16[16,8]{1,0:T(8,128)(2,1)S(1)} parameter(2)
  %zero = s32[] constant(0)
  %start = (s32[], f32[100,4]{1,0}) tuple(%zero, %p0)
  %loop = (s32[], f32[100,4]{1,0}) while(%start), body=%body, backend_config={"known_trip_count":{"n":"7"}}
  %out = f32[8,8]{1,0} fusion(%p1, %p2), kind=kOutput, calls=%product, metadata={op_name="jit(step)/dot_general"}
  %sum.1 = (f32[8,8]{1,0}, /*index=1*/bf16[4]{0}) all-reduce(%out, %p1), replica_groups={{0,1}}, to_apply=%add
  %gather = (bf16[8,16]{1,0}, bf16[16,16]{1,0}) all-gather-start(%p1), dimensions={0}
  %neg = f32[8,8]{1,0} negate(%out)
  %gathered = bf16[16,16]{1,0} all-gather-done(%gather)
  %sum.2 = bf16[16]{0} all-reduce-start(%p1), to_apply=%add
  %sum.3 = bf16[16]{0} all-reduce-done(%sum.2)
  %slices = s32[4]{0} iota(), iota_dimension=0
  %slots = f32[3,4]{1,0} broadcast(%zero), dimensions={}
  %rows.3 = ((f32[100,4]{1,0}, f32[3,4]{1,0}, s32[4]{0}), f32[3,4]{1,0}) ragged-all-to-all-start(%p0, %slots, %slices)
  %rows.4 = f32[3,4]{1,0} ragged-all-to-all-done(%rows.3)
  %async-collective-start = (f32[8,8]{1,0}, u32[]) fusion(%neg), kind=kCustom, calls=%begin
  %async-collective-done = f32[8,8]{1,0} fusion(%neg), kind=kCustom, calls=%end
  %async-collective-start.1 = (f32[8,8]{1,0}, u32[]) fusion(%neg), kind=kCustom, calls=%begin
  %beside = (f32[8,8]{1,0}, f32[8,8]{1,0}) fusion(%neg, %p1, %p2), kind=kOutput, calls=%go_on
  %async-collective-done.1 = f32[8,8]{1,0} fusion(%neg), kind=kCustom, calls=%end
  %rows.9 = f32[100,4]{1,0} get-tuple-element(%loop), index=1
  ROOT %all = (f32[100,4]{1,0}, f32[8,8]{1,0}) tuple(%rows.9, %neg)
}
"""


ASYNC = {
    'async-collective-start',
    'async-collective-done',
    'async-collective-start.1',
    'async-collective-done.1',
    'beside',
}


SLICES = """HloModule jit_step

%first_row (p: bf16[512,256]) -> f32[1,1,256] {
  %p = bf16[512,256]{1,0} parameter(0)
  %named = bf16[1,512,256]{2,1,0} bitcast(%p)
  %wide = f32[1,512,256]{2,1,0} convert(%named)
  ROOT %row = f32[1,1,256]{2,1,0} slice(%wide), slice={[0:1], [0:1], [0:256]}
}

%first_row_and_sum (p.1: bf16[512,256]) -> (f32[1,256], f32[256]) {
  %p.1 = bf16[512,256]{1,0} parameter(0)
  %wide.1 = f32[512,256]{1,0} convert(%p.1)
  %row.1 = f32[1,256]{1,0} slice(%wide.1), slice={[0:1], [0:256]}
  %none = f32[] constant(0)
  %sum.1 = f32[256]{0} reduce(%wide.1, %none), dimensions={0}, to_apply=%add
  ROOT %both = (f32[1,256]{1,0}, f32[256]{0}) tuple(%row.1, %sum.1)
}

%every_other_row (p.2: bf16[512,256]) -> bf16[256,256] {
  %p.2 = bf16[512,256]{1,0} parameter(0)
  ROOT %rows.2 = bf16[256,256]{1,0} slice(%p.2), slice={[0:512:2], [0:256:1]}
}

%every_other_column (p.3: bf16[512,256]) -> bf16[512,128] {
  %p.3 = bf16[512,256]{1,0} parameter(0)
  ROOT %columns.3 = bf16[512,128]{1,0} slice(%p.3), slice={[0:512:1], [0:256:2]}
}

ENTRY %main (x: bf16[512,256], w: bf16[256,64]) -> bf16[512,64] {
  %x = bf16[512,256]{1,0LAYOUT} parameter(0)
  %w = bf16[256,64]{1,0} parameter(1)
  %row = f32[1,1,256]{2,1,0} fusion(%x), kind=kLoop, calls=%first_row
  %all = (f32[1,256]{1,0}, f32[256]{0}) fusion(%x), kind=kInput, calls=%first_row_and_sum
  %rows = bf16[256,256]{1,0} fusion(%x), kind=kLoop, calls=%every_other_row
  %columns = bf16[512,128]{1,0} fusion(%x), kind=kLoop, calls=%every_other_column
  %product = (bf16[512,64]{1,0}, s8[4194304]{0}) custom-call(%x, %w), custom_call_target="__cublas$lt$matmul"
  %convolution = (bf16[512,64]{1,0}, u8[65536]{0}) custom-call(%x, %w), custom_call_target="__cudnn$convForward"
  %bytes = (bf16[512,64]{1,0}, u8[65536]{0}) custom-call(%x, %w), custom_call_target="quantise"
  ROOT %y = bf16[512,64]{1,0} get-tuple-element(%product), index=0
}
"""
X, W, Y = 512 * 256 * 2, 256 * 64 * 2, 512 * 64 * 2  # bytes


@pytest.fixture(scope='module')
def program():
    return hlo.Program(TEXT)


def bytes_of(program):
    return {move.instruction.name: move.bytes for move in program.moves}


def test_loops_count_by_their_turns_and_slices_by_what_they_take(program):
    assert bytes_of(program)['row'] == 7 * (2 * 4 * 4 + 4)  # a row read, a row written, and the number
    assert bytes_of(program)['rows.2'] == 7 * (2 * 4 * 4 + 4)  # in place: the array itself stays


def test_a_fusion_that_takes_a_row_reads_a_row_whatever_stands_between():
    moved = bytes_of(hlo.Program(SLICES.replace('LAYOUT', '')))
    assert moved['row'] == 256 * 2 + 256 * 4
    assert moved['all'] == X + 2 * 256 * 4  # another part of it reads all


def test_what_a_slice_steps_over_is_read_where_it_lies_in_between():
    moved = bytes_of(hlo.Program(SLICES.replace('LAYOUT', '')))
    assert moved['rows'] == X / 2 + X / 2
    assert moved['columns'] == X + X / 2
    tiled = bytes_of(hlo.Program(SLICES.replace('LAYOUT', ':T(8,128)(2,1)')))
    assert tiled['rows'] == X + X / 2  # rows of a TPU lie in tiles of eight


def test_scratch_space_of_products_is_not_moved():
    moved = bytes_of(hlo.Program(SLICES.replace('LAYOUT', '')))
    assert moved['product'] == moved['convolution'] == X + W + Y
    assert moved['bytes'] == X + W + Y + 65536  # a result as any other


def test_products_read_and_write_main_memory_and_not_the_fast_one(program):
    (one,) = [move for move in program.moves if move.instruction.name == 'out']
    assert (one.kind, one.bytes) == ('products', 8 * 16 * 2 + 8 * 8 * 4)
    assert one.instruction.source == 'jit(step)/dot_general'


def test_what_only_names_arrays_moves_nothing(program):
    assert (
        set(bytes_of(program)) == {'row', 'rows.2', 'out', 'sum.1', 'gather', 'neg', 'sum.2', 'slots', 'rows.3'} | ASYNC
    )


def test_devices_that_send_rows_to_one_another_read_those_rows_and_not_all_that_they_have(program):
    (one,) = [move for move in program.moves if move.instruction.name == 'rows.3']
    assert (one.kind, one.bytes) == ('collectives', 2 * 3 * 4 * 4)


def test_arrays_of_a_tpu_count_with_their_tiles(program):
    assert program.arguments[0].bytes == 104 * 128 * 4
    assert program.arguments[0].sent == 100 * 4 * 4
    assert program.arguments[2].fast


def test_a_donated_argument_is_known(program):
    assert program.donated == {0}


def test_collectives_have_their_dtype_bytes_place_and_whether_they_are_waited_for(program):
    first, second, third, fourth, *_ = program.collectives
    assert (first.op, first.dtype, first.bytes, first.low, first.blocking) == ('all-reduce', 'f32', 264, 8, True)
    assert (second.op, second.bytes, second.blocking) == ('all-gather', 512, False)  # a negation is made beside it
    assert (third.op, third.dtype, third.bytes, third.blocking) == ('all-reduce', 'bf16', 32, True)  # nothing is
    assert (fourth.op, fourth.bytes, fourth.blocking) == ('ragged-all-to-all', 3 * 4 * 4, True)
    assert 0 < first.place < second.place < third.place < fourth.place < 1


def test_what_a_tpu_sends_in_pieces_beside_other_work_counts_once(program):
    waited, beside = program.collectives[4:]
    assert (waited.op, waited.dtype, waited.bytes, waited.blocking) == ('all-reduce', 'f32', 256, True)
    assert (beside.op, beside.dtype, beside.bytes, beside.blocking) == ('all-reduce', 'f32', 256, False)
    (one,) = [move for move in program.moves if move.instruction.name == 'beside']
    assert one.kind == 'products'


def test_a_sum_while_a_tpu_has_another_under_way_counts_too():
    between = '  %between = f32[8,8]{1,0} all-reduce(%out), channel_id=2, to_apply=%add\n  %beside = '
    waited, beside, third = hlo.Program(TEXT.replace('  %beside = ', between)).collectives[4:]
    assert (waited.blocking, beside.blocking) == (True, False)
    assert (third.op, third.bytes, third.blocking) == ('all-reduce', 256, True)
