"""Token by token: continuous batching over per-row caches."""
