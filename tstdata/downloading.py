"""Downloads that can't hang: a bounded number of tries, each given up when no more bytes arrive."""

import contextlib
import errno
import glob
import logging
import os
import random
import re
import threading
import time
from collections.abc import Callable

logger = logging.getLogger(__name__)

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_MISSING = ("404", "NoSuchKey", "NoSuchBucket")
_REFUSED = (
    *("401", "403", "AccessDenied", "ExpiredToken", "ExpiredTokenException", "InvalidAccessKeyId"),
    *("InvalidToken", "RequestExpired", "SignatureDoesNotMatch", "TokenRefreshRequired"),
)
_NO_CREDENTIALS = ("NoCredentialsError", "DefaultCredentialsError", "RefreshError", "TokenRetrievalError")
# How often growth is looked for within the timeout.
_LOOKS = 4
# What downloaders put behind a file's name until it is whole: boto3 eight digits, the others .tmp.
_UNFINISHED = re.compile(r"(.+)\.(tmp|[0-9A-Fa-f]{8})")


class StalledError(TimeoutError):
    """No byte arrived for too long."""


class FetchError(OSError):
    """A file could not be had; `remedy` says what to do, `cause` what the last try failed with."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(_one_line(cause))
        self.cause, self.remedy = cause, remedy_for(cause)


def fetch(
    download: Callable[[], object], renew: Callable[[], object], local: str, *, tries: int, timeout: float
) -> None:
    """Downloads a file; whatever fails is tried again as often as it may help, and logged.

    Args:
        download: Downloads it to `local`, or to a name that begins with it and is then renamed.
        renew: Called after a failure: the next try makes a new client, which looks for credentials anew.
        local: Its path. An unfinished file of this name would be taken for a whole one: it is removed.
        tries: How often what may heal by itself is tried.
        timeout: Seconds without a new byte after which a try is given up.

    Raises:
        FetchError: It could not be had.
    """
    for number in range(1, max(tries, 1) + 1):
        try:
            _watched(download, local, timeout)
            return
        except Exception as error:
            failure = error
        renew()
        for path in (local, *unfinished(local)):
            with contextlib.suppress(OSError):
                os.remove(path)
        allowed = min(max(tries, 1), _tries_for(failure))
        if number >= allowed:
            break
        pause = 2 ** (number - 1) + random.random() / 2
        logger.warning(
            "%s: try %d of %d to fetch it failed (%s); the next in %.1f s.",
            *(local, number, allowed, _one_line(failure), pause),
        )
        time.sleep(pause)
    raise FetchError(failure) from failure


def unfinished(local: str) -> list[str]:
    """Returns the paths of what downloads of `local` have begun under other names."""
    return [path for path in glob.glob(f"{glob.escape(local)}.*") if to_become(path) == local]


def to_become(name: str) -> str | None:
    """Returns the name that an unfinished download's file would get in the end; None: it is none."""
    found = _UNFINISHED.fullmatch(name)
    return found and found[1]


def is_missing(error: BaseException) -> bool:
    """Returns whether a downloader's error says that there is no such file: each SDK has its own way."""
    if isinstance(error, FetchError):
        error = error.cause
    return isinstance(error, FileNotFoundError) or _code_of(error) in _MISSING


def is_no_room(error: BaseException | None) -> bool:
    """Returns whether an error, or what it came from, is a disk that is full."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            return True
        error = error.__cause__ or error.__context__
    return False


def remedy_for(error: BaseException) -> str:
    """Returns what to do about a failed download, as a sentence."""
    if is_no_room(error):
        return "The cache's disk is full: make room there, or set cache_limit."
    if is_missing(error):
        return "It is not there: put it back, or prepare the dataset again."
    if _is_refused(error):
        return "The store refuses access: renew the credentials, and see that they let it be read."
    if isinstance(error, StalledError):
        return "See that the store can be reached; download_timeout says how long to wait for a byte."
    return "See that the store answers and that the file there is whole."


def _is_refused(error: BaseException) -> bool:
    return _code_of(error) in _REFUSED or type(error).__name__ in _NO_CREDENTIALS


def _tries_for(error: BaseException) -> int:
    """How many tries may help: a second one, with a new client, where credentials are renewed meanwhile.

    A stalled one too: with more of them, other ranks would give up waiting for this one first.
    """
    if is_no_room(error) or is_missing(error):
        return 1
    return 2 if _is_refused(error) or isinstance(error, StalledError) else 1_000


def _code_of(error: BaseException) -> str:
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return str(response.get("Error", {}).get("Code"))
    codes = (getattr(error, name, None) for name in ("code", "status_code"))
    return next((str(int(code)) for code in codes if isinstance(code, int)), "")


def _watched(download: Callable[[], object], local: str, timeout: float) -> None:
    """Downloads in a thread that is left behind once its file has not grown for `timeout` seconds.

    SDKs have timeouts of their own, but multiply them by retries of their own on several levels: boto3's
    60 seconds, through Streaming, are half an hour.
    """
    failures: list[BaseException] = []

    def run() -> None:
        try:
            download()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True, name=f"fetching {os.path.basename(local)}")
    thread.start()
    arrived, since = 0, time.monotonic()
    while True:
        thread.join(timeout / _LOOKS)
        if not thread.is_alive():
            break
        size, now = sum(map(_size, (local, *unfinished(local)))), time.monotonic()
        if size > arrived:
            arrived, since = size, now
        elif now - since >= timeout:
            raise StalledError(f"no byte arrived for {timeout:g} seconds, after {arrived}")
    if failures:
        raise failures[0]


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0
