from jaxreid import config
from jaxreid.data import source
from jaxreid.data.datasets import catalogue, mars
from tests.fixtures import field_folders


def test_the_layout_is_that_of_mars_and_queries_are_no_gallery(tmp_path):
    root = field_folders.g2a(tmp_path / 'g2a')
    dataset, as_mars = source.read(config.Data(dataset='g2a', root=str(root))), mars.read(root)
    assert (dataset.train, dataset.test) == (as_mars.train, as_mars.test)
    assert [(t.pid, t.camera) for t in dataset.test] == [(3, 1), (3, 2), (4, 1), (4, 2)]
    assert dataset.query.tolist() == [True, False, True, False]
    assert dataset.gallery.tolist() == [False, True, False, True]  # MARS: all of them
    assert as_mars.gallery.all()


def test_counts_are_of_all_that_the_folder_holds(tmp_path):
    held = catalogue.find('g2a').count(config.Data(dataset='g2a', root=str(field_folders.g2a(tmp_path / 'g2a'))))
    assert (held.counts['ids'], held.counts['tracklets'], held.counts['frames']) == (4, 8, 18)
    assert held.published == {'ids': 2788, 'tracklets': 5576, 'frames': 185907}
