"""Galleries in a vector engine, for more tracklets than one machine holds: Milvus, or Milvus Lite in this process.

  python -m jaxreid.vector_engine export GALLERY --uri gallery.db --collection shop
  python -m jaxreid.vector_engine search QUERY   --uri gallery.db --collection shop --top 5 --camera yard
  python -m jaxreid.vector_engine recall GALLERY QUERY --uri gallery.db --collection shop

GALLERY and QUERY are what `python -m jaxreid.search` takes. --uri is a file that ends in .db (Milvus Lite, embedded) or
the address of a server (http://host:19530); all else is the same. A server's token is read from MILVUS_TOKEN.
"""

import argparse
import collections
import contextlib
import json
import logging
import os
import pathlib
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tqdm

from jaxreid import command_line
from jaxreid.process import atomic, commands, exit_status, json_file
from jaxreid.search import feature_rows, nearest, results, sources, tracklets

METRICS = {'cosine': 'COSINE', 'euclidean': 'L2'}
INDEXES = {'hnsw': {'M': 32, 'efConstruction': 200}, 'flat': {}}
EF = 400  # candidates that HNSW keeps while it searches
_TEXTS = {'id': 512, 'person': 512, 'camera': 512, 'time': 64, 'clock': 8, 'made': 1024}  # most bytes, UTF-8
_FIELDS = ('person', 'camera', 'time', 'frames')
_SEND_BYTES = 8 << 20  # of features in a request; servers refuse requests of 64 MiB
_QUERIES = 64  # in a request
_SHOWN = 20  # queries in the terminal
_WAIT = 0.5  # seconds between looks at an index that is being built
_MOST_EF = 16384  # candidates; servers refuse more than 32768


@contextlib.contextmanager
def connect(uri: str) -> Iterator[Any]:
    """A client of the engine; closed when the block ends.

    Raises:
      ImportError: the engine's packages are not installed.
      OSError: nothing answers at `uri`, or the file cannot be used.
      ValueError: the engine refuses what the block asks of it.
    """
    try:
        import pymilvus
    except ImportError as e:
        raise ImportError(f"the vector engine's packages are missing ({e}); pip install 'jaxreid[engine]'") from e
    for name in ('pymilvus', 'milvus_lite', 'grpc'):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # they print tracebacks of errors that they raise as well
    local = '://' not in uri
    try:
        if local:
            pathlib.Path(uri).absolute().parent.mkdir(parents=True, exist_ok=True)
        client = pymilvus.MilvusClient(uri, token=os.environ.get('MILVUS_TOKEN', ''), timeout=10)
    except pymilvus.MilvusException as e:
        message = e.message
        if local:
            raise OSError(
                f'cannot open {uri} ({message}); expected a name that ends in .db, where nothing is or what Milvus '
                'Lite wrote, and that no other process has open'
            ) from e
        raise OSError(
            f'no vector engine answers at {uri} ({message}); start the server (docs/vector_engine.md), or name a file '
            'that ends in .db to run the engine here'
        ) from e
    try:
        yield client
    except pymilvus.MilvusException as e:
        raise ValueError(f'{uri} refused: {e.message}') from e
    finally:
        client.close()
        if local:  # what the engine still does behind the last call is done, and the file is free, when this returns
            from milvus_lite import server_manager

            server_manager.server_manager_instance.release_server(uri)


def export(
    client: Any,
    collection: str,
    gallery: tracklets.Tracklets,
    *,
    prefix: str = '',
    distance: str = 'cosine',
    index: str = 'hnsw',
    replace: bool = False,
) -> dict[str, int]:
    """Puts a gallery into a collection, which it makes where there is none; returns how many were 'added', 'replaced',
    'there'.

    A tracklet's id is `prefix` and its name. One that is there already with the same contents is left, so that an
    export that was stopped continues, and one that is repeated changes nothing.

    Args:
      client: from `connect`.
      collection: its name in the engine.
      gallery: what to put there.
      prefix: sets apart tracklets of equal names from several places.
      distance, index: of METRICS and INDEXES; of a collection that exists they must be those.
      replace: overwrite tracklets of the same id and other contents.

    Raises:
      ValueError: the collection holds features of another network, dimension or distance, or another tracklet of an id
        without `replace`; ids are not unique or texts too long. What the collection held is as it was.
    """
    table = _texts(gallery, prefix)
    new = not client.has_collection(collection)
    if new:
        _create(client, collection, gallery.features.dim, distance, index)
    else:
        theirs, ours = check(client, collection, gallery, distance)[1], _made(gallery)
        if theirs is not None and theirs != ours:
            lines = [
                f'{text}: {theirs.get(key, "not known")} there, {ours.get(key, "not known")} here'
                for key, text in tracklets.MADE.items()
                if theirs.get(key) != ours.get(key)
            ]
            raise ValueError(
                f'the features of {gallery.where} were made in another way than those of {collection!r}:\n  '
                + '\n  '.join(lines)
                + '\nChoose another collection.'
            )
    client.load_collection(collection)
    done = dict.fromkeys(('added', 'replaced', 'there'), 0)
    step = max(1, _SEND_BYTES // (4 * gallery.features.dim))
    with tqdm.tqdm(total=len(gallery), desc=f'export to {collection}', unit='tracklet') as bar:
        for start in range(0, len(gallery), step):
            stop = min(start + step, len(gallery))
            features = gallery.features.read(start, stop).astype(np.float32)
            if not np.isfinite(features).all():
                raise ValueError(f'{gallery.where}: the features of {table["id"][start:stop]} hold NaN or infinity')
            send = [
                {key: column[start + i] for key, column in table.items()} | {'embedding': features[i]}
                for i in range(stop - start)
            ]
            there = {} if new else _held(client, collection, [row['id'] for row in send])
            changed = [row for row in send if row['id'] in there and not _equal(row, there[row['id']])]
            if changed and not replace:
                raise ValueError(
                    f'{collection} already holds {changed[0]["id"]!r} with other contents ({len(changed)} such of '
                    f'{stop - start} tracklets; {done["added"]} were added before). Give tracklets of another place a '
                    '--prefix, or overwrite with --replace.'
                )
            added = [row for row in send if row['id'] not in there]
            if added:  # no upsert, which deletes as well: a server then packs its rows and builds their index anew
                client.insert(collection, added)
            if changed:
                client.upsert(collection, changed)
            for key, count in zip(done, (len(added), len(changed), stop - start - len(added) - len(changed))):
                done[key] += count
            bar.update(stop - start)
    client.flush(collection)
    serve(client, collection)
    return done


def serve(client: Any, collection: str, *, patience: float = 3600.0) -> bool:
    """Waits until the index answers searches, and not a makeshift one of the server or one of a part of the rows.

    A server builds its index behind an export, and answers from one that is worse until then and until the collection
    is loaded again. It counts the rows of a segment when all of them are done, which are half a million at 256
    dimensions. Milvus Lite says nothing of that; there the load waits.

    Args:
      patience: seconds without a further segment, after which the waiting ends.

    Returns:
      Whether the index serves; otherwise the terminal says what is missing.

    Raises:
      ValueError: the index could not be built; says why.
    """
    with tqdm.tqdm(desc=f'index of {collection}', unit='row', leave=False) as bar:
        moved = time.monotonic()
        while True:
            said = client.describe_index(collection, 'embedding')
            if reason := said.get('index_state_fail_reason'):
                raise ValueError(f'the index of {collection!r} failed: {reason}')
            total, done = int(said.get('total_rows', 0)), int(said.get('indexed_rows', 0))
            moved = time.monotonic() if done > bar.n else moved
            bar.total, bar.n = total, done
            bar.refresh()
            if done >= total and not int(said.get('pending_index_rows', 0)):
                break
            if time.monotonic() - moved > patience:
                print(
                    f'the index of {collection} has {done:,} of {total:,} rows, and no more for {patience:g} seconds; '
                    'until it is done answers are worse. Repeat the export to wait for it.',
                    file=sys.stderr,
                )
                return False
            time.sleep(_WAIT)
    client.release_collection(collection)
    client.load_collection(collection)
    return True


def _texts(gallery: tracklets.Tracklets, prefix: str) -> dict[str, list]:
    """Columns of everything but the features."""
    clocks = tracklets.moments(gallery)
    table: dict[str, list] = {
        'id': [prefix + name for name in gallery.name],
        'person': list(gallery.person),
        'camera': list(gallery.camera),
        'time': list(gallery.time),
        'clock': [kind for kind, _ in clocks],
        'made': [json.dumps(_made(gallery), sort_keys=True)] * len(gallery),
    }
    for key, most in _TEXTS.items():
        if long := [text for text in table[key] if len(text.encode()) > most]:
            raise ValueError(f'{gallery.where}: {key} {long[0][:60]!r}... is longer than {most} bytes')
    twice = [name for name, count in collections.Counter(table['id']).items() if count > 1]
    if twice:
        raise ValueError(f'{gallery.where}: {len(twice)} names are of several tracklets, the first is {twice[0]!r}')
    if table['id'] and table['id'][0] == 'row 0':  # what feature_file calls tracklets without names
        raise ValueError(f'{gallery.where} names no tracklets, so that ids are not its own; add a --prefix, or names')
    return table | {'begins': [value for _, value in clocks], 'frames': [int(count) for count in gallery.frames]}


def _made(gallery: tracklets.Tracklets) -> dict[str, object]:
    """How features were made; what they are compared by is the index's."""
    return {key: value for key, value in gallery.made.items() if key != 'distance'}


def _create(client: Any, collection: str, dim: int, distance: str, index: str) -> None:
    import pymilvus

    schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
    for key, most in _TEXTS.items():
        schema.add_field(key, pymilvus.DataType.VARCHAR, is_primary=key == 'id', max_length=most)
    schema.add_field('begins', pymilvus.DataType.DOUBLE)  # seconds, of the clock that `clock` names
    schema.add_field('frames', pymilvus.DataType.INT64)
    schema.add_field('embedding', pymilvus.DataType.FLOAT_VECTOR, dim=dim)
    params = client.prepare_index_params()
    params.add_index('embedding', index_type=index.upper(), metric_type=METRICS[distance], params=INDEXES[index])
    # Strong: who exports and then searches finds what was exported.
    client.create_collection(collection, schema=schema, index_params=params, consistency_level='Strong')


def check(
    client: Any, collection: str, given: tracklets.Tracklets, distance: str = ''
) -> tuple[str, tracklets.Made | None]:
    """Whether features may be compared with a collection's: its distance, and how its features were made; None where it
    holds none.

    Raises:
      ValueError: there is no such collection, it is not jaxreid's, or its features are of another dimension or
        distance, or made in another way; names all that differs.
    """
    if not client.has_collection(collection):
        raise ValueError(f'there is no collection {collection!r}, but {client.list_collections()}; export to it first')
    fields = {field['name']: field for field in client.describe_collection(collection)['fields']}
    if not {'embedding', 'begins', *_TEXTS} <= fields.keys():
        raise ValueError(f'the collection {collection!r} was not made by jaxreid; choose another name')
    metric = client.describe_index(collection, 'embedding')['metric_type']
    if distance and metric != METRICS[distance]:
        raise ValueError(
            f'the collection {collection!r} compares by {metric}, asked for is {METRICS[distance]} ({distance}); '
            'choose another collection, or its --distance'
        )
    client.load_collection(collection)
    held = client.query(collection, filter='frames >= 0', limit=1, output_fields=['made'])
    # `export` sees to it that all rows say the same.
    made: tracklets.Made | None = (
        json_file.parse(held[0]['made'], tracklets.Made, where=f'`made` of the collection {collection!r}')
        if held
        else None
    )
    dim = int(fields['embedding']['params']['dim'])
    tracklets.check_made(f'the collection {collection!r}', dim, made or tracklets.Made(), given)
    return {metric: name for name, metric in METRICS.items()}[metric], made


def _held(client: Any, collection: str, ids: list[str]) -> dict[str, dict]:
    """What the collection holds of some ids, with features."""
    wanted = ['id', 'embedding', *_FIELDS]
    held = client.query(collection, filter=f'id in {_quoted(ids)}', output_fields=wanted, limit=len(ids))
    return {row['id']: row for row in held}


def _equal(row: dict, held: dict) -> bool:
    same = all(row[key] == held[key] for key in _FIELDS)
    return same and np.allclose(row['embedding'], np.asarray(held['embedding'], np.float32), rtol=1e-5, atol=1e-7)


def _quoted(texts: Sequence[str]) -> str:
    return json.dumps(list(texts), ensure_ascii=False)


def search(
    client: Any,
    collection: str,
    queries: tracklets.Tracklets,
    *,
    top: int,
    filters: results.Filters,
    ef: int = EF,
) -> tuple[tracklets.Tracklets, results.Answers]:
    """The `top` most similar of a collection for every query, as the engine's index finds them; fewer where the
    collection holds fewer. The query itself (its name and camera, the same features) is none.

    `filters` are as for `jaxreid.search`. HNSW keeps `ef` candidates, at least `top`, while it searches: more find
    more, slower. Filters leave out some of what it finds, so that it keeps as many more as they leave fewer. The
    tracklets that answer come without features; the answers point to them, and their `searched`
    counts the whole collection.

    Raises:
      ValueError: features that cannot be compared with the collection's, a camera that it does not know, or a time
        that cannot be read.
    """
    if top < 1:
        raise ValueError(f'--top {top}: expected at least 1')
    distance = check(client, collection, queries)[0]
    for camera in (*filters.camera, *filters.not_camera):
        if not camera or not client.query(collection, filter=f'camera in {_quoted([camera])}', limit=1):
            known = _cameras(client, collection)
            raise ValueError(f'the collection {collection!r} has no camera {camera!r}; its cameras are: {known}')
    # Counted, since statistics leave out what is not flushed yet.
    count = _count(client, collection, '')
    top = min(top, count)
    hits: list[list[results.Hit]] = [[] for _ in queries.name]
    entities: dict[str, dict] = {}
    place: dict[str, int] = {}
    for condition, chosen in _conditions(queries, filters):
        kept = _count(client, collection, condition) if condition else count
        wide = min(max(ef, top + 1) * count // max(kept, 1), max(_MOST_EF, ef))
        for start in range(0, len(chosen), _QUERIES):
            part = chosen[start : start + _QUERIES]
            responses = client.search(
                collection,
                data=list(queries.features.take(np.array(part)).astype(np.float32)),
                anns_field='embedding',
                limit=top + 1,  # one may be the query itself
                filter=condition,
                search_params={'params': {'ef': max(wide, top + 1)}},
                output_fields=list(_FIELDS),
            )
            for query, one in zip(part, responses, strict=True):
                for hit in one:
                    name, entity = str(hit['id']), hit['entity']
                    # Milvus calls the cosine a distance too, and leaves the root of Euclidean ones away.
                    similarity = hit['distance'] if distance == 'cosine' else -float(np.sqrt(max(hit['distance'], 0)))
                    if _itself(queries, query, name, entity['camera'], similarity, distance) or len(hits[query]) == top:
                        continue
                    entities[name] = entity
                    row = place.setdefault(name, len(place))
                    hits[query].append(results.Hit(row, float(similarity), None))
    answered = tracklets.Tracklets(
        where=f'the collection {collection!r}',
        features=feature_rows.Rows.of(np.zeros((0, queries.features.dim), np.float32)),
        name=list(place),
        made={},
        film=lambda row: [],
        **{key: [entities[name][key] for name in place] for key in ('person', 'camera', 'time', 'frames')},
    )
    return answered, results.Answers(hits, distance, None, None, count, [], [])


def _count(client: Any, collection: str, condition: str) -> int:
    """Rows of a collection that a condition leaves."""
    return int(client.query(collection, filter=condition, output_fields=['count(*)'])[0]['count(*)'])


def _cameras(client: Any, collection: str, most: int = 10) -> str:
    """The first cameras of a collection in words, each got by leaving out those before it."""
    seen = ['']
    while len(seen) < most + 2:
        left = client.query(collection, filter=f'camera not in {_quoted(seen)}', limit=1, output_fields=['camera'])
        if not left:
            return ', '.join(sorted(seen[1:])) or 'none that is known'
        seen.append(left[0]['camera'])
    return ', '.join(sorted(seen[1:-1])) + ' ...'


def _itself(queries, query, name, camera, similarity, distance):
    own = queries.name[query]
    same = name.endswith(own) and camera == queries.camera[query]
    return same and similarity >= (1 if distance == 'cosine' else 0) - 1e-5


def _conditions(queries: tracklets.Tracklets, filters: results.Filters) -> Iterator[tuple[str, list[int]]]:
    """Filters in the engine's words, and the queries that each is for."""
    shared = [f'camera in {_quoted(filters.camera)}'] if filters.camera else []
    shared += [f'camera not in {_quoted(filters.not_camera)}'] if filters.not_camera else []
    moments = [(sign, tracklets.moment(t)) for sign, t in (('>=', filters.after), ('<', filters.before)) if t]
    if len({kind for _, (kind, _) in moments}) > 1:
        raise ValueError(f'--after {filters.after} and --before {filters.before} are a date and seconds')
    for sign, (kind, value) in moments:
        shared += [f'clock == "{kind}"', f'begins {sign} {value!r}']
    groups: dict[str, list[int]] = {}
    for query, camera in enumerate(queries.camera):
        groups.setdefault('' if filters.same_camera == 'keep' else camera, []).append(query)
    for camera, chosen in groups.items():
        match filters.same_camera:
            case 'drop' if camera:
                own = [f'camera != {_quoted([camera])[1:-1]}']
            case 'only' if camera:
                own = [f'camera == {_quoted([camera])[1:-1]}']
            case 'only':
                continue  # of an unknown camera: nobody
            case _:
                own = []
        yield ' and '.join(shared + own), chosen


def recall(
    client: Any,
    collection: str,
    gallery: tracklets.Tracklets,
    queries: tracklets.Tracklets,
    *,
    top: int,
    ef: int = EF,
    prefix: str = '',
) -> float:
    """Share of the `top` most similar, sought exactly by `jaxreid.search`, that the engine finds too.

    An answer as similar as the last exact one counts, since which of equals come first is nobody's mistake.
    """
    distance = check(client, collection, gallery)[0]
    answered, answers = search(client, collection, queries, top=top, filters=results.Filters(), ef=ef)
    exact = results.search(gallery, queries, top=top, distance=distance, filters=results.Filters())
    return share_found(gallery, exact, answered, answers, prefix=prefix)


def share_found(
    gallery: tracklets.Tracklets,
    exact: results.Answers,
    answered: tracklets.Tracklets,
    answers: results.Answers,
    *,
    prefix: str = '',
) -> float:
    """Share of exact answers, of `gallery`, that are among `answers`, of `answered`; see `recall`."""
    right = total = 0
    for wanted, got in zip(exact.hits, answers.hits, strict=True):
        names = {prefix + gallery.name[hit.row] for hit in wanted}
        last = wanted[-1].similarity if wanted else 0.0
        right += sum(answered.name[hit.row] in names or hit.similarity >= last - 1e-6 for hit in got)
        total += len(wanted)
    if not total:
        raise ValueError(f'{gallery.where} answers none of the queries')
    return right / total


def _check_there(uri: str) -> None:
    """Refuses a file that is not there, which `connect` would make."""
    if '://' not in uri and not pathlib.Path(uri).exists():
        raise OSError(
            f'there is no {uri}; export a gallery to it first, or give the name that it was exported to (a server as '
            'http://host:19530)'
        )


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = commands.parser('engine', __doc__)
    modes = parser.add_subparsers(dest='mode', required=True)
    for mode, text in (
        ('export', 'puts a gallery into a collection'),
        ('search', 'asks a collection'),
        ('recall', 'compares its answers with those of exact search'),
    ):
        one = modes.add_parser(mode, help=text)
        if mode != 'search':
            one.add_argument('gallery', metavar='GALLERY', help='feature file, gallery, manifest, folder of tracklets')
            one.add_argument('--prefix', default='', help='comes before every name, to make its id')
        if mode != 'export':
            one.add_argument('query', metavar='QUERY', help='likewise')
            one.add_argument('--top', type=int, default=10, help='answers per query (10)')
            one.add_argument('--ef', type=int, default=EF, help=f'candidates that HNSW keeps ({EF})')
        one.add_argument('--uri', required=True, help='FILE.db (embedded) or http://host:19530')
        one.add_argument('--collection', required=True, help='its name in the engine')
        one.add_argument('--checkpoint', default='', help='workdir or checkpoint of the network, for images')
        if mode == 'export':
            one.add_argument('--distance', choices=nearest.DISTANCES, help='default: that of the features, else cosine')
            one.add_argument('--index', choices=tuple(INDEXES), default='hnsw', help='hnsw: approximate, flat: exact')
            one.add_argument('--replace', action='store_true', help='overwrite tracklets of the same id')
        if mode == 'search':
            results.Filters.add_arguments(one)
            one.add_argument('--json', default='', help='writes everything as JSON')
    return parser.parse_args(argv)


def act(options: argparse.Namespace) -> None:
    """Does what the command line asks for."""
    command_line.set_up('float32')
    if options.mode != 'export':
        _check_there(options.uri)
    if options.mode == 'search':
        results.check_output(options.json, results.is_json, (options.query, options.uri, options.checkpoint))
    network = sources.network_loader(options.checkpoint)

    def read(role: str) -> tracklets.Tracklets:
        return sources.open_any(getattr(options, role), role, network)

    match options.mode:
        case 'export':
            gallery = read('gallery')
            with connect(options.uri) as client:
                how = {key: getattr(options, key) for key in ('prefix', 'index', 'replace')}
                how['distance'] = options.distance or gallery.made.get('distance', 'cosine')
                done = export(client, options.collection, gallery, **how)
                words = ', '.join(f'{count:,} {what}' for what, count in done.items())
                print(f'{options.collection} at {options.uri}: {words}')
        case 'recall':
            gallery, queries = read('gallery'), read('query')
            with connect(options.uri) as client:
                share = recall(
                    client, options.collection, gallery, queries, top=options.top, ef=options.ef, prefix=options.prefix
                )
            print(f'recall at top {options.top} against exact search: {share:.4f} ({len(queries):,} queries)')
        case 'search':
            queries = read('query')
            filters = results.Filters.of(options)
            with connect(options.uri) as client:
                answered, answers = search(
                    client, options.collection, queries, top=options.top, filters=filters, ef=options.ef
                )
            if options.top > answers.searched:
                print(
                    f'--top {options.top}: the collection holds {answers.searched:,}, all are ranked', file=sys.stderr
                )
            print(results.table(answered, queries, answers, shown=_SHOWN, all_in='--json has', calibrate=''))
            if options.json:
                atomic.write_json(pathlib.Path(options.json), results.to_json(answered, queries, answers))
                print(f'written    {options.json}')


def run(argv: Sequence[str]) -> int:
    """Parses, acts; expected errors become one message and an exit status."""
    options = parse(argv)
    return exit_status.run(lambda: act(options))
