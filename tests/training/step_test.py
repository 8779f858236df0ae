"""What the devices tell one another in a training step, read from its program; and what the step imports."""

import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest

from configs import sta_mars, star_mars, stmn_mars, strf_mars, tfclip_mars
from jaxreid import config, sharding
from jaxreid.models import build
from jaxreid.training import optimizer, step

CLIPS, IDS = 16, 5


def lowered(experiment):
    """The text of a small step over eight devices with bfloat16 activations, before the compiler has seen it."""
    e = experiment
    e.backbone.width, e.backbone.depths = 16, (1, 1, 1, 1)
    e.sampler.num_ids, e.sampler.tracklets_per_id = 4, CLIPS // 4
    e.data.height, e.data.width = 128, 64
    dtype = e.train.compute_dtype = 'bfloat16'
    plain = build.build(e, num_ids=IDS, dtype=jnp.dtype(dtype))
    model = build.build(e, num_ids=IDS, dtype=jnp.dtype(dtype), axis_name=sharding.AXIS)
    adam = optimizer.build(e.optim, steps_per_epoch=10, epochs=2)
    variables = jax.eval_shape(lambda: step.init_variables(plain, e, jax.random.key(0)))
    state = jax.eval_shape(lambda v: step.create_state(v, adam, 0), variables)

    def of_clips(shape, kind):
        return jax.ShapeDtypeStruct((1, CLIPS, *shape), kind)

    size = e.sampler.frames, e.data.height, e.data.width
    batch = {name: of_clips((), jnp.int32) for name in ('labels', 'index')}
    batch['clips'] = of_clips((*size, 3), jnp.uint8)
    if config.with_cameras(e, train=True):
        batch['cameras'] = of_clips((), jnp.int32)
    if e.data.flow != 'off':
        batch['flow'] = of_clips((*size, 2), jnp.float16)
    return step.make_train_step(model, e, adam, sharding.make_mesh()).lower(state, batch, None).as_text()


@pytest.mark.slow
@pytest.mark.parametrize('recipe', [strf_mars, stmn_mars, sta_mars, star_mars, tfclip_mars], ids=lambda r: r.__name__)
def test_no_sum_over_devices_is_made_in_bfloat16(recipe):
    # Not the compiled text: the CPU's compiler sums in float32 whatever was asked for, those of TPUs and GPUs do not.
    text = lowered(recipe.get_config())
    assert 'bf16' in text
    sums = re.findall(r'"stablehlo\.(?:all_reduce|reduce_scatter)"(?:.*\n)+?.*\}\) : \((.*?)\) ->', text)
    kinds = {kind for operands in sums for kind in re.findall(r'<(?:\d+x)*(\w+)>', operands)}
    assert len(sums) > 30
    assert kinds <= {'f32', 'i32', 'ui32'}, kinds


ALONE = """
import importlib.abc, sys
ABSENT = {'grain', 'array_record', 'portpicker', 'ml_collections', 'tqdm', 'PIL', 'cv2', 'h5py', 'safetensors', 'torch'}
class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in ABSENT:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Refuse())
from benchmarks import contender, gpu
from jaxreid.models import bn_folding, build, cost
from jaxreid.training import optimizer, step
gpu.work(True, system='strf').experiment()
"""


def test_the_step_and_its_benchmark_need_no_packages_but_jax_flax_optax_and_orbax():
    subprocess.run([sys.executable, '-c', ALONE], check=True)
