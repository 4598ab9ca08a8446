"""What runs on the temporary VM: it fills a cache disk from registries, with Python's standard library alone."""
