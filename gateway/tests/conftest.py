from collections.abc import AsyncIterator

import httpx2
import pytest

from gateway.testing import Replica, RunningGateway, TokenMint, running_gateway, settings_for


@pytest.fixture
def mint() -> TokenMint:
    return TokenMint()


@pytest.fixture
async def replica(mint: TokenMint) -> AsyncIterator[Replica]:
    replica = Replica(mint)
    await replica.start()
    yield replica
    replica.kill()


@pytest.fixture
async def gateway(replica: Replica) -> AsyncIterator[RunningGateway]:
    async with running_gateway(settings_for(replica.url)) as running:
        yield running


@pytest.fixture
async def client(gateway: RunningGateway, mint: TokenMint) -> AsyncIterator[httpx2.AsyncClient]:
    """Somebody logged in."""
    headers = {"Authorization": f"Bearer {mint.token()}"}
    async with httpx2.AsyncClient(base_url=gateway.url, headers=headers, trust_env=False) as client:
        yield client
