"""What is said where a file or folder cannot be written: disk full, read-only, no permission."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from spanqa.errors import SpanQAError, WriteError

_PROBE = bytes(1 << 20)
_OF_TORCH = ("inline_container", "PytorchStreamWriter")
"""In the errors of torch.save, which do not say what the system said."""


@contextmanager
def writing(path: Path, partial: Path | None = None) -> Iterator[None]:
    """Turn the system's refusal to write `path`, however a library words it, into one sentence.

    Args:
        path: file or folder that the block writes.
        partial: what is removed where the block fails, as it is half-written.

    Raises:
        WriteError: the system refused. Other errors are left as they are.
    """
    try:
        yield
    except Exception as error:
        if partial is not None:
            _remove(partial)
        reason = None if isinstance(error, SpanQAError) else _reason(error, path)
        if reason is None:
            raise
        where = error.filename if isinstance(error, OSError) and error.filename else path
        raise WriteError(f"{where}: cannot be written: {reason}") from error


def is_free(folder: Path) -> bool:
    """Whether a folder written there replaces nothing: there is none, or an empty one."""
    there = folder.resolve()
    if there == Path.cwd() or (there.exists() and not there.is_dir()):
        return False
    return not there.exists() or not any(there.iterdir())


def _remove(partial: Path) -> None:
    with suppress(OSError):  # on a read-only disk there is nothing to remove
        if partial.is_dir():
            shutil.rmtree(partial)
        else:
            partial.unlink(missing_ok=True)


def _reason(error: BaseException | None, path: Path) -> str | None:
    """What the system said; None where it was not asked to write.

    Python raises OSError; safetensors and tokenizers quote it as "(os error 28)"; torch.save tells
    nothing, so the system is asked once more.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno:
            return os.strerror(error.errno)
        quoted = re.search(r"\(os error (\d+)\)", str(error))
        if quoted:
            return os.strerror(int(quoted[1]))
        if any(word in str(error) for word in _OF_TORCH):
            return _refusal(path) or "torch could not write all of it"
        error = error.__cause__ or error.__context__
    return None


def _refusal(path: Path) -> str | None:
    """What the system says to a megabyte more beside `path`."""
    probe = path.with_name(f"{path.name}.probe")
    try:
        probe.write_bytes(_PROBE)
    except OSError as error:
        return error.strerror
    finally:
        _remove(probe)
    return None
