"""What the auth-service says of organizations."""

from collections import OrderedDict

from shared.contracts.auth import OrganizationProfile
from shared.errors import ServiceError
from shared.http_client import ServiceClient

KEPT = 50_000


class AuthOrganizations:
    """Asks once an organization; while accounts are away the starter base is assumed, and that is not remembered."""

    def __init__(self, auth: ServiceClient) -> None:
        self._auth = auth
        self._samples: OrderedDict[str, bool] = OrderedDict()

    async def wants_sample(self, organization_id: str) -> bool:
        """Whether it answers from the starter knowledge base until it publishes."""
        known = self._samples.get(organization_id)
        if known is not None:
            return known
        try:
            profile = await self._auth.get(f"/internal/organizations/{organization_id}", OrganizationProfile)
        except ServiceError:
            return True
        self._samples[organization_id] = profile.sample
        if len(self._samples) > KEPT:
            self._samples.popitem(last=False)
        return profile.sample
