"""Headless Chromium for tests of pages, driven over the WebDriver protocol; nothing beyond the standard library."""

import base64
import contextlib
import json
import pathlib
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request

MISSING = 'Chromium and its driver are not installed (Debian: apt-get install chromium chromium-driver)'
# Without these Chromium asks hosts on the internet at every start.
_QUIET = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-sync',
          '--disable-background-networking', '--disable-component-update', '--disable-dev-shm-usage']  # fmt: skip


def available() -> bool:
    """Whether there is a browser to test with."""
    return all(shutil.which(name) for name in ('chromium', 'chromedriver'))


class Page:
    """A browser with one tab."""

    def __init__(self, url: str):
        self._url = url

    def _ask(self, path, values=None, method=None):
        body = None if values is None else json.dumps(values).encode()
        request = urllib.request.Request(self._url + path, body, {'Content-Type': 'application/json'}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                return json.load(reply)['value']
        except urllib.error.HTTPError as e:
            raise RuntimeError(e.read().decode()[:2000]) from e

    def command(self, name, **values):
        """A command of the DevTools protocol."""
        return self._ask('/goog/cdp/execute', {'cmd': name, 'params': values})

    def open(self, path: pathlib.Path) -> None:
        """Opens a file and waits until it is loaded."""
        self._ask('/url', {'url': path.resolve().as_uri()})

    def size(self, width: int, height: int = 900, *, dark: bool = False) -> None:
        """Sets the size of the view, and the colours asked for."""
        self.command(
            'Emulation.setDeviceMetricsOverride', width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {'name': 'prefers-color-scheme', 'value': 'dark' if dark else 'light'}
        self.command('Emulation.setEmulatedMedia', features=[scheme])

    def run(self, script: str, *arguments):
        """What a script, a function's body, returns."""
        return self._ask('/execute/sync', {'script': script, 'args': list(arguments)})

    def press(self, *keys: str) -> None:
        """Presses keys one after the other."""
        actions = [{'type': kind, 'value': key} for key in keys for kind in ('keyDown', 'keyUp')]
        self._ask('/actions', {'actions': [{'type': 'key', 'id': 'keyboard', 'actions': actions}]})

    def messages(self) -> list[str]:
        """What the console has said since the last call, errors and warnings."""
        return [entry['message'] for entry in self._ask('/se/log', {'type': 'browser'})]

    def picture(self, path: pathlib.Path, *, whole: bool = False) -> None:
        """Writes a PNG of the view, or of the whole page."""
        data = self.command('Page.captureScreenshot', format='png', captureBeyondViewport=whole)['data']
        path.write_bytes(base64.b64decode(data))


@contextlib.contextmanager
def started(folder: pathlib.Path):
    """A browser that keeps its files in `folder`."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    with subprocess.Popen(
        ['chromedriver', f'--port={port}'], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as driver:
        try:
            root = f'http://127.0.0.1:{port}'
            for _ in range(100):
                with contextlib.suppress(OSError), urllib.request.urlopen(f'{root}/status', timeout=5):
                    break
                time.sleep(0.1)
            options = {
                'args': [*_QUIET, f'--user-data-dir={folder / "profile"}'],
                'binary': shutil.which('chromium'),
            }
            wanted = {'goog:chromeOptions': options, 'goog:loggingPrefs': {'browser': 'ALL'}}
            answer = Page(root)._ask('/session', {'capabilities': {'alwaysMatch': wanted}})
            page = Page(f'{root}/session/{answer["sessionId"]}')
            try:
                yield page
            finally:
                page._ask('', method='DELETE')
        finally:
            driver.terminate()
