import os
from typing import Iterator, Union

_Path = Union[str, "os.PathLike[str]"]

class Parts(Iterator[bytes]):
    """What `parts` gives. Threads that share it take turns."""

    def __iter__(self) -> "Parts": ...
    def __next__(self) -> bytes: ...

def dumps_file(path: _Path) -> bytes:
    """All records of a file as one JSON array. Other threads go on meanwhile.

    Raises OSError where the system refuses the file, and ValueError, which names the line, where a record is broken.
    """

def dumps_file_serial(path: _Path) -> bytes:
    """The same by the same code in this process alone."""

def parts(path: _Path) -> Parts:
    """The same array in parts, each as soon as it and those before it are ready: the body of an answer, for example."""

def make_file(path: _Path, records: int) -> None:
    """Writes a table with this number of records, to try the other functions with."""

def workers() -> int:
    """The number of worker processes; 0 where no pool can run."""

def why_no_pool() -> Union[str, None]:
    """Why no pool can run in this process, as a sentence; None if one can."""
