"""gpt2_export: an IR of the gpt2 recipe in the formats of other programs: OpenVINO GenAI, and ONNX."""
