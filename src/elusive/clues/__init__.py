"""The method: scores of a large and a small model come in, the contrast and the rank of each token go out.

Writes no files.
"""
