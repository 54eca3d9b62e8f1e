"""How many requests may be sent a second time: so few that repeats never become the load that they were to survive."""

from dataclasses import dataclass

SHARE = 0.1
BURST = 100.0


@dataclass(slots=True)
class RepeatBudget:
    """Repeats may add a tenth to the load, never more: every request earns a tenth of a repeat."""

    tokens: float = BURST

    def earn(self) -> None:
        """A request was made."""
        self.tokens = min(BURST, self.tokens + SHARE)

    def spend(self) -> bool:
        """Whether a repeat is allowed, and if so count it."""
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True
