"""lego: research on how transformers learn to reason.

Importing lego is cheap: each public name loads its module, and torch or transformers with it,
when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.4.0"

if TYPE_CHECKING:
    from lego.corpus import dataset, stream
    from lego.task import Task, load_task

_HOMES = {
    "Task": "lego.task",
    "load_task": "lego.task",
    "dataset": "lego.corpus",
    "stream": "lego.corpus",
}
__all__ = ["Task", "__version__", "dataset", "load_task", "stream"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'lego' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
