"""The endpoint: runs an exported bundle with ONNX Runtime. Imports neither torch nor training code."""
