"""Open Model Zoo's tools: read descriptors, download, convert and quantize models, of any model family."""
