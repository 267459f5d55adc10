"""The middleware chain: each class adds one behaviour to a request."""
