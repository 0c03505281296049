"""These tests run the Triton kernels in Triton's interpreter, which is chosen when triton is imported.

So they live in a process of their own: `TRITON_INTERPRET=1 OMP_NUM_THREADS=1 pytest tests/kernels/interpreted`;
in the whole suite `test_triton_numerics.py` starts it.
"""

import os
from importlib.metadata import version

import pytest
import torch

if os.environ.get("TRITON_INTERPRET") != "1":
    collect_ignore_glob = ["test_*.py"]
elif version("triton").startswith("3.6."):  # its interpreter cannot use a loop's bound with NumPy 2.4; mended in 3.7
    from triton.runtime import interpreter

    _patch = interpreter._patch_lang_tensor

    def _patch_with_index(tensor, scope):
        _patch(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: self.handle.data.item())

    interpreter._patch_lang_tensor = _patch_with_index


@pytest.fixture(autouse=True, scope="session")
def _poison():
    """New tensors are full of NaN, so an element that a kernel does not write shows."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    assert torch.isnan(torch.empty(3)).all()
