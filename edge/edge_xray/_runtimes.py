"""Which interpreter of .tflite files this machine has; the first that imports is taken."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from edge_xray.errors import ModelError, UsageError
from edge_xray.native_output import quiet_native_output

RUNTIMES: Final[dict[str, tuple[str, str]]] = {
    "ai-edge-litert": ("ai_edge_litert.interpreter", "Interpreter"),
    "tflite-runtime": ("tflite_runtime.interpreter", "Interpreter"),
    "tensorflow": ("tensorflow", "lite.Interpreter"),
}
"""Distribution to module and attribute; in order of preference. Tensorflow takes seconds to start."""


@dataclass(frozen=True)
class Runtime:
    """An installed interpreter.

    Attributes:
        name: distribution.
        version: of the package; empty if it carries none.
        interpreter: the class, ``tf.lite.Interpreter`` in all of them.
    """

    name: str
    version: str
    interpreter: Callable[..., Any]

    def __str__(self) -> str:
        """Name and version."""
        return f"{self.name} {self.version}".strip()

    def load(self, network: bytes, threads: int, *, delegate: bool = True) -> Any:
        """An interpreter with its tensors allocated.

        Args:
            network: the flatbuffer; must be checked by hash first, for a damaged one can crash.
            threads: how many threads it may use.
            delegate: whether a delegate (XNNPACK) may take operations over. The built-in kernels alone are
                slower, and on one kind of processor round alike in all runtimes.

        Raises:
            ModelError: the runtime refuses the network.
            UsageError: the runtime is broken.
        """
        try:
            with quiet_native_output():
                # Named only where it matters: an old runtime knows no resolvers.
                choice = {} if delegate else {"experimental_op_resolver_type": self._built_in()}
                interpreter = self.interpreter(model_content=network, num_threads=threads, **choice)
                interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ModelError(
                f"the model cannot be run by {self} ({' '.join(str(error).split())}); "
                "use a model made for it, or update the runtime"
            ) from error
        except SystemError as error:
            # tflite-runtime under NumPy 2 is imported without a word and breaks here.
            cause = repr(error.__cause__ or error)
            raise UsageError(f"{self} is broken ({cause}). Run: {_mending(self.name)}") from error
        return interpreter

    def _built_in(self) -> Any:
        """What asks this runtime for its built-in kernels without the delegates it adds by default."""
        resolvers = sys.modules[self.interpreter.__module__].OpResolverType
        return resolvers.BUILTIN_WITHOUT_DEFAULT_DELEGATES


def choose_runtime(name: str | None = None) -> Runtime:
    """The runtime of that name, or the first that is installed.

    Raises:
        UsageError: there is none, or none of that name.
    """
    if name is not None and name not in RUNTIMES:
        raise UsageError(f"runtime {name!r} is not known; expected one of {', '.join(RUNTIMES)}")
    failures, broken = [], []
    for distribution in RUNTIMES if name is None else (name,):
        module, attribute = RUNTIMES[distribution]
        try:
            with quiet_native_output():
                found: Any = importlib.import_module(module)
                for part in attribute.split("."):
                    found = getattr(found, part)
        except Exception as error:
            # A runtime built for another NumPy throws AttributeError or ImportError, or worse.
            absent = isinstance(error, ModuleNotFoundError)
            failures.append(f"{distribution}: {'not installed' if absent else repr(error)}")
            # Unless it is asked for, tensorflow is not mended: ai-edge-litert is far less to fetch.
            if not absent and (name or distribution != "tensorflow"):
                broken.append(distribution)
            continue
        # Cheaper than asking importlib.metadata, whose import takes longer than a film.
        release = getattr(sys.modules[module.partition(".")[0]], "__version__", "")
        return Runtime(distribution, release, found)
    mend = _mending(broken[0]) if broken else f"pip install {name or 'ai-edge-litert'}"
    raise UsageError(f"no runtime can run the model ({'; '.join(failures)}). Run: {mend}")


def _mending(distribution: str) -> str:
    """What is run to mend a runtime that is installed and cannot be imported."""
    if sys.platform == "win32":
        return "pip install msvc-runtime"
    if distribution == "tflite-runtime":
        return 'pip install "numpy<2"'
    return f"pip install --force-reinstall {distribution}"
