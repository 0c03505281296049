"""What this processor lacks that 8-bit arithmetic needs. It knows no model and no runtime."""

import platform
import re
from pathlib import Path


def saturates(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether sums of 8-bit products may saturate: on x86 processors without VNNI (onnxruntime pull request 12088).

    ONNX Runtime's remedy (`session.x64quantprecision`) halves the speed on processors with VNNI too, so it is asked for
    only where it is needed. False where there is no `cpuinfo`: not Linux.
    """
    if platform.machine() not in ("x86_64", "AMD64") or not cpuinfo.is_file():
        return False
    return not re.search(r"^flags\s*:.*\b(avx512_vnni|avx_vnni)\b", cpuinfo.read_text(), re.MULTILINE)
