"""How much attention each token receives in one model: documents and a model come in, scores go out.

Writes Parquet shards of scores, one folder for each score set.
"""
