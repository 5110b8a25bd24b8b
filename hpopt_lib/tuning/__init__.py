"""Hyperparameter tuning with Optuna: search space, objective, storage, studies."""
