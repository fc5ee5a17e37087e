from __future__ import annotations

import urllib.request

import pytest

from tests.bench.bare import bare


@pytest.mark.parametrize("server", ["daphne", "uvicorn"])
def test_the_floor_of_the_figures_answers_without_the_product(server: str) -> None:
    with (
        bare(server, 1_000) as port,
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer,
    ):
        assert len(answer.read()) == 1_000
