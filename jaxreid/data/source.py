"""Opens the data set that a config names, and the store that its frames are read from."""

from jaxreid import config
from jaxreid.data import folder_store, mars, synthetic, tracklet


def read(data: config.Data) -> tracklet.Dataset:
    """Index of the data set; the synthetic one is rendered first where its cache folder does not exist yet."""
    match data.dataset:
        case 'mars':
            return mars.read(data.root)
        case 'synthetic':
            return mars.read(synthetic.ensure(data.root, data.preset))
        case _:
            raise ValueError(f'unknown dataset {data.dataset!r}')


def store(data: config.Data, dataset: tracklet.Dataset, *, split: str) -> folder_store.FolderStore:
    """Frames of the 'train' or 'test' tracklets, in the config's size and with its policy for corrupt ones."""
    training = split == 'train'
    match data.store:
        case 'folder':
            return folder_store.FolderStore(
                dataset.root,
                dataset.train if training else dataset.test,
                height=data.height,
                width=data.width,
                resize=data.resize,
                on_corrupt=data.on_corrupt_train if training else data.on_corrupt_eval,
            )
        case _:
            raise ValueError(f'unknown store {data.store!r}')
