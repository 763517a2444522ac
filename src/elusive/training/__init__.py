"""A model learns from the copies: texts and a base model come in, weights go out.

Writes the weights (safetensors), metrics.jsonl and checkpoints from which an interrupted training resumes.
"""
