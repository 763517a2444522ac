"""What a run will cost: a recipe comes in, tokens, operations, memory and device-hours of each stage go out.

Writes no files.
"""
