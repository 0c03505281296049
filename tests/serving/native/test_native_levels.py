"""The kernels built on purpose: for one level of processors, whichever runs the tests, and where memory has run out."""

import ctypes
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from serving import native
from tests.serving.native import single_operator
from tests.serving.native import test_cached_attention as attention
from tests.serving.native import test_low_rank as low_rank
from tests.serving.native import test_products as products

SOURCES = Path(native.__file__).parent
AVX512 = {"avx512f", "avx512bw", "avx512vl", "avx512dq"}
NEEDS = {"baseline": set(), "avx2": {"avx2", "fma"}, "avx512": AVX512, "vnni": {*AVX512, "avx512_vnni"},
         "amx": {*AVX512, "avx512_vnni", "amx_tile", "amx_int8"}}  # fmt: skip
LEVELS = {"levels": "uint8", "scale": "float32"}

pytestmark = [
    single_operator.needs_kernels,
    pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler"),
]


def use(folder: Path, patch: pytest.MonkeyPatch, *flags: str) -> None:
    """Build the kernels with these flags and let sessions use them."""
    path = folder / "kernels.so"
    sources = sorted(SOURCES.glob("*.c"))
    subprocess.run(
        ["cc", "-std=gnu11", "-O1", "-Wno-psabi", "-shared", "-fPIC", *flags, *sources, "-o", path, "-lm"], check=True
    )
    patch.setattr(native, "library", lambda: path)


def abilities() -> set[str]:
    """The processor's instruction sets, as Linux names them."""
    path = Path("/proc/cpuinfo")
    found = re.search(r"^flags\s*:(.*)$", path.read_text(), re.MULTILINE) if path.exists() else None
    return set(found[1].split()) if found else set()


@pytest.mark.parametrize("level", NEEDS)
def test_each_level_computes_the_same(level: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not NEEDS[level] <= abilities():
        pytest.skip(f"this processor has no {level}")
    use(tmp_path, monkeypatch, f"-DONLY=rows_{level}")
    for case in attention.CASES:
        feeds = attention.draw(case)
        wanted = attention.reference(case, feeds)
        found = single_operator.run("CachedAttention", feeds, attention.OUTPUTS, True, **case.attributes)
        assert np.abs(found[0] - wanted[0]).max() < 1e-5
        assert all(np.abs(x.astype(int) - y).max() <= 1 for x, y in zip(found[1:], wanted[1:], strict=True))
    gate, up = np.random.default_rng(0).normal(size=(2, 3, 4, 4112)).astype(np.float32)
    wide = gate.astype(np.float64) / (1 + np.exp(-gate.astype(np.float64))) * up
    feeds = {"both": np.concatenate([gate, up], axis=-1)}
    levels, scale = single_operator.run("SwiGLUQuantize", feeds, LEVELS, True, axis=2, block_size=4112)
    assert np.abs((levels.astype(int) - 128) * scale - wide).max() < 0.501 * scale.max()
    for rows in (1, 5, 16, 35):
        products.check_levels(rows, 64, 80)
        for bits, block in products.BLOCKS:
            products.check_blocks(rows, 192, 80, bits, block)
    products.check_rows_alone()
    for rows, ids in ((1, [2, 0, 2, 1, 2, 2]), (7, [3])):
        low_rank.check(rows, low_rank.CASES[1], ids)


STARVED = """#include <stdlib.h>
static inline void *starved(size_t size) { return size > MOST ? NULL : malloc(size); }
#define malloc starved
"""


@pytest.mark.parametrize("most", [0, 4096])
def test_memory_that_runs_out_is_said(most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels take it when a graph is loaded, for prompts' keys, long contexts of large groups, rows over 4,096."""
    header = tmp_path / "starved.h"
    header.write_text(STARVED)
    use(tmp_path, monkeypatch, f"-DMOST={most}", "-include", str(header))
    monkeypatch.setattr(attention, "CAPACITY", 640)
    cases = [attention.Case(9, 3, 64, 7, (40,)), attention.Case(16, 1, 256, 1, (639,))]
    for case in cases:
        with pytest.raises(Exception, match="out of memory"):
            single_operator.run("CachedAttention", attention.draw(case), attention.OUTPUTS, True, **case.attributes)
    for rows in (1, 8):  # alone, and shared between threads
        feeds = {"both": np.ones((1, rows, 2 * 4112), np.float32)}
        with pytest.raises(Exception, match="out of memory"):
            single_operator.run("SwiGLUQuantize", feeds, LEVELS, True, axis=2, block_size=4112)
    feeds, attributes, _ = products.draw_blocks(16, 512, 16, 8, 64)
    with pytest.raises(Exception, match="out of memory"):
        single_operator.run("PackedMatMulNBits", feeds, products.OUT, True, constants=products.OF_BLOCKS, **attributes)
    adapted, _, _ = low_rank.draw(32, *low_rank.CASES[2], [1])
    with pytest.raises(Exception, match="out of memory"):
        single_operator.run("LowRank", adapted, products.OUT, True, **low_rank.attributes(*low_rank.CASES[2]))


def test_nothing_but_the_entry_is_visible() -> None:
    """Names such as `input` could be taken for those of other libraries in the process."""
    library = ctypes.CDLL(str(native.library()))
    assert hasattr(library, "RegisterCustomOps")
    assert not any(hasattr(library, name) for name in ("input", "output", "refuse", "rows_baseline"))
