import pytest

from anylatent.paths import EDM, Cosine, Rectified
from anylatent.paths.base import GaussianPath
from anylatent.testing.paths import PathContract


class TestCorePaths(PathContract):
    @pytest.fixture(scope="class", params=[Rectified(), Cosine(), EDM(), EDM(sigma_max=5)], ids=lambda path: path.key())
    @classmethod
    def path(cls, request: pytest.FixtureRequest) -> GaussianPath:
        return request.param
