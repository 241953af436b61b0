"""The three ops that hold graphs - call, cond, loop - and the staging of Python control flow onto them."""
