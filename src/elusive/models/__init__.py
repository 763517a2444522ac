"""Loads models and tokenizers, and says where they run: names come in, transformers objects go out. Writes no files."""
