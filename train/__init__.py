"""Everything that makes a model: data, augmentation, the training loop, the command lines."""
