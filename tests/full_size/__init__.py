"""The engine at the large model's real size, on files of holes: `python -m tests.full_size`."""
