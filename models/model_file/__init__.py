"""The model file: what it computes, how it is saved and loaded, where its evidence lies."""
