"""Running programs: the native loop that walks them, its pool of workers, and the memory they use."""
