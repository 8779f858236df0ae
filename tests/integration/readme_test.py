"""The lines of Python on the first page run, on a run of the benchmark that it names."""

import json
import pathlib
import re

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_the_python_of_the_readme_runs(uninterrupted, command, tmp_path, monkeypatch, capsys):
    (code,) = re.findall(r'```python\n(.*?)```', (ROOT / 'README.md').read_text(), re.DOTALL)
    monkeypatch.setenv('JAXREID_CACHE', str(command.cache))
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'runs').mkdir()
    (tmp_path / 'runs' / 'strf_synthetic').symlink_to(uninterrupted, target_is_directory=True)
    names: dict = {}
    exec(compile(code, 'README.md', 'exec'), names)
    assert names['features'].shape == (5, names['net'].embed(names['clips'][:1]).shape[1])
    unit = names['features'] / np.linalg.norm(names['features'], axis=1, keepdims=True)
    np.testing.assert_array_equal(names['order'][0], np.argsort(-unit[1:] @ unit[0], kind='stable'))
    result = json.loads((uninterrupted / 'results.json').read_text())[-1]
    assert float(capsys.readouterr().out.splitlines()[-1]) == pytest.approx(result['mAP'])
