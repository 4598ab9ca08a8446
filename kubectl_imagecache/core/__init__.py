"""The domain: pure data and pure functions; imports only the standard library."""
