"""AMPtorch, unmodified, as another backend: features, training, prediction, and its LMDBs."""
