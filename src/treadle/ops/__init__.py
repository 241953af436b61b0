"""The catalogue: each op in one place, grouped by family."""
