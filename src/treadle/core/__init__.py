"""What a value, an op and a graph are: spec, mode, op, tensor, graph, tracer, variable."""
