"""From a descriptor's sources to verified files in their places: fetching, retries, resuming, cache, postprocessing."""
