"""The parts of the service a route needs, as `app.py` put them on the application, and who may use them."""

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Path, Request

from knowledge_service.domain.answering import Answering
from knowledge_service.domain.authoring import ArticleNotFound, Authoring
from knowledge_service.domain.publishing import Publishing
from shared.callers import require_role
from shared.cursors import Cursors
from shared.ids import parse_id
from shared.principal import Principal


def answering(request: Request) -> Answering:
    """The one that answers."""
    found: Answering = request.app.state.answering
    return found


def authoring(request: Request) -> Authoring:
    """The one that keeps articles."""
    found: Authoring = request.app.state.authoring
    return found


def publishing(request: Request) -> Publishing:
    """The one that publishes."""
    found: Publishing = request.app.state.publishing
    return found


def cursors(request: Request) -> Cursors:
    """The one that signs cursors."""
    found: Cursors = request.app.state.cursors
    return found


def article_id(article_id: Annotated[str, Path(max_length=64)]) -> UUID:
    """The id in the path; what is no id of ours is an article that is not there."""
    parsed = parse_id(article_id)
    if parsed is None:
        raise ArticleNotFound
    return parsed


Reader = Annotated[Principal, Depends(require_role("viewer"))]
Editor = Annotated[Principal, Depends(require_role("editor"))]
Publisher = Annotated[Principal, Depends(require_role("admin"))]
TheAnswering = Annotated[Answering, Depends(answering)]
TheAuthoring = Annotated[Authoring, Depends(authoring)]
ThePublishing = Annotated[Publishing, Depends(publishing)]
TheCursors = Annotated[Cursors, Depends(cursors)]
ArticleId = Annotated[UUID, Depends(article_id)]
