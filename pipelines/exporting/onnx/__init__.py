"""ONNX graphs in float32."""
