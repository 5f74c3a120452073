"""Training of the generation side by rectified flow, with the understanding side frozen.

data, sizes      what is learned from: texts, pictures and their sizes
draws            which of it, at which noise, with which conditions dropped, at every step
encoding, files  what the frozen parts make of it, computed once and kept on disk, whole or not at all
flow, trainee    the loss, through the engine's own network
adapters         LoRA on the engine's layers, under the names that loaders want
settings, state, loop
                 the run: steps, averages, files that it resumes from
show             samples and a plot on the way
needs            what it will take, before it starts
"""
