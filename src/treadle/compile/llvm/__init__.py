"""Kernel text to machine code: LLVM's text, object files laid out flat, the disk cache, and loading."""
