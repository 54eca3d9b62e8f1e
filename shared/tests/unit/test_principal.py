import subprocess
import sys

import pytest

from shared.principal import ROLES, Role
from shared.testing import somebody


@pytest.mark.parametrize(
    ("role", "at_least", "holds"),
    [("viewer", "editor", False), ("editor", "editor", True), ("owner", "admin", True), ("root", "viewer", False)],
)
def test_roles_include_the_ones_below(role: str, at_least: Role, holds: bool) -> None:
    assert somebody(role).has_role(at_least) is holds


@pytest.mark.parametrize("role", ROLES)
def test_nobody_is_above_an_owner(role: Role) -> None:
    assert somebody("owner").has_role(role)
    assert somebody(role).has_role("owner") is (role == "owner")


def test_a_principal_drags_in_neither_a_framework_nor_a_wire_model() -> None:
    look = "import sys, shared.principal; print({m.partition('.')[0] for m in sys.modules} & {'fastapi', 'pydantic'})"

    seen = subprocess.run([sys.executable, "-c", look], check=True, capture_output=True, text=True)

    assert seen.stdout.strip() == "set()"
