"""Feature columns, network shapes, and settings that are refused."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch
from torch import nn

from hpopt_lib.errors import HpoptError
from hpopt_lib.gmp.settings import GMPSettings
from hpopt_lib.potential.network import SingleNetwork, feature_columns
from hpopt_lib.potential.settings import ACTIVATIONS, NORMALIZATIONS, TrainSettings

GMP = GMPSettings(sigmas=(0.2, 0.4, 0.69, 1.1, 1.66, 2.66), max_order=3)


def chosen(max_order: int, num_sigmas: int) -> list[str]:
    columns = feature_columns(GMP, TrainSettings(max_order=max_order, num_sigmas=num_sigmas))
    assert (np.diff(columns) > 0).all()
    return [GMP.feature_names()[c] for c in columns]


def test_columns_by_order_and_width():
    assert chosen(-1, 0) == GMP.feature_names()
    assert chosen(0, 0) == GMP.feature_names()[:6]
    assert chosen(1, 2) == ["l0_sigma0.2", "l0_sigma2.66", "l1_sigma0.2", "l1_sigma2.66"]
    assert chosen(0, 1) == ["l0_sigma1.1"]
    assert chosen(0, 3) == ["l0_sigma0.2", "l0_sigma0.69", "l0_sigma2.66"]
    for wanted in range(1, 7):
        assert len(set(chosen(3, wanted))) == 4 * wanted


def test_more_than_stored_is_an_error():
    with pytest.raises(HpoptError, match="max_order: 4 is above the store's 3"):
        feature_columns(GMP, TrainSettings(max_order=4))
    with pytest.raises(HpoptError, match="num_sigmas: 7 is above the store's 6"):
        feature_columns(GMP, TrainSettings(num_sigmas=7))


def of_type(network: SingleNetwork, kind: type[nn.Module]) -> list:
    return [layer for layer in network.layers if isinstance(layer, kind)]


@pytest.mark.parametrize("num_layers", [1, 4])
def test_shapes_follow_the_settings(num_layers):
    network = SingleNetwork(5, TrainSettings(num_layers=num_layers, num_nodes=7, dropout_rate=0.2))
    shapes = [(layer.in_features, layer.out_features) for layer in of_type(network, nn.Linear)]
    assert shapes == [(5, 7), *[(7, 7)] * (num_layers - 1), (7, 1)]
    assert [layer.p for layer in of_type(network, nn.Dropout)] == [0.2] * num_layers
    assert isinstance(network.layers[-1], nn.Linear)
    assert not of_type(SingleNetwork(5, TrainSettings()), nn.Dropout)


def test_activations_and_normalisations():
    kinds = {"silu": nn.SiLU, "tanh": nn.Tanh, "relu": nn.ReLU, "gelu": nn.GELU}
    for name in ACTIVATIONS:
        assert len(of_type(SingleNetwork(3, TrainSettings(activation=name)), kinds[name])) == 3
    norms = {"none": (0, 0), "batch": (3, 0), "layer": (0, 3)}
    for name in NORMALIZATIONS:
        network = SingleNetwork(3, TrainSettings(normalization=name))
        assert (len(of_type(network, nn.BatchNorm1d)), len(of_type(network, nn.LayerNorm))) == norms[name]


def test_a_frame_is_the_sum_of_its_atoms():
    torch.manual_seed(0)
    network = SingleNetwork(3, TrainSettings(num_nodes=4))
    features = torch.randn(5, 3)
    with torch.no_grad():
        atomic = network(features, torch.arange(5), 5)
        summed = network(features, torch.tensor([0, 1, 0, 2, 0]), 4)
    expected = [atomic[[0, 2, 4]].sum(), atomic[1], atomic[3], 0.0]  # a frame without atoms gives zero
    assert summed.tolist() == pytest.approx([float(value) for value in expected], abs=1e-6)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_layers": 0}, "num_layers: 0 is out of range; give 1 to 50"),
        ({"num_layers": 2.0}, "num_layers: 2.0 is not of type int"),
        ({"num_layers": True}, "num_layers: True is not of type int"),
        ({"lr": 0.0}, "lr: 0.0 is out of range"),
        ({"lr": float("nan")}, "lr: nan is out of range"),
        ({"lr": "fast"}, "lr: 'fast' is not of type float"),
        ({"dropout_rate": 1.0}, "dropout_rate: 1.0 is out of range"),
        ({"gamma": 1.5}, "gamma: 1.5 is out of range"),
        ({"activation": "softsign"}, "activation: 'softsign' is unknown; use silu"),
        ({"loss": "rmse"}, "loss: 'rmse' is unknown"),
        ({"learning_rate": 0.1}, "'learning_rate' is unknown; the hyperparameters are num_layers"),
    ],
)
def test_settings_that_are_refused(values, message):
    with pytest.raises(HpoptError, match=message):
        TrainSettings.from_dict(values)


def test_settings_round_trip_and_whole_numbers_for_floats():
    assert TrainSettings.from_dict({"lr": 1}).lr == 1.0
    settings = TrainSettings(num_layers=2, schedule="step", gamma=0.3)
    assert TrainSettings.from_dict(settings.to_dict()) == settings
    assert set(settings.to_dict()) == {f.name for f in fields(TrainSettings)}
