import uuid
from collections.abc import Iterator

import httpx2
import pytest

from local_stack.testing import Stack, replicas, running_stack

PASSWORD = "SecurePass123!"


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The whole stack with two processes of every service, once per run."""
    with running_stack(tmp_path_factory.mktemp("stack"), *replicas(2)) as running:
        yield running


@pytest.fixture
def client(stack: Stack) -> Iterator[httpx2.Client]:
    """A client of the gateway that has logged in as a new owner."""
    with httpx2.Client(base_url=stack.url, timeout=10) as made:
        email = f"e2e-{uuid.uuid4().hex[:12]}@example.com"
        made.post(
            "/auth/register", json={"email": email, "password": PASSWORD, "subscription_plan": "enterprise"}
        ).raise_for_status()
        login = made.post("/auth/login", json={"email": email, "password": PASSWORD}).raise_for_status()
        made.headers["Authorization"] = f"Bearer {login.json()['access_token']}"
        yield made
