import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreid.layers import affinity

KAPPA = 1.7


def inputs(p, *, b=2, d=6, widths=(5, 3), seed=0):
    """X [b, p, d], a weight of the result, and V of every branch, in float64."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(b, p, d)), rng.normal(size=(b, p, d)), [rng.normal(size=(b, p, w)) for w in widths]


def by_loops(x, vectors, *, transposed):
    """The mix, position by position, and what is shown of the masks of all rows."""
    b, p, _ = x.shape
    out, entropy, own, busiest = np.zeros_like(x), [], [], []
    for v in vectors:
        for i in range(b):
            mask = np.zeros((p, p))
            for row in range(p):
                logits = np.array([KAPPA * v[i, row] @ v[i, column] for column in range(p)])
                mask[row] = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
                entropy.append(-(mask[row] * np.log(mask[row])).sum())
                own.append(mask[row, row])
            busiest.append(mask.mean(0).max())
            out[i] += (mask.T if transposed else mask) @ x[i]
    return out, {'mask_entropy': np.mean(entropy), 'mask_own': np.mean(own), 'mask_busiest': np.mean(busiest)}


def dense(x, vectors, *, transposed):
    """The mix as it was before it had a gradient of its own."""
    total = sum(jax.nn.softmax(KAPPA * jnp.einsum('bpd,bqd->bpq', v, v, precision='highest'), -1) for v in vectors)
    return jnp.einsum('bqp,bqd->bpd' if transposed else 'bpq,bqd->bpd', total, x, precision='highest')


def gradients(function, dtype, x, weight, vectors, *, transposed):
    """Result and gradients with respect to X and all V, in float64."""
    wide = jnp.promote_types(dtype, jnp.float32)

    def loss(x, vectors):
        out = function(x, vectors, transposed=transposed)
        return (out.astype(wide) * jnp.asarray(weight, wide)).sum(), out

    arguments = jnp.asarray(x, dtype), [jnp.asarray(v, wide) for v in vectors]
    (_, out), slopes = jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))(*arguments)
    assert out.dtype == slopes[0].dtype == dtype
    assert {s.dtype for s in slopes[1]} == {wide}
    return [np.asarray(z, np.float64) for z in jax.tree.leaves((out, slopes))]


def ours(x, vectors, *, transposed):
    return affinity.mix(x, vectors, kappa=KAPPA, transposed=transposed)[0]


def tiles_of(monkeypatch, rows):
    monkeypatch.setattr(affinity, 'MAX_POSITIONS', rows)
    monkeypatch.setattr(affinity, 'ROWS', rows)


@pytest.mark.parametrize('transposed', [False, True])
@pytest.mark.parametrize(('p', 'rows'), [(1, 99), (2, 99), (13, 99), (13, 5), (15, 5), (11, 10)])
def test_value_and_gradient_are_those_of_whole_masks(p, rows, transposed, monkeypatch):
    x, weight, vectors = inputs(p)
    tiles_of(monkeypatch, rows)
    monkeypatch.setattr(affinity, 'ENTROPY_STRIDE', 1)
    with jax.enable_x64(True):
        found = gradients(ours, jnp.dtype('float64'), x, weight, vectors, transposed=transposed)
        expected = gradients(dense, jnp.dtype('float64'), x, weight, vectors, transposed=transposed)
        _, shown = affinity.mix(jnp.asarray(x), [jnp.asarray(v) for v in vectors], kappa=KAPPA, transposed=transposed)
    out, expected_shown = by_loops(x, vectors, transposed=transposed)
    np.testing.assert_allclose(found[0], out, atol=1e-12)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)
    assert shown.keys() == expected_shown.keys()
    for name, value in shown.items():
        np.testing.assert_allclose(value, expected_shown[name], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize('transposed', [False, True])
@pytest.mark.parametrize('rows', [99, 7])
@pytest.mark.parametrize(('name', 'tolerance'), [('float32', 1e-6), ('bfloat16', 2e-2), ('float16', 2e-3)])
def test_products_take_the_dtype_of_the_features(name, tolerance, rows, transposed, monkeypatch):
    tiles_of(monkeypatch, rows)
    x, weight, vectors = inputs(24)
    vectors = [v / np.linalg.norm(v, axis=-1, keepdims=True) for v in vectors]
    with jax.enable_x64(True):
        expected = gradients(dense, jnp.dtype('float64'), x, weight, vectors, transposed=transposed)
    for a, b in zip(gradients(ours, jnp.dtype(name), x, weight, vectors, transposed=transposed), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * np.abs(b).max())


def arrays_of(jaxpr):
    """Shapes of everything that a jaxpr computes, inner ones too."""
    for equation in jaxpr.eqns:
        yield from (v.aval.shape for v in equation.outvars)
        for value in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda v: hasattr(v, 'jaxpr')):
            inner = getattr(value, 'jaxpr', value)
            if hasattr(inner, 'eqns'):
                yield from arrays_of(inner)


@pytest.mark.parametrize('transposed', [False, True])
def test_no_mask_is_whole_where_there_are_many_positions(transposed):
    p = 2083  # no tile divides it
    x, v = jax.ShapeDtypeStruct((1, p, 8), jnp.float32), jax.ShapeDtypeStruct((1, p, 4), jnp.float32)

    def loss(x, v):
        out, shown = affinity.mix(x, [v, 2 * v], kappa=KAPPA, transposed=transposed)
        return out.sum(), shown

    gradient = jax.jit(jax.grad(loss, (0, 1), has_aux=True))
    traced = gradient.trace(x, v)
    shapes = set(arrays_of(traced.jaxpr.jaxpr))
    assert (1, affinity.ROWS, p) in shapes
    assert not [shape for shape in shapes if sum(n >= p - affinity.ROWS for n in shape) > 1]
    assert f'{p},{p}' not in traced.lower().compile().as_text()
