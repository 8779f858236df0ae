"""The lines of Python in README.md, as they stand there, in a folder with a small run."""

import pathlib
import re

import jax
import jax.numpy as jnp
import numpy as np

from configs import strf_synthetic
from jaxreid import config
from jaxreid.models import build
from jaxreid.training import checkpoint, step
from tests.fixtures import feature_files

README = pathlib.Path(__file__).resolve().parents[2] / 'README.md'


def test_the_lines_of_the_readme_run(tmp_path, monkeypatch, capsys):
    run = tmp_path / 'runs' / 'strf_synthetic'
    experiment = strf_synthetic.get_config('tiny')
    experiment.backbone.width = 8
    model = build.build(experiment, num_ids=4, dtype=jnp.float32)
    variables = jax.jit(lambda: step.init_variables(model, experiment, jax.random.key(0)))()
    checkpoints = checkpoint.Checkpoints(run / 'checkpoints', keep=1)
    labels = {str(i): i for i in range(4)}
    checkpoints.save(1, dict(variables), {'config': config.to_dict(experiment), 'labels': labels})
    checkpoints.close()
    feature_files.features(root='').save(run / 'features.npz')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('JAXREID_CACHE', str(tmp_path / 'cache'))
    (lines,) = re.findall(r'^```python\n(.*?)^```', README.read_text(), re.MULTILINE | re.DOTALL)
    assert len(lines.splitlines()) == 10
    names: dict = {}
    exec(compile(lines, 'README.md', 'exec'), names)
    features, order = names['features'], names['order']
    assert (features.shape[0], features.dtype) == (5, np.float32)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    np.testing.assert_array_equal(order[0], np.argsort(-unit[1:] @ unit[0], kind='stable'))
    assert 0 < float(capsys.readouterr().out) <= 100
