"""All that is to be measured on a GPU, in one command for a machine without a network."""
