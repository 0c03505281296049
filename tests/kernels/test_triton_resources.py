"""What GPU compilers make of every line of the tuning table, with no GPU: spills, shared memory, tensor cores.

`resources.json` is the committed table. To accept a change: python -m kernels.aot --json > tests/kernels/resources.json
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

triton = pytest.importorskip("triton", reason="the Triton kernels need triton (Linux)")
from kernels import aot, tuning  # noqa: E402

COMMITTED = json.loads((Path(__file__).parent / "resources.json").read_text())


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """The table compiled afresh, in another process: this one may have the interpreter in place of the compiler."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment |= {"TRITON_CACHE_DIR": str(tmp_path_factory.mktemp("triton")), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "kernels.aot", "--json", "--workers", "2"]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return {name: aot.Resources(*values) for name, values in json.loads(done.stdout)["kernels"].items()}


@pytest.mark.timeout(900)
def test_every_line_compiles(compiled):
    assert compiled.keys() == {job.name for job in aot.jobs()}
    nvidia = [e for e in tuning.entries() if e.arch != "gfx942"]
    assert {aot.Job(entry.arch, entry).name for entry in nvidia} <= compiled.keys()
    for arch in ("sm_80", "sm_90", "sm_100"):
        for kernel in tuning.KERNELS:
            for size in tuning.HEAD_SIZES:
                assert f"{arch} {kernel} {size} bf16 long" in compiled


def test_no_value_leaves_the_registers(compiled):
    assert {name: r.spilled for name, r in compiled.items() if r.spilled} == {}


def test_shared_memory_fits(compiled):
    over = {name: r.shared for name, r in compiled.items() if r.shared > aot.SHARED_LIMIT[name.split()[0]]}
    assert over == {}


@pytest.mark.parametrize("capability", [(8, 6), (8, 9), (12, 0)])
def test_consumer_gpus_have_room_for_what_they_run(compiled, capability):
    arch = tuning.architecture(*capability)
    assert max(r.shared for name, r in compiled.items() if name.startswith(f"{arch} ")) <= 101_376


def test_products_run_on_tensor_cores(compiled):
    without = {"delta", "query_forward", "query_backward", "paged_combine", "cross_entropy"}  # no matrix products
    assert [n for n, r in compiled.items() if r.tensor_core == 0 and n.split()[1] not in without] == []


def test_nothing_is_worse_than_committed(compiled):
    assert compiled.keys() == COMMITTED["kernels"].keys()
    if triton.__version__ != COMMITTED["triton"]:
        pytest.skip(f"compares with resources.json: pip install triton=={COMMITTED['triton']}")
    worse = {
        name: f"{got} was {was}"
        for name, was in ((name, aot.Resources(*values)) for name, values in COMMITTED["kernels"].items())
        if (got := compiled[name]).registers > was.registers or got.shared > was.shared
    }
    assert worse == {}
