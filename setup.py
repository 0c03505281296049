"""Only what pyproject.toml has no stable words for: the C kernels for ONNX Runtime (`serving/native/__init__.py`)."""

from glob import glob

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "serving.native.kernels",
            sources=sorted(glob("serving/native/*.c")),
            depends=sorted(glob("serving/native/*.h")),
            libraries=["m"],
            extra_compile_args=["-std=gnu11", "-O3", "-Wno-psabi", "-fvisibility=hidden"],
            optional=True,  # without a compiler ONNX Runtime's own operators are used
        )
    ]
)
