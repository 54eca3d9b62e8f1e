"""Articles over HTTP: draft, read, change, remove, list, publish."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from knowledge_service.domain.authoring import Authoring, Filters, Status
from knowledge_service.domain.publishing import Publishing
from knowledge_service.routes.bodies import (
    ArticleChanges,
    ArticleIn,
    ArticleList,
    ArticleOut,
    ArticleVersions,
    PublishedOut,
    Tag,
    Wording,
)
from knowledge_service.routes.keyed import KEYED, KeyedRoute
from knowledge_service.routes.parameters import ArticleId, Editor, Publisher, Reader
from shared.cursors import Cursors
from shared.fields import Cursor, Limit
from shared.parts import Part
from shared.problems import responses

router = APIRouter(prefix="/knowledge", tags=["knowledge"], route_class=KeyedRoute)

READS = responses(401, 403, 404, 422, 429, 503, 504)
WRITES = responses(400, 401, 403, 404, 409, 413, 415, 422, 429, 503, 504)


@router.post("/articles", status_code=201, responses=WRITES, openapi_extra=KEYED)
async def draft_article(body: ArticleIn, principal: Editor, authoring: Part[Authoring]) -> ArticleOut:
    """Draft an article; it answers once it is published."""
    return ArticleOut.of(await authoring.draft_article(principal.organization_id, body.as_text()))


@router.get("/articles", responses=READS)
async def list_articles(
    principal: Reader,
    authoring: Part[Authoring],
    cursors: Part[Cursors],
    status: Status | None = None,
    tag: Annotated[Tag | None, Query()] = None,
    q: Annotated[Wording | None, Query()] = None,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> ArticleList:
    """The organization's articles, newest first; a filtered page may be short and still have a next one."""
    scope = f"articles:{principal.organization_id}:{principal.user_id}:{status}:{tag}:{q}"
    before = UUID(cursors.read(scope, cursor)) if cursor is not None else None
    found, then = await authoring.list_articles(principal.organization_id, Filters(status, tag, q), before, limit)
    return ArticleList(
        articles=[ArticleOut.of(listed) for listed in found],
        next_cursor=None if then is None else cursors.make(scope, str(then)),
    )


@router.get("/articles/{article_id}", responses=READS)
async def get_article(article_id: ArticleId, principal: Reader, authoring: Part[Authoring]) -> ArticleOut:
    """One article, as it is drafted now."""
    return ArticleOut.of(await authoring.get_article(principal.organization_id, article_id))


@router.get("/articles/{article_id}/versions", responses=READS)
async def list_versions(
    article_id: ArticleId, principal: Reader, authoring: Part[Authoring], limit: Limit = 20
) -> ArticleVersions:
    """The latest versions of an article, newest first; the last 100 are kept."""
    versions = await authoring.list_versions(principal.organization_id, article_id, limit)
    return ArticleVersions(versions=[ArticleOut.of(version) for version in versions])


@router.patch("/articles/{article_id}", responses=WRITES)
async def change_article(
    article_id: ArticleId, body: ArticleChanges, principal: Editor, authoring: Part[Authoring]
) -> ArticleOut:
    """Change some fields of an article, which makes its next version."""
    return ArticleOut.of(await authoring.change_article(principal.organization_id, article_id, body.as_changes()))


@router.delete("/articles/{article_id}", status_code=204, responses=READS)
async def delete_article(article_id: ArticleId, principal: Editor, authoring: Part[Authoring]) -> Response:
    """Remove an article; it stops answering at the next publish."""
    await authoring.delete_article(principal.organization_id, article_id)
    return Response(status_code=204)


@router.post("/publish", responses=WRITES, openapi_extra=KEYED)
async def publish(principal: Publisher, publishing: Part[Publishing]) -> PublishedOut:
    """Let the articles as they are now answer, all at once, under a new epoch."""
    publication = await publishing.publish(principal.organization_id)
    return PublishedOut(epoch=publication.epoch, articles=publication.articles, published_at=publication.published_at)
