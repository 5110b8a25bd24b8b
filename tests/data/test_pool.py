"""Work spread over processes."""

from __future__ import annotations

import os

import pytest

from hpopt_lib.data.pool import one_thread, ordered_map


@pytest.mark.parametrize("processes", [1, 2])
def test_results_keep_the_order_of_jobs_and_errors_come_through(processes):
    jobs = [(number, 7) for number in range(20)]
    found = ordered_map(divmod, jobs, processes=processes, desc="test", unit="job", chunk=3)
    assert found == [divmod(*job) for job in jobs]
    with pytest.raises(ZeroDivisionError):
        ordered_map(divmod, [(1, 1), (1, 0)], processes=processes, desc="test", unit="job")


def test_thread_settings_are_put_back(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    with one_thread():
        assert os.environ["OMP_NUM_THREADS"] == os.environ["MKL_NUM_THREADS"] == "1"
    assert os.environ["OMP_NUM_THREADS"] == "5" and "MKL_NUM_THREADS" not in os.environ
