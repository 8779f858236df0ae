"""Without a network what would be fetched is named within seconds, and nothing else asks for anything."""

import os
import subprocess
import sys

import pytest

from tests.fixtures import commands

# Every place that fetches: weights by the name of a repository, a network of the hub, a record set behind a URL.
PLACES = {
    'weights': ('jaxreid.weights', 'imagenet', "find('timm/resnet50.tv_in1k')"),
    'a network': ('jaxreid.training', 'hub', "fetched('hf:shop/doors', ['jaxreid.json'])"),
    'records': ('jaxreid.data.stores', 'record_files', "open_set('http://127.0.0.1:9/records')"),
}


@pytest.mark.slow
@pytest.mark.parametrize('place', list(PLACES))
def test_what_cannot_be_fetched_is_named_within_seconds(place, tmp_path):
    folder, module, call = PLACES[place]
    act = f'import time; from {folder} import {module}; begun = time.monotonic()\n'
    act += f'try: {module}.{call}\nexcept (ValueError, OSError) as e: print(e)\n'
    act += 'print(time.monotonic() - begun)'
    environment = {'HF_ENDPOINT': f'http://127.0.0.1:{commands.free_port()}', 'HF_HOME': str(tmp_path)}
    environment |= {'JAXREID_CACHE': str(tmp_path), 'JAX_PLATFORMS': 'cpu', 'PYTHONPATH': str(commands.ROOT)}
    environment |= {'no_proxy': '*', 'HF_HUB_OFFLINE': '0'}
    command = [sys.executable, '-c', act]
    ended = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=200)
    *said, seconds = ended.stdout.splitlines()
    assert said, ended.stderr
    assert any(name in said[0] for name in ('timm/resnet50.tv_in1k', 'hf:shop/doors', 'http://127.0.0.1:9/records'))
    assert float(seconds) < 15
