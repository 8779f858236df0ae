import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreid import config
from jaxreid.layers import affinity, strf_unit
from tests.oracles import strf as oracle

SMALL = config.Strf(reduction=2)
BRANCHES = config.Strf().branches
ORDERS = ('t_then_s', 's_then_t', 'parallel')


def settings(**changes):
    return dataclasses.replace(SMALL, **changes)


def clips(b=2, t=3, h=4, w=3, c=6, seed=0):
    return np.random.default_rng(seed).normal(size=(b, t, h, w, c)).astype(np.float32) * 0.7


def kernels(c=6, seed=1, names=BRANCHES):
    rng = np.random.default_rng(seed)
    return {name: rng.uniform(-(c**-0.5), c**-0.5, (c, c // 2)).astype(np.float32) for name in names}


@functools.partial(jax.jit, static_argnums=0)
def apply(s, params, f):
    return strf_unit.StrfUnit(s).apply({'params': params}, f)


def unit(s, f, params=None):
    params = kernels(f.shape[-1]) if params is None else params
    enabled = {k: v for k, v in params.items() if k in s.branches} if s.fam == 'covariance' else {}
    return np.asarray(apply(s, enabled, f)[0])


def expected_unit(s, f, params):
    """The unit by the NumPy oracle."""
    out = []
    for clip in f.astype(np.float64):

        def module(d, x, clip=clip):
            names = [b for b in s.branches if b.startswith(d)]
            whole = clip.shape[0] if d == 't' else 2 * max(clip.shape[1:3])
            return oracle.ffm(
                x,
                [params[n] for n in names],
                temporal=d == 't',
                extents=[
                    2 * whole + 1 if n in s.global_pool else s.r_tau if n.endswith('tau') else s.r_sigma for n in names
                ],
                averages=[n in s.avg_pool for n in names],
                kappa=s.kappa,
                residual=s.residual,
                mean=s.branch_reduce == 'mean',
                norm=s.cov_norm,
                target=s.softmax_axis == 'target',
                counts_padding=s.avg_counts_padding and not s.global_pool,
                strided=s.pool_mode == 'strided',
            )

        match s.order:
            case 't_then_s':
                out.append(module('s', module('t', clip)))
            case 's_then_t':
                out.append(module('t', module('s', clip)))
            case _:
                out.append(module('t', clip) + module('s', clip))
    return np.stack(out)


@pytest.mark.parametrize(
    'changes',
    [
        {},
        {'order': 's_then_t', 'residual': True},
        {'order': 'parallel', 'branch_reduce': 'mean'},
        {'softmax_axis': 'target', 'cov_norm': 'l2'},
        {'cov_norm': 'none'},
        {'cov_norm': 'centre', 'pool_mode': 'strided', 'r_tau': 2, 'r_sigma': 2},
        {'r_tau': 3, 'r_sigma': 5, 'avg_pool': ('t_tau', 's_sigma')},
        {'r_tau': 2, 'r_sigma': 4, 'avg_pool': BRANCHES, 'avg_counts_padding': False},
        {'pool_mode': 'strided', 'r_tau': 2, 'r_sigma': 4},
        {'pool_mode': 'strided', 'r_tau': 2, 'r_sigma': 3, 'avg_pool': ('t_sigma', 's_tau')},
        {'branches': ('t_sigma', 's_tau'), 'kappa': 1.5},
        {'global_pool': ('s_sigma',), 'avg_pool': ('s_sigma',)},
        {'global_pool': ('t_tau',)},
        {'global_pool': ('t_sigma',), 'pool_mode': 'strided'},
    ],
    ids=str,
)
def test_the_unit_equals_loops_over_positions(changes):
    s, f, params = settings(**changes), clips(), kernels()
    np.testing.assert_allclose(unit(s, f, params), expected_unit(s, f, params), rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize('branches', [c for n in range(1, 5) for c in itertools.combinations(BRANCHES, n)], ids=str)
def test_every_subset_of_branches_has_a_quarter_of_its_parameters_per_branch(branches):
    s = config.Strf(branches=branches)
    f = jax.ShapeDtypeStruct((1, 4, 4, 2, 32), jnp.float32)
    (out, _), v = jax.eval_shape(lambda f: strf_unit.StrfUnit(s).init_with_output(jax.random.key(0), f), f)
    assert out.shape == f.shape
    assert sum(k.size for k in v['params'].values()) == 32**2 // 16 * len(branches)


@pytest.mark.parametrize('fam', ['none_hadamard', 'none_gram', 'none_softmax'])
def test_without_fam_there_are_no_parameters_and_the_input_weighs_itself(fam):
    f = clips(t=2)
    s = settings(fam=fam, branches=('t_tau', 't_sigma'))
    assert not strf_unit.StrfUnit(s).init(jax.random.key(0), f)
    for clip, out in zip(f, unit(s, f), strict=True):
        x = clip.transpose(3, 0, 1, 2).reshape(-1, 12).astype(np.float64)  # (C T) x P
        match fam:
            case 'none_hadamard':
                expected = 2 * clip * clip
            case 'none_gram':
                expected = 2 * oracle.remix(clip, x.T @ x / 12)
            case _:
                expected = 2 * oracle.remix(clip, oracle.fam(clip, kappa=4.0))
        np.testing.assert_allclose(out, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize('order', ORDERS)
@pytest.mark.parametrize('mode', ['same', 'strided'])
@pytest.mark.parametrize('pair', [(1, 1), (1, 3), (1, 5), (3, 5), (2, 4)])
@pytest.mark.parametrize('t', [1, 8])
def test_the_shape_is_kept(order, mode, pair, t):
    s = settings(order=order, pool_mode=mode, r_tau=pair[0], r_sigma=pair[1], avg_pool=('t_sigma',))
    f = jax.ShapeDtypeStruct((2, t, 5, 3, 4), jnp.float32)
    out, _ = jax.eval_shape(lambda f: strf_unit.StrfUnit(s).init_with_output(jax.random.key(0), f)[0], f)
    assert out.shape == f.shape


def test_a_strided_temporal_pool_shortens_the_covariance_only():
    u = jnp.asarray(clips(t=8))
    s = settings(pool_mode='strided', r_tau=2, r_sigma=4)
    assert strf_unit.pool(u, branch='t_tau', settings=s).shape[1] == 4
    assert strf_unit.pool(u, branch='t_sigma', settings=s).shape[1] == 2
    assert strf_unit.pool(u, branch='s_sigma', settings=s).shape == u.shape
    assert unit(s, clips(t=8)).shape == (2, 8, 4, 3, 6)


def vectors(seed=3):
    return jnp.asarray(clips(c=4, seed=seed).reshape(2, 3, 12, 4))


def mask(z, *, norm='frame', kappa=4.0):
    """M of pooled vectors [B, T', P, c], rows sum to 1, and the covariance it is made of."""
    v = strf_unit.factors(z, norm=norm).swapaxes(1, 2).reshape(z.shape[0], z.shape[2], -1)
    (made,), _ = affinity.masks([v], [v], jnp.arange(z.shape[2])[None], kappa)
    return np.asarray(made), kappa * np.einsum('bpd,bqd->bpq', v, v)


def test_masks_are_distributions_and_covariances_positive_semidefinite():
    source, cov = mask(vectors())
    assert np.linalg.eigvalsh(cov.astype(np.float64)).min() > -1e-4
    assert float(source.min()) >= 0
    np.testing.assert_allclose(source.sum(2), 1, rtol=1e-5)


def test_kappa_zero_gives_a_uniform_mask_and_l2_bounds_the_covariance():
    np.testing.assert_allclose(mask(vectors(), kappa=0.0)[0], 1 / 12, rtol=1e-6)
    _, cov = mask(vectors() * 100, norm='l2')
    assert float(np.abs(cov).max()) <= 4.0001
    np.testing.assert_allclose(np.diagonal(cov, axis1=1, axis2=2), 4, rtol=1e-5)


def test_extent_one_pools_nothing_so_dynamic_branches_of_equal_weights_coincide():
    f = clips()
    for average in ((), BRANCHES):
        s = settings(avg_pool=average)
        np.testing.assert_array_equal(strf_unit.pool(jnp.asarray(f), branch='t_tau', settings=s), f)
    same = dict.fromkeys(BRANCHES, kernels()['t_tau'])
    temporal, spatial = (unit(settings(branches=(b,)), f, same) for b in ('t_tau', 's_tau'))
    np.testing.assert_allclose(temporal, spatial, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('average', [(), ('s_tau',)])
def test_global_spatial_pooling_is_the_spatial_mean(average):
    f = clips()
    out = unit(settings(branches=('s_tau',), global_pool=('s_tau',), avg_pool=average), f)
    np.testing.assert_allclose(out, np.broadcast_to(f.mean((2, 3), keepdims=True), f.shape), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('branch', BRANCHES)
def test_a_branch_gives_convex_combinations_of_positions(branch):
    f = clips()
    s = settings(branches=(branch,))
    out = unit(s, f)
    assert (out >= f.min((2, 3), keepdims=True) - 1e-5).all()
    assert (out <= f.max((2, 3), keepdims=True) + 1e-5).all()
    flat = np.broadcast_to(f[:, :, :1, :1], f.shape)
    np.testing.assert_allclose(unit(s, flat), flat, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('branch', ['s_tau', 's_sigma', 't_tau'])
def test_spatial_branches_follow_any_order_of_frames(branch):
    f, order = clips(t=5), [3, 0, 4, 1, 2]
    s = settings(branches=(branch,))
    np.testing.assert_allclose(unit(s, f[:, order]), unit(s, f)[:, order], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('branch', ['t_tau', 't_sigma'])
def test_temporal_branches_follow_any_order_of_positions_and_reversed_time(branch):
    f = clips(t=5)
    s = settings(branches=(branch,))
    order = np.random.default_rng(5).permutation(12)

    def permuted(x):
        return x.reshape(2, 5, 12, 6)[:, :, order].reshape(x.shape)

    np.testing.assert_allclose(unit(s, permuted(f)), permuted(unit(s, f)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(unit(s, f[:, ::-1]), unit(s, f)[:, ::-1], rtol=1e-4, atol=1e-5)


def test_a_static_temporal_branch_sees_the_order_of_frames():
    f, order = clips(t=5), [3, 0, 4, 1, 2]
    s = settings(branches=('t_sigma',))
    assert np.abs(unit(s, f[:, order]) - unit(s, f)[:, order]).max() > 1e-2


@pytest.mark.parametrize('order', ORDERS)
def test_mirrored_clips_give_mirrored_results(order):
    f = clips()
    s = settings(order=order)
    np.testing.assert_allclose(unit(s, f[:, :, :, ::-1]), unit(s, f)[:, :, :, ::-1], rtol=1e-3, atol=1e-4)


def test_parallel_is_the_sum_and_a_disabled_dimension_is_the_identity():
    f = clips()
    temporal = unit(settings(branches=('t_tau', 't_sigma')), f)
    spatial = unit(settings(branches=('s_tau', 's_sigma')), f)
    np.testing.assert_allclose(unit(settings(order='parallel'), f), temporal + spatial, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(unit(settings(), f), unit(settings(branches=('s_tau', 's_sigma')), temporal), rtol=1e-5)
    one_sided = unit(settings(order='parallel', branches=('t_tau', 't_sigma')), f)
    np.testing.assert_allclose(one_sided, temporal + f, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('axis', ['source', 'target'])
def test_large_maps_are_worked_in_tiles_with_the_same_result_and_gradient(axis, monkeypatch):
    f = clips(h=6)
    s = settings(softmax_axis=axis, pool_mode='strided', r_tau=2, r_sigma=3)
    weight = clips(h=6, seed=7)

    def both():
        def loss(params, f):
            out, shown = strf_unit.StrfUnit(s).apply({'params': params}, f)
            return (out * weight).sum(), shown

        return jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))(kernels(), f)

    whole = both()
    monkeypatch.setattr(affinity, 'MAX_POSITIONS', 8)
    monkeypatch.setattr(affinity, 'ROWS', 7)
    monkeypatch.setattr(affinity, 'ENTROPY_STRIDE', 1)
    tiles = both()
    monkeypatch.setattr(affinity, 'MAX_POSITIONS', 1000)
    for a, b in zip(jax.tree.leaves((tiles[0][0], tiles[1])), jax.tree.leaves((whole[0][0], whole[1])), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
    for name, value in both()[0][1].items():
        np.testing.assert_allclose(tiles[0][1][name], value, rtol=1e-5)


@pytest.mark.parametrize('axis', ['source', 'target'])
def test_tiles_run_inside_shard_map(axis, monkeypatch):
    monkeypatch.setattr(affinity, 'MAX_POSITIONS', 8)
    monkeypatch.setattr(affinity, 'ROWS', 5)
    f, s, spec = clips(), settings(softmax_axis=axis), jax.sharding.PartitionSpec
    mesh = jax.make_mesh((2,), ('data',), axis_types=(jax.sharding.AxisType.Auto,), devices=jax.devices()[:2])

    def both(params, f):
        out, back = jax.vjp(lambda params, f: strf_unit.StrfUnit(s).apply({'params': params}, f)[0], params, f)
        return out, *back(jnp.sin(out))

    specs = spec(), spec('data')
    call = jax.shard_map(both, mesh=mesh, in_specs=specs, out_specs=(spec('data'), *specs))
    whole = jax.jit(both)(kernels(), f)
    for a, b in zip(jax.tree.leaves(jax.jit(call)(kernels(), f)), jax.tree.leaves(whole), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_what_is_logged_tells_uniform_identical_and_collapsed_masks_apart():
    _, uniform = apply(settings(kappa=0.0), kernels(), clips())
    np.testing.assert_allclose(uniform['mask_entropy'], np.log(12), rtol=1e-5)
    np.testing.assert_allclose(uniform['mask_own'], 1 / 12, rtol=1e-5)
    np.testing.assert_allclose(uniform['mask_busiest'], 1 / 12, rtol=1e-5)
    _, sharp = apply(settings(kappa=1e4), kernels(), clips())
    assert 0 <= float(sharp['mask_entropy']) < 1e-3
    assert float(sharp['mask_own']) > 0.999
    np.testing.assert_allclose(sharp['mask_busiest'], 1 / 12, rtol=1e-3)
    with_hub = clips()
    with_hub[:, :, 1, 2] = 30 + 0 * with_hub[:, :, 1, 2]
    same_sign = {name: np.abs(kernel) for name, kernel in kernels().items()}
    _, collapsed = apply(settings(cov_norm='none', branches=('t_tau',)), same_sign, np.abs(with_hub))
    assert float(collapsed['mask_entropy']) < 1e-3  # as low as that of the identity
    assert float(collapsed['mask_own']) < 0.1
    assert float(collapsed['mask_busiest']) > 0.999


def test_vectors_and_what_is_shown_of_bfloat16_features_are_float32():
    for norm in ('frame', 'l2', 'centre', 'none'):
        assert strf_unit.factors(vectors().astype(jnp.bfloat16), norm=norm).dtype == jnp.float32
    out, shown = strf_unit.StrfUnit(settings(), dtype=jnp.bfloat16).apply(
        {'params': kernels()}, jnp.asarray(clips(), jnp.bfloat16)
    )
    assert out.dtype == jnp.bfloat16
    assert shown['mask_entropy'].dtype == jnp.float32
    np.testing.assert_allclose(out.astype(jnp.float32), unit(settings(), clips()), atol=0.1)


def test_positions_without_features_are_unlike_all_and_have_finite_gradients():
    f, weight = clips(), clips(seed=7)
    f[:, :, 0] = 0

    def loss(params, f):
        return (strf_unit.StrfUnit(SMALL).apply({'params': params}, f)[0] * weight).sum()

    gradients = jax.jit(jax.grad(loss, (0, 1)))(kernels(), f)
    assert max(float(jnp.abs(g).max()) for g in jax.tree.leaves(gradients)) < 1e3
    np.testing.assert_allclose(mask(jnp.zeros((2, 3, 12, 4)))[0], 1 / 12, rtol=1e-6)


def test_channels_that_do_not_reduce_are_refused():
    with pytest.raises(ValueError, match='16 does not divide the 6 channels'):
        strf_unit.StrfUnit(config.Strf()).init(jax.random.key(0), clips())
