"""From a folder of documents to a measured result: questions and a recipe are written, and the recipe is run."""
