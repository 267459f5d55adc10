"""WebSocket v2 of the sandbox: account changes, pushed from the same world that REST shows."""
