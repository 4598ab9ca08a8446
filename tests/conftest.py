"""Golden files: compared with, and written anew by `pytest --regold`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--regold", action="store_true", help="write the golden files anew; review the difference")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """A function that compares TEXT with the file golden/NAME beside the test."""

    def check(name: str, text: str) -> None:
        file = Path(str(request.path)).parent / "golden" / name
        if request.config.getoption("--regold"):
            file.parent.mkdir(exist_ok=True)
            file.write_text(text, encoding="utf-8")
        assert file.is_file(), f"{file} is missing; pytest --regold writes it"
        assert text == file.read_text(encoding="utf-8")

    return check
