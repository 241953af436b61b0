"""Graph -> Graph: inlining, folding, merging, simplifying and pruning. `pipeline` has the list of passes in order."""
