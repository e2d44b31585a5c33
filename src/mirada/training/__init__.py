"""Train a model into a folder: the loop, its checkpoints, the folder of a run, and torchrun's processes."""
