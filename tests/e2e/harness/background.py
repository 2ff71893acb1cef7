"""Something that goes on in a thread for as long as a `with` block lasts."""

import threading
from typing import Self


class Background:
    """`_run` is what goes on; it ends soon after `_stop` is set."""

    def __init__(self):
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_) -> None:
        self._stop.set()
        self._thread.join(10)

    def _run(self) -> None:
        raise NotImplementedError
