"""The benchmark harness: cases, timing, worker processes, the report. Needs NumPy alone; uses rich if it is there."""
