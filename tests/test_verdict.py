"""Predictions, measurements and verdicts: power is part of the answer."""

import numpy as np
import pytest

import fieldflow as ff
from fieldflow.checks.record import EXACT, Family, Source, judge, row
from fieldflow.formulas import derive
from fieldflow.symbolic.convention import Convention

RELU = derive("expectation.relu")
VALUES = {"q11": 1.0, "c": 0.5, "q22": 1.0}


def test_agreement_disagreement_and_lack_of_power():
    prediction = ff.Prediction(RELU, VALUES)
    value = prediction.value
    assert ff.verify(prediction, ff.Measurement(value + 0.01, 0.01, n=100)).status == "agrees"
    assert ff.verify(prediction, ff.Measurement(value + 0.06, 0.01, n=100)).status == "disagrees"
    assert ff.verify(prediction, ff.Measurement(value, 0.1, n=4)).status == "underpowered"
    close = ff.Prediction(RELU, VALUES, control=value + 0.05)
    assert ff.verify(close, ff.Measurement(value, 0.01, n=100)).status == "underpowered"
    assert ff.verify(prediction, ff.Measurement(value + 0.01, 0.01, n=100)).pull == pytest.approx(1.0)


def test_exact_numbers_are_compared_exactly():
    prediction = ff.Prediction(RELU, VALUES)
    assert ff.verify(prediction, ff.Measurement(prediction.value, 0.0, n=1)).status == "agrees"
    off = ff.verify(prediction, ff.Measurement(np.nextafter(prediction.value, 1), 0.0, n=1))
    assert (off.status, off.pull) == ("disagrees", None)


def test_a_measurement_needs_an_error_and_the_conventions_must_match():
    with pytest.raises(TypeError):
        ff.Measurement(1.0)
    with pytest.raises(ff.errors.BadInput, match="std_error"):
        ff.Measurement(1.0, float("nan"), n=3)
    with pytest.raises(ff.errors.BadInput, match="std_error"):
        ff.Measurement(1.0, -0.1, n=3)
    other = ff.Measurement(0.3, 0.01, n=3, convention=Convention(loss="sum of squares"))
    with pytest.raises(ff.errors.BadInput, match="convention"):
        ff.verify(ff.Prediction(RELU, VALUES), other)
    with pytest.raises(ff.errors.BadInput, match="values"):
        ff.Prediction(RELU, {"q11": 1.0})


def family(p_values, controls, p_value=0.5, claim=EXACT):
    source = Source("f", claim, "eq")
    checks = tuple(row(source, "r", 0.0, 0.0, 1.0, 10, p_value=p) for p in p_values)
    return Family("f", claim, True, 10.0, 10, p_value, controls, checks)


def test_families_are_judged_with_holm_and_power():
    good = family([0.3, 0.2], {"wrong": 20.0})
    weak = family([0.3, 0.2], {"wrong": 20.0, "other": 3.0})
    one_bad_row = family([0.3, 1e-6], {"wrong": 20.0})
    bad = family([0.3, 0.2], {"wrong": 20.0}, p_value=1e-7)
    statuses = [entry.status for entry in judge([good, weak, one_bad_row, bad], 1e-4)]
    assert statuses == ["agrees", "underpowered", "disagrees", "disagrees"]
    rows = judge([one_bad_row], 1e-4)[0].checks
    assert [check.status for check in rows] == ["agrees", "disagrees"]
