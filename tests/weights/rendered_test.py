"""Where the network that other trainings start from lies, and when it is there."""

from jaxreid import config
from jaxreid.data.synthetic import plan
from jaxreid.weights import rendered


def of(**backbone):
    return config.Experiment(backbone=config.Backbone(**backbone))


def test_its_folder_is_another_for_another_network_or_renderer_and_it_is_there_when_trained(tmp_path, monkeypatch):
    monkeypatch.setenv('JAXREID_CACHE', str(tmp_path))
    first = rendered.folder(of(width=16))
    assert first.parent == tmp_path
    assert rendered.folder(of(width=16, init='rendered', block='p3dc')) == first
    others = {
        rendered.folder(of(width=8)),
        rendered.folder(of(width=16, depths=(1, 1, 1, 1))),
    }
    monkeypatch.setattr(plan, 'RENDERER_VERSION', plan.RENDERER_VERSION + 1)
    others.add(rendered.folder(of(width=16)))
    assert len(others - {first}) == 3
    first.mkdir()
    monkeypatch.undo()
    monkeypatch.setenv('JAXREID_CACHE', str(tmp_path))
    assert not rendered.is_trained(of(width=16))
    (first / 'results.json').write_text('[]')
    assert rendered.is_trained(of(width=16))
