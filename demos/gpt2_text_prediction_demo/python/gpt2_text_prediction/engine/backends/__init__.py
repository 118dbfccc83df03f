"""The ways to run a step of the engine: with a paged KV cache, a stateful one, or by recomputation."""
