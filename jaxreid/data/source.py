"""Opens the data set that a config names."""

from jaxreid import config
from jaxreid.data import mars, synthetic, tracklet


def read(data: config.Data) -> tracklet.Dataset:
    """Index of the data set; the synthetic one is rendered first where its cache folder does not exist yet."""
    match data.dataset:
        case 'mars':
            return mars.read(data.root)
        case 'synthetic':
            return mars.read(synthetic.ensure(data.root, data.preset))
        case _:
            raise ValueError(f'unknown dataset {data.dataset!r}')
