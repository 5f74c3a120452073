"""The understanding side: prompts and pictures to layer states, and text answers."""
