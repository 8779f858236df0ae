"""Names of the Hugging Face hub, on a stand-in for the library's download function."""

import inspect
import os
import subprocess
import sys

import huggingface_hub
import pytest

from jaxreid.training import hub
from tests.fixtures import fake_hub


@pytest.fixture
def there(tmp_path, monkeypatch):
    """A hub with one repository of two revisions."""
    made = fake_hub.Hub(tmp_path / 'cache')
    for revision in ('main', 'v1'):
        folder = tmp_path / 'there' / revision
        folder.mkdir(parents=True)
        (folder / 'a.txt').write_text(revision)
        (folder / 'large.bin').write_text('large')
        made.repositories.setdefault('shop/doors-2', {})[revision] = folder
    monkeypatch.setattr('huggingface_hub.snapshot_download', made.snapshot_download)
    return made


def test_the_files_of_a_revision_are_fetched_and_no_others(there):
    assert (hub.fetched('hf:shop/doors-2', ['a.txt']) / 'a.txt').read_text() == 'main'
    assert (hub.fetched('hf:shop/doors-2@v1', ['a.txt', 'b.txt']) / 'a.txt').read_text() == 'v1'
    assert there.fetched == ['a.txt', 'a.txt']


def test_what_was_fetched_is_used_without_a_connection_and_the_rest_says_so(there):
    hub.fetched('hf:shop/doors-2', ['a.txt'])
    there.online = False
    assert (hub.fetched('hf:shop/doors-2', ['a.txt']) / 'a.txt').read_text() == 'main'
    with pytest.raises(
        hub.HubError, match=r'doors-2@v1: the hub does not answer, .*fetched before \(Cannot find an'
    ) as e:
        hub.fetched('hf:shop/doors-2@v1', ['a.txt'])
    assert 'name the folder' in str(e.value)
    assert '\n' not in str(e.value)


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('hf:shop/none', 'hf:shop/none: the hub has no such repository, or it is private'),
        ('hf:shop/gated', 'asks you to accept terms first, at huggingface.co/shop/gated'),
        ('hf:shop/doors-2@v9', "the repository has no revision 'v9'"),
        ('hf:shop', 'is no name of the Hugging Face hub; expected hf:OWNER/NAME or'),
        ('hf:shop/doors/2', 'expected hf:OWNER/NAME'),
        ('hf:shop/doors-2@', 'expected hf:OWNER/NAME'),
    ],
)
def test_a_name_that_leads_nowhere_says_why(there, name, message):
    with pytest.raises(hub.HubError, match=message):
        hub.fetched(name, ['a.txt'])


def test_the_library_is_an_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, 'huggingface_hub', None)
    with pytest.raises(hub.HubError, match=r"pip install 'jaxreid\[hub\]'"):
        hub.fetched('hf:shop/doors', ['a.txt'])


def test_the_stand_in_takes_what_the_library_takes():
    for function in (huggingface_hub.snapshot_download, fake_hub.Hub(None).snapshot_download):
        inspect.signature(function).bind('shop/doors', revision=None, allow_patterns=['a.txt'])


def test_the_library_itself_gives_up_at_once_without_a_connection(tmp_path):
    code = "from jaxreid.training import hub; hub.fetched('hf:shop/doors', ['a.txt'])"
    environment = os.environ | {'HF_HUB_OFFLINE': '1', 'HF_HOME': str(tmp_path)}
    done = subprocess.run([sys.executable, '-c', code], env=environment, capture_output=True, text=True, timeout=300)
    assert 'HubError: hf:shop/doors: the hub does not answer, and nothing of it was fetched before' in done.stderr
