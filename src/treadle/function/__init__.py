"""`td.function`: signature, cache, guards, tracing, execution, the retrace report; and `td.Graph`, built by hand."""
