"""What the tests of runs of the original study's scripts need."""

import pytest

from support.original_cases import Written


@pytest.fixture(scope="module")
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Written:
    """The run of a case, which tests leave as it is."""
    results = tmp_path_factory.mktemp("original") / "results"
    return Written(request.param, results, request.param.write(results))
