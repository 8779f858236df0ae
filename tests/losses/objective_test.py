import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreid import config
from jaxreid.losses import frame_consistency, memory_spread, objective, pyramid_ranking
from tests.oracles import triplet as oracle

B, D, NUM_IDS = 16, 6, 5
LABELS = np.array([0, 0, 0, 1, 1, 2, 2, 2, 3, 3, 3, 3, 4, 1, 1, 0], np.int32)


class Output(NamedTuple):
    embedding: jax.Array
    embedding_before_neck: jax.Array
    logits: jax.Array


def draw(seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    return Output(
        (0.25 * rng.normal(size=(B, D)) + np.eye(D)[LABELS]).astype(dtype),  # so that not every triplet is active
        rng.normal(size=(B, D)).astype(dtype) + 1,
        rng.normal(size=(B, NUM_IDS)).astype(dtype),
    )


def plain(cfg):
    return jax.jit(lambda output, labels: objective.of_stream(output, labels, cfg, axis_name=None))


def sharded(cfg, devices):
    mesh = jax.make_mesh(
        (devices,), ('data',), axis_types=(jax.sharding.AxisType.Auto,), devices=jax.devices()[:devices]
    )
    batch = jax.sharding.PartitionSpec('data')
    return jax.shard_map(
        lambda output, labels: objective.of_stream(output, labels, cfg, axis_name='data'),
        mesh=mesh,
        in_specs=(batch, batch),
        out_specs=jax.sharding.PartitionSpec(),
    )


CONFIGS = [
    config.Loss(triplet='margin', distance='cosine', triplet_on='after_neck'),
    config.Loss(triplet='soft', distance='euclidean', triplet_on='before_neck', smoothing=0.1, triplet_weight=0.5),
    config.Loss(triplet='margin', distance='euclidean', triplet_on='before_neck', margin=2.0),
    config.Loss(triplet='off', smoothing=0.2),
]
NAMES = ['cosine', 'soft', 'euclidean', 'off']
RINGS = [dataclasses.replace(cfg, mining='ring') for cfg in CONFIGS[:3]]


@pytest.mark.parametrize('cfg', CONFIGS[:3], ids=['cosine', 'soft', 'euclidean'])
def test_the_loss_is_the_sum_of_its_terms_from_loops(cfg):
    output = draw()
    loss, metrics = plain(cfg)(jax.tree.map(jnp.asarray, output), jnp.asarray(LABELS))
    features = output.embedding if cfg.triplet_on == 'after_neck' else output.embedding_before_neck
    margin = None if cfg.triplet == 'soft' else cfg.margin
    expected, per_anchor = oracle.batch_hard(features, LABELS, kind=cfg.distance, margin=margin)
    log_probs = output.logits - np.log(np.exp(output.logits).sum(axis=1, keepdims=True))
    plain_ce = -np.mean([row[label] for row, label in zip(log_probs, LABELS)])
    identity = (1 - cfg.smoothing) * plain_ce - cfg.smoothing * log_probs.mean()
    active = np.mean([value > (math.log(2) if cfg.triplet == 'soft' else 0) for value in per_anchor])
    assert set(metrics) == {'cross_entropy', 'triplet', 'accuracy', 'active_triplets'}
    np.testing.assert_allclose(metrics['triplet'], expected, rtol=1e-5)
    np.testing.assert_allclose(metrics['cross_entropy'], identity, rtol=1e-5)
    np.testing.assert_allclose(loss, identity + cfg.triplet_weight * expected, rtol=1e-5)
    np.testing.assert_allclose(metrics['accuracy'], np.mean(output.logits.argmax(1) == LABELS))
    np.testing.assert_allclose(metrics['active_triplets'], active)
    assert 0 < active < 1


@pytest.mark.slow
@pytest.mark.parametrize('cfg', CONFIGS + RINGS, ids=NAMES + [f'ring-{name}' for name in NAMES[:3]])
@pytest.mark.parametrize(('dtype', 'tolerance'), [(np.float32, 1e-5), (np.float64, 1e-9)])
def test_one_two_and_eight_devices_give_value_and_gradient_of_the_whole_batch(cfg, dtype, tolerance):
    with jax.enable_x64(dtype == np.float64):
        output, labels = jax.tree.map(jnp.asarray, draw(1, dtype)), jnp.asarray(LABELS)
        (loss, metrics), gradient = jax.jit(jax.value_and_grad(plain(cfg), has_aux=True))(output, labels)
        assert loss.dtype == dtype
        for devices in (1, 2, 8) if dtype == np.float64 else (8,):
            (found, found_metrics), found_gradient = jax.jit(jax.value_and_grad(sharded(cfg, devices), has_aux=True))(
                output, labels
            )
            np.testing.assert_allclose(found, loss, rtol=tolerance)
            assert found_metrics.keys() == metrics.keys()
            for name, value in metrics.items():
                np.testing.assert_allclose(found_metrics[name], value, rtol=tolerance, err_msg=name)
            for name in Output._fields:
                np.testing.assert_allclose(
                    getattr(found_gradient, name), getattr(gradient, name), rtol=tolerance, atol=tolerance / 10
                )


def test_a_parameter_shared_by_all_devices_has_the_gradient_of_the_whole_batch():
    """The trap of shard_map: a replicated parameter whose gradient comes out as many times too large as devices."""
    output, labels = jax.tree.map(jnp.asarray, draw(2)), jnp.asarray(LABELS)
    weight = jnp.asarray(np.random.default_rng(3).normal(size=(D, D)), jnp.float32)
    cfg = CONFIGS[0]

    def loss(weight, output, labels, axis_name):
        projected = output._replace(embedding=output.embedding @ weight)
        return objective.of_stream(projected, labels, cfg, axis_name=axis_name)[0]

    expected = jax.jit(lambda *args: jax.grad(loss)(*args, None))(weight, output, labels)
    mesh = jax.make_mesh((8,), ('data',), axis_types=(jax.sharding.AxisType.Auto,))
    replicated, batch = jax.sharding.PartitionSpec(), jax.sharding.PartitionSpec('data')
    found = jax.jit(
        jax.shard_map(
            lambda *args: jax.grad(loss)(*args, 'data'),
            mesh=mesh,
            in_specs=(replicated, batch, batch),
            out_specs=replicated,
        )
    )(weight, output, labels)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_anchors_without_a_negative_on_some_devices_do_not_shift_the_mean():
    """One identity fills seven of eight devices: a mean of means would be right only by luck."""
    labels = jnp.asarray([0] * 14 + [1, 2], jnp.int32)
    output = jax.tree.map(jnp.asarray, draw(4))
    np.testing.assert_allclose(
        jax.jit(sharded(CONFIGS[0], 8))(output, labels)[0], plain(CONFIGS[0])(output, labels)[0], rtol=1e-5
    )


def test_the_ring_takes_the_first_of_equally_far_samples_and_handles_lone_identities_as_the_gathered_batch_does():
    rng = np.random.default_rng(9)
    rows = jnp.asarray(rng.integers(0, 2, (B, D)), jnp.float32)  # many distances are equal
    labels = jnp.asarray([7, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 8, 9], jnp.int32)  # four have no positive
    output = Output(rows, rows, jnp.zeros((B, 10)))
    for gathered, ring in zip(CONFIGS[:3], RINGS, strict=True):
        values = [
            jax.jit(jax.value_and_grad(lambda o, c=c: sharded(c, 8)(o, labels)[0]))(output) for c in (gathered, ring)
        ]
        (loss, gradient), (expected, expected_gradient) = values
        np.testing.assert_allclose(loss, expected, rtol=1e-6)
        np.testing.assert_allclose(gradient[0] + gradient[1], expected_gradient[0] + expected_gradient[1], atol=1e-6)


def test_the_ring_never_gathers_the_features_of_all_devices():
    output, labels = jax.tree.map(jnp.asarray, draw()), jnp.asarray(LABELS)
    texts = [
        jax.jit(jax.grad(lambda o, c=c: sharded(c, 8)(o, labels)[0])).lower(output).as_text()
        for c in (CONFIGS[0], RINGS[0])
    ]
    assert ['all_gather' in text for text in texts] == [True, False]
    assert ['collective_permute' in text for text in texts] == [False, True]


def test_a_batch_of_one_identity_has_no_triplet_loss_and_finite_gradients():
    output, labels = jax.tree.map(jnp.asarray, draw(5)), jnp.zeros(B, jnp.int32)
    (_, metrics), gradient = jax.jit(jax.value_and_grad(plain(CONFIGS[0]), has_aux=True))(output, labels)
    assert metrics['triplet'] == 0
    assert metrics['active_triplets'] == 0
    assert all(np.isfinite(leaf).all() for leaf in gradient)


def test_without_the_triplet_the_features_get_no_gradient():
    output, labels = jax.tree.map(jnp.asarray, draw(6)), jnp.asarray(LABELS)
    gradient = jax.jit(jax.grad(lambda output: plain(CONFIGS[3])(output, labels)[0]))(output)
    assert not gradient.embedding.any()
    assert not gradient.embedding_before_neck.any()
    assert gradient.logits.any()


def test_half_precision_outputs_give_a_float32_loss():
    output = jax.tree.map(lambda x: jnp.asarray(x, jnp.bfloat16), draw(7))
    loss, metrics = plain(CONFIGS[0])(output, jnp.asarray(LABELS))
    assert loss.dtype == jnp.float32
    assert all(value.dtype == jnp.float32 and value.shape == () for value in metrics.values())


@pytest.mark.parametrize('field', ['triplet', 'distance', 'triplet_on', 'mining'])
def test_an_unknown_name_is_refused_with_the_field(field):
    with pytest.raises(ValueError, match=f'loss.{field} = .hard. is not known'):
        plain(config.Loss(**{field: 'hard'}))(jax.tree.map(jnp.asarray, draw()), jnp.asarray(LABELS))


class WithStreams(NamedTuple):
    """A model's output that is supervised in streams."""

    embedding: jax.Array
    embedding_before_neck: jax.Array
    logits: jax.Array
    streams: dict
    extras: dict


def whole(output, labels, experiment):
    return objective.objective(output, labels, experiment, index=jnp.arange(B), key=jax.random.key(0), axis_name=None)


def test_streams_add_up_and_a_stream_of_frames_repeats_the_labels_of_its_clips():
    labels, e = jnp.asarray(LABELS), config.Experiment()
    main, other = (Output(*map(jnp.asarray, draw(seed))) for seed in (5, 6))
    frames = Output(*(jnp.repeat(x, 3, axis=0) for x in other))  # three equal frames per clip
    output = WithStreams(*main, streams={'frames': frames, 'main': main}, extras={})
    loss, metrics = whole(output, labels, e)
    of_main, main_metrics = objective.of_stream(main, labels, e.loss, axis_name=None)
    of_frames, frame_metrics = objective.of_stream(frames, np.repeat(LABELS, 3), e.loss, axis_name=None)
    np.testing.assert_allclose(loss, of_main + of_frames, rtol=1e-6)
    np.testing.assert_allclose(metrics['triplet'], main_metrics['triplet'] + frame_metrics['triplet'], rtol=1e-6)
    np.testing.assert_allclose(metrics['cross_entropy/frames'], frame_metrics['cross_entropy'])
    np.testing.assert_allclose(metrics['accuracy'], main_metrics['accuracy'])


def test_without_streams_the_output_itself_is_supervised():
    labels, e = jnp.asarray(LABELS), config.Experiment()
    output = Output(*map(jnp.asarray, draw(5)))
    loss, metrics = whole(WithStreams(*output, streams={}, extras={}), labels, e)
    assert set(metrics) == {'loss', 'cross_entropy', 'triplet', 'accuracy', 'active_triplets'}
    np.testing.assert_allclose(loss, objective.of_stream(output, labels, e.loss, axis_name=None)[0], rtol=1e-6)


def test_the_term_of_a_system_is_added_with_its_weight():
    rng, labels = np.random.default_rng(8), jnp.asarray(LABELS)
    match = rng.dirichlet(np.ones(3), (B, 2)).astype(np.float32)
    attention = rng.random((B, 4, 3, 2)).astype(np.float32)
    stripes = {'1': rng.normal(size=(B, 4, 1, 5)).astype(np.float32)}
    extras = {'spatial_match': match, 'temporal_match': match[:, 0], 'attention': attention, 'stripes': stripes}
    output = WithStreams(*map(jnp.asarray, draw(5)), streams={}, extras=jax.tree.map(jnp.asarray, extras))
    e = config.Experiment(
        stmn=config.Stmn(spread='sum', alpha=0.9),
        sta=config.Sta(reg_lambda=0.3),
        star=config.Star(pyramid_weight=0.7, pyramid_mine='stripe'),
    )
    spread = sum(memory_spread.memory_spread(m, alpha=0.9, reduce='sum') for m in (match, match[:, 0]))
    apart = frame_consistency.frame_consistency(
        attention, jax.random.key(0), jnp.arange(B), squared=e.sta.reg_squared
    ).mean()
    ranked = pyramid_ranking.pyramid_ranking(stripes, labels, margin=e.star.pyramid_margin, axis_name=None)
    plain_loss, _ = whole(output, labels, e)
    for system, name, term, weight in (
        ('stmn', 'memory_spread', spread, 1.0),
        ('sta', 'frame_consistency', apart, 0.3),
        ('star', 'pyramid_ranking', ranked, 0.7),
    ):
        e.system = system
        loss, metrics = whole(output, labels, e)
        assert term > 0.01
        np.testing.assert_allclose(metrics[name], term, rtol=1e-5)
        np.testing.assert_allclose(loss, plain_loss + weight * term, rtol=1e-5)
        np.testing.assert_allclose(metrics['loss'], loss)
