"""Reports on models: descriptors, the cost of a graph, outputs compared with the ONNX Model Zoo's test data."""
