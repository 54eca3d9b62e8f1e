"""What the routes read of a request beside its body, and who may use them."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Path

from knowledge_service.domain.authoring import ArticleNotFound
from shared.callers import require_role
from shared.ids import parse_id
from shared.principal import Principal


async def article_id(article_id: Annotated[str, Path(max_length=64)]) -> UUID:
    """The id in the path; what is no id of ours is an article that is not there."""
    parsed = parse_id(article_id)
    if parsed is None:
        raise ArticleNotFound
    return parsed


Reader = Annotated[Principal, Depends(require_role("viewer"))]
Editor = Annotated[Principal, Depends(require_role("editor"))]
Publisher = Annotated[Principal, Depends(require_role("admin"))]
ArticleId = Annotated[UUID, Depends(article_id)]
