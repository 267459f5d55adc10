"""Live balances: account changes over WebSocket, joined with REST."""
