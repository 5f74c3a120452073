"""Model files: reading, naming, checking, loading."""
