"""Conversion through ONNX: export from PyTorch, then openvino.convert_model or Model Optimizer makes the IR."""
