"""Stopping a run by SIGINT or SIGTERM at a moment from which it can go on."""

import os
import signal
import socket
import sys
import threading
from types import FrameType


class Interrupted(KeyboardInterrupt):
    """A signal stopped a run; the message says where, and how to go on."""

    def __init__(self, message: str, signum: int):
        super().__init__(message)
        self.signum = signum


class Interruption:
    """Takes note of SIGINT and SIGTERM in a `with` block, where they would end the process.

    A second SIGINT does end it, at once, with exit code 130. Python's own handlers wait for the
    compiled call that the main thread is in; so a thread of this class listens as well. A handler
    that the program has installed itself stays in place, and so does a signal that is ignored.
    Outside the main thread, where Python has no handlers, nothing is noted.
    """

    signum: int | None = None  # of the first signal

    def __enter__(self) -> "Interruption":
        self._handlers = {}
        if threading.current_thread() is not threading.main_thread():
            return self
        self._heard, self._wakeup = socket.socketpair()
        self._wakeup.setblocking(False)
        self._previous_fd = signal.set_wakeup_fd(self._wakeup.fileno(), warn_on_full_buffer=False)
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        for signum in (signal.SIGINT, signal.SIGTERM):
            handler = signal.getsignal(signum)
            if handler in (signal.SIG_DFL, signal.default_int_handler):
                self._handlers[signum] = handler
                signal.signal(signum, _do_nothing)
        return self

    def __exit__(self, *error: object) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        signal.set_wakeup_fd(self._previous_fd)
        for signum, handler in self._handlers.items():
            signal.signal(signum, handler)
        self._wakeup.close()  # ends the listener, after all that was sent before
        self._listener.join()
        self._heard.close()

    def _listen(self) -> None:
        while received := self._heard.recv(1):
            if received[0] not in self._handlers:
                continue
            if self.signum is not None and received[0] == signal.SIGINT:
                _stop_at_once()
            self.signum = self.signum or received[0]


def _do_nothing(signum: int, frame: FrameType | None) -> None:
    """A handler of Python's, without which the listener would not be told."""


def _stop_at_once() -> None:
    show_cursor = "\x1b[?25h" if sys.stderr.isatty() else ""  # a progress bar has hidden it
    text = "stopped at once by a second SIGINT; --resume goes on from the last checkpoint"
    os.write(2, f"{show_cursor}\n{text}\n".encode())
    os._exit(128 + signal.SIGINT)
