"""What only Windows can show; `tests/windows/run` runs it there."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest

if sys.platform != "win32":
    pytest.skip("only Windows can show it", allow_module_level=True)

from edge_xray import windows
from edge_xray.hardware import free_memory, peak_memory


def test_memory_is_told_and_grows_with_what_is_held() -> None:
    before = windows.process_memory()
    held = np.ones(100 * 2**20, np.uint8)
    after = windows.process_memory()
    assert after.committed - before.committed > held.nbytes // 2
    assert after.peak_resident >= held.nbytes
    assert peak_memory() == windows.process_memory().peak_resident


def test_free_memory_is_told_of_this_machine_only(tmp_path: Path) -> None:
    assert 2**26 < windows.free_memory() < 2**50
    assert free_memory(tmp_path) is None


def test_libraries_are_looked_for_where_the_package_put_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    added: list[str] = []
    monkeypatch.setattr("os.add_dll_directory", added.append)
    monkeypatch.setattr(sysconfig, "get_path", lambda *_: str(tmp_path))
    windows.add_cpp_runtime()
    assert not added
    (tmp_path / "msvcp140.dll").touch()
    windows.add_cpp_runtime()
    assert added and set(added) == {str(tmp_path)}
