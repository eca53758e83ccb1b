"""How much each time counts: functions of the signal-to-noise ratio, for any kind of prediction.

A weighting says what it gives to the squared error of the *data* that a prediction implies. The error of another kind is
that of the data times a factor of t (`GaussianPath.sensitivity`), so one weighting means the same for all of them.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from anylatent.node import Node
from anylatent.paths.base import Path, Prediction, as_gaussian
from anylatent.types import Tensor


class Weighting(Node, family="weighting"):
    """What the error of a prediction at time t counts."""

    gaussian: ClassVar[bool] = True
    """Whether it needs a path with signal-to-noise ratios."""

    def on_data(self, snr: Tensor) -> Tensor:
        """The factor of the data's squared error at this alpha^2 / sigma^2."""
        raise NotImplementedError

    def factor(self, path: Path, kind: Prediction, t: Tensor) -> Tensor | None:
        """The factor of the squared error of a prediction of this kind, on `0 < t < 1`; None for 1."""
        path = as_gaussian(path)
        snr = (path.alpha(t) / path.sigma(t)) ** 2
        return self.on_data(snr) / path.sensitivity(kind, t) ** 2


class Unweighted(Weighting, kind="none"):
    """Each time counts alike in the kind that is predicted."""

    neutral: ClassVar[Mapping[str, Any] | None] = {}
    gaussian: ClassVar[bool] = False

    def factor(self, path: Path, kind: Prediction, t: Tensor) -> Tensor | None:
        return None


class MinSNR(Weighting, kind="min-snr"):
    """min(SNR, gamma) on the data: no time of little noise outweighs others (Hang et al. 2023, 2303.09556, sec. 3.3)."""

    systems: ClassVar[tuple[str, ...]] = ("Min-SNR (2303.09556)",)

    gamma: float = Field(default=5.0, gt=0, description="The SNR from which on all count alike on the data.")

    def on_data(self, snr: Tensor) -> Tensor:
        return snr.clamp(max=self.gamma)


class SoftMinSNR(Weighting, kind="soft-min-snr"):
    """gamma SNR / (SNR + gamma) on the data: `min-snr` without a corner (Crowson et al. 2024, 2401.11605).

    It is the sigmoid weighting of the noise error, sigmoid(b - ln SNR), times a constant, at gamma = e^b (Kingma & Gao 2023,
    2303.00848; Hoogeboom et al. 2024, 2410.19324, where b is -1 to -3: gamma 0.4 to 0.05).
    """

    systems: ClassVar[tuple[str, ...]] = (
        "HDiT (2401.11605)",
        "VDM++, sigmoid weighting (2303.00848)",
        "Simpler Diffusion, SiD2 (2410.19324)",
    )

    gamma: float = Field(default=4.0, gt=0, description="The SNR at which the weight is half of what it becomes.")

    def on_data(self, snr: Tensor) -> Tensor:
        # Over its larger term: an infinite ratio gives gamma.
        return self.gamma / (1 + self.gamma / snr)


class MaxSNR(Weighting, kind="max-snr"):
    """max(SNR, floor) on the data: noise counts even where none of the signal is left (Salimans & Ho 2022, 2202.00512, sec. 4)."""

    systems: ClassVar[tuple[str, ...]] = ("Progressive Distillation, truncated SNR (2202.00512)",)

    floor: float = Field(default=1.0, gt=0, description="What errors of the data count at least.")

    def on_data(self, snr: Tensor) -> Tensor:
        return snr.clamp(min=self.floor)


class EDMWeighting(Weighting, kind="edm"):
    """1 + SNR on the data: with prediction `preconditioned`, every time has the same error at first (Karras et al. 2022, 2206.00364)."""

    systems: ClassVar[tuple[str, ...]] = ("EDM (2206.00364)",)

    def on_data(self, snr: Tensor) -> Tensor:
        return 1 + snr


class P2(Weighting, kind="p2"):
    """SNR / (k + SNR)^gamma on the data: less for times that only clean up (Choi et al. 2022, 2204.00227, eq. 8).

    `gamma` 0: each time counts alike on the noise.
    """

    systems: ClassVar[tuple[str, ...]] = ("P2 weighting (2204.00227)",)

    k: float = Field(default=1.0, gt=0, description="Keeps the weight finite where there is no signal.")
    gamma: float = Field(default=1.0, ge=0, description="How much less.")

    def on_data(self, snr: Tensor) -> Tensor:
        return snr / (self.k + snr) ** self.gamma
