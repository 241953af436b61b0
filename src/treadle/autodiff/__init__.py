"""Gradients: the tape, the split of a graph into forward and backward, forward mode, and functions over functions."""
