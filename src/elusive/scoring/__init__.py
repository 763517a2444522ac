"""What one model says of each token of a text: documents and a model come in, scores go out.

A score is the attention that the token receives, or the entropy of the model's prediction in its place. Writes Parquet
shards of scores, one folder for each score set.
"""
