"""Loads models and tokenizers, and says where they run: names come in, transformers objects go out.

Writes files only where weights are to be merged.
"""
