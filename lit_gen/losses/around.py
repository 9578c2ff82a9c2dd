"""What the losses share that are put around another one."""

from typing import Any

from lit_gen.losses.adversarial import AdversarialLoss, NonSaturatingLoss


class AroundLoss(AdversarialLoss):
    """Base of the losses that change another one, whatever that takes of a discriminator.

    Args:
        adversarial: The other one; the non-saturating one by default.
    """

    def __init__(self, adversarial: AdversarialLoss | None = None) -> None:
        self.adversarial = adversarial or NonSaturatingLoss()
        self.boundary = self.adversarial.boundary

    def check(self, judged: Any) -> None:
        """Refuse what the other one does not take.

        Raises:
            UserError: It does not take `judged`, what the discriminator returned.
        """
        self.adversarial.check(judged)

    def state_dict(self) -> dict[str, Any]:
        """What training has changed, here and in the other one."""
        inner = self.adversarial.state_dict()
        return super().state_dict() | ({"adversarial": inner} if inner else {})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from such a state; what is missing in it begins afresh."""
        super().load_state_dict(state)
        self.adversarial.load_state_dict(state.get("adversarial", {}))
