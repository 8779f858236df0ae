import jax.numpy as jnp
import pytest

from jaxreid import config
from jaxreid.models import baseline, build


def test_the_baseline_system_is_built_from_a_copy_of_its_settings():
    e = config.Experiment()
    model = build.build(e, num_ids=7, dtype=jnp.bfloat16, axis_name='data')
    e.strf.kappa = 9.0
    assert isinstance(model, baseline.Baseline)
    assert (model.num_ids, model.dtype, model.axis_name, model.strf.kappa) == (7, jnp.bfloat16, 'data', 4.0)
    assert hash(model) == hash(build.build(config.Experiment(), num_ids=7, dtype=jnp.bfloat16, axis_name='data'))


def test_an_unknown_system_is_refused():
    with pytest.raises(ValueError, match="system = 'resnext'"):
        build.build(config.Experiment(system='resnext'), num_ids=7, dtype=jnp.float32)


def test_units_need_a_3d_block():
    e = config.Experiment(backbone=config.Backbone(block='c2d'))
    with pytest.raises(ValueError, match=r'set strf.stages to \(\)'):
        build.build(e, num_ids=7, dtype=jnp.float32)
