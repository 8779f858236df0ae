"""The peers of the speed benchmarks are the same networks, and the commands run at toy size."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from benchmarks import commits, contender, extract, gpu, mars_size, profile
from jaxreid.models import build
from jaxreid.process import freed_memory
from jaxreid.training import augment

pytestmark = pytest.mark.slow

TOY = {'clips': 4, 'frames': 3, 'height': 32, 'width_px': 16, 'width': 16, 'depths': (1, 1, 1, 1), 'ids': 5}


@pytest.mark.parametrize('system', ['c2d', 'strf'])
def test_both_forms_of_the_peer_give_the_features_of_jaxreid(system, tmp_path):
    torch = pytest.importorskip('torch')
    from benchmarks import peer_torch

    work = contender.Work(system=system, **TOY)
    contender.draw_weights(work, tmp_path / 'weights.npz')
    model = build.build(work.experiment(), num_ids=work.ids, dtype=jnp.float32)
    clips = augment.normalise(jnp.asarray(work.batch()[0]), jnp.float32)
    expected = model.apply(contender.jax_variables(tmp_path / 'weights.npz'), clips, train=False)
    for form in peer_torch.FORMS:
        network = peer_torch.Network(
            strf=system == 'strf', form=form, frames=work.frames, num_ids=work.ids, width=16, depths=(1, 1, 1, 1)
        )
        with np.load(tmp_path / 'weights.npz') as file:
            network.load(dict(file))
        with torch.no_grad():
            embedding, logits = network.eval()(torch.tensor(np.asarray(clips)).permute(0, 4, 1, 2, 3))
        np.testing.assert_allclose(embedding, expected.embedding, rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(logits, expected.logits, rtol=1e-3, atol=1e-3)


def test_a_training_step_counts_three_forwards_less_the_gradient_of_the_pixels():
    assert contender.gflop_per_frame(contender.Work(system='c2d'), training=False) == pytest.approx(8.107, abs=1e-3)
    assert contender.gflop_per_frame(contender.Work(system='c2d'), training=True) == pytest.approx(24.17, abs=0.01)


def test_a_commit_is_compared_with_another_over_starts_of_both():
    rng = np.random.default_rng(0)
    before, after = np.exp(rng.normal(size=(2, 5, 3)))
    of_starts = np.log(after / before).mean(1)
    interval = stats.ttest_1samp(of_starts, 0).confidence_interval()
    expected = np.exp([of_starts.mean(), interval.low, interval.high])
    np.testing.assert_allclose(commits.ratio(before, after), expected, atol=5e-4)


def test_drawn_lengths_are_those_of_mars():
    frames = extract.lengths()
    assert (len(frames), np.median(frames)) == (12_180, 30)
    assert frames.mean() == pytest.approx(55.9, rel=0.05)


def test_ranks_on_the_device_count_what_lies_nearer():
    rng = np.random.default_rng(0)
    query, gallery = (jnp.asarray(rng.normal(size=(n, 6)), jnp.float32) for n in (5, 30))
    matches = rng.integers(0, 30, (5, 4)).astype(np.int32)
    found = gpu.ranks_on_device(query, gallery, jnp.asarray(matches))
    distance = -np.asarray(query) @ np.asarray(gallery).T
    expected = [[int((row < row[m]).sum()) for m in columns] for row, columns in zip(distance, matches, strict=True)]
    np.testing.assert_array_equal(found, expected)


def test_rows_of_a_section_are_kept_when_its_time_is_up(monkeypatch, tmp_path):
    monkeypatch.setattr(mars_size, 'RESULTS', tmp_path)
    rows = list(gpu.run('ceilings', toy=True, limit_s=60))
    assert [row['what'].split()[0] for row in rows] == ['device', 'matmul', 'matmul', 'matmul', 'copy']
    assert all(row['median_s'] > 0 for row in rows[1:])
    assert 'ended after' in list(gpu.run('forms', toy=True, limit_s=0.1))[-1]['what']
    assert json.loads(mars_size.write('gpu', rows).read_text())['rows'] == rows


def test_operations_belong_to_the_layer_and_the_direction_that_the_program_names():
    program = """
  %fusion.1 = f32[8]{0} fusion(%a), kind=kLoop, metadata={op_type="x" op_name="jit(f)/jvp(B)/layer2/block0/conv1/dot"}
  ROOT %dot.2 = f32[8]{0} dot(%b, %c), metadata={op_name="jit(f)/transpose(jvp(B))/layer2/block0/strf/t_tau/dot"}
  %add.3 = f32[] add(%x, %y)
  %ynn_fusion.4 = f32[3,7,7,64]{3,2,1,0} fusion(%d, %e), kind=kCustom, calls=%fused_computation.79
}

%fused_computation.79 (d: f32[3,8], e: f32[8,4]) -> f32[3,7,7,64] {
  ROOT %c.3 = f32[3,7,7,64]{3,2,1,0} convolution(%d, %e), window={size=128x64}, dim_labels=b01f_01io->b01f
}
"""
    paths = profile.names(program)
    events = [
        {'ph': 'X', 'dur': dur, 'args': {'hlo_op': op}}
        for op, dur in (('fusion.1', 2000), ('dot.2', 3000), ('fusion.1', 1000), ('add.3', 500), ('ynn_fusion.4', 7000))
    ]
    assert profile.milliseconds([*events, {'ph': 'X', 'dur': 9, 'args': {}}, {'ph': 'M'}], paths) == {
        ('convolutions', 'forward'): 3, ('STRF units', 'backward'): 3, (profile.REST, 'forward'): 0.5,
        ('convolutions', 'backward'): 7,
    }  # fmt: skip


def test_the_profile_of_a_step_finds_every_kind_of_layer(monkeypatch, tmp_path):
    monkeypatch.setattr(mars_size, 'RESULTS', tmp_path)
    monkeypatch.setattr('sys.argv', ['profile', '--toy', '--systems', 'strf', '--clips', '8'])
    profile.main()
    assert not freed_memory._kept
    rows = {row['what']: row for row in json.loads((tmp_path / 'profile.json').read_text())['rows']}
    assert rows.keys() == {*profile.KINDS, profile.REST}
    assert rows['convolutions']['forward_ms'] > 0 < rows['convolutions']['backward_ms']
    assert sum(row['percent'] for row in rows.values()) == pytest.approx(100)
