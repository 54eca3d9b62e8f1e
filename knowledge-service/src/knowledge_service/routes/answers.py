"""Answers over HTTP: for the public to try out and search, and for neighbours to build on."""

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Response
from fastapi import Query as QueryParameter

from knowledge_service.domain.answering import Answer, Answering
from knowledge_service.domain.decisions import Asked
from knowledge_service.domain.ranking import Hit
from knowledge_service.routes.bodies import AskIn, Query, SearchResult, SearchResults
from knowledge_service.routes.parameters import Editor, Reader
from shared.bodies import StrictRoute
from shared.callers import InternalCaller
from shared.contracts.knowledge import (
    AskRequest,
    Candidate,
    CitedAnswer,
    EpochState,
    KnowledgeAnswer,
    Retrieved,
    RetrievedArticle,
    RetrievedQuery,
    RetrieveRequest,
    Suggestion,
)
from shared.operations import RawResponse
from shared.parts import Part
from shared.problems import responses

router = APIRouter(prefix="/knowledge", tags=["knowledge"], route_class=StrictRoute)
internal = APIRouter(prefix="/internal/knowledge", include_in_schema=False, route_class=StrictRoute)
hot = APIRouter(prefix="/internal/knowledge", include_in_schema=False, route_class=StrictRoute)
"""What every message asks (see `shared.operations`)."""


@router.post("/ask", responses=responses(400, 401, 403, 413, 415, 422, 429, 503, 504))
async def ask_publicly(
    body: AskIn, principal: Editor, answering: Part[Answering], response: Response
) -> KnowledgeAnswer:
    """Try a question: what chat would answer, and the articles it was chosen from. No session, not charged."""
    asked = Asked(body.question, body.limit, body.language, tuple(body.tags))
    told = _told(await answering.ask(principal.organization_id, asked))
    response.headers.update(_headers(told.degraded))
    return told


@router.get("/search", responses=responses(401, 403, 422, 429, 503, 504))
async def search(
    principal: Reader,
    answering: Part[Answering],
    response: Response,
    q: Annotated[Query, QueryParameter()],
    limit: Annotated[int, QueryParameter(ge=1, le=100)] = 20,
) -> SearchResults:
    """The published articles that fit a text, best first."""
    found = await answering.search(principal.organization_id, (q,), limit)
    degraded = _degraded(found.degraded)
    response.headers.update(_headers(degraded))
    return SearchResults(
        results=[
            SearchResult(
                article_id=hit.article.article_id,
                question=hit.article.text.question,
                answer=hit.article.text.answer,
                score=hit.score,
                confidence=hit.confidence,
            )
            for hit in found.hits[0]
        ],
        as_of=found.as_of,
        degraded=degraded,
    )


@hot.post("/ask", response_model=KnowledgeAnswer)
async def ask(body: AskRequest, _caller: InternalCaller, answering: Part[Answering]) -> Response:
    """The answer to a message."""
    asked = Asked(body.question, body.limit, body.language, tuple(body.tags))
    told = _told(await answering.ask(body.organization_id, asked))
    headers = [(name.lower().encode(), value.encode()) for name, value in _headers(told.degraded).items()]
    return RawResponse(told.model_dump_json().encode(), b"application/json", *headers)


@internal.get("/epoch")
async def epoch(organization_id: str, _caller: InternalCaller, answering: Part[Answering]) -> EpochState:
    """Which epoch answers now."""
    head = await answering.epoch(organization_id)
    return EpochState(epoch=head.epoch, scorer=head.scorer, as_of=head.published_at)


@internal.post("/retrieve")
async def retrieve(body: RetrieveRequest, _caller: InternalCaller, answering: Part[Answering]) -> Retrieved:
    """The articles for several queries, for research."""
    found = await answering.search(body.organization_id, body.queries, body.limit)
    return Retrieved(
        results=[
            RetrievedQuery(query=query, hits=_retrieved(hits))
            for query, hits in zip(body.queries, found.hits, strict=True)
        ],
        as_of=found.as_of,
    )


def _retrieved(hits: Sequence[Hit]) -> list[RetrievedArticle]:
    return [
        RetrievedArticle(
            article_id=hit.article.article_id,
            version=hit.article.version,
            question=hit.article.text.question,
            answer=hit.article.text.answer,
            score=hit.score,
            confidence=hit.confidence,
            tags=list(hit.article.text.tags),
        )
        for hit in hits
    ]


def _told(answer: Answer) -> KnowledgeAnswer:
    decision = answer.decision
    best = decision.answer
    return KnowledgeAnswer(
        outcome=decision.outcome,
        answer=None
        if best is None
        else CitedAnswer(
            article_id=best.article.article_id,
            version=best.article.version,
            question=best.article.text.question,
            text=best.article.text.answer,
        ),
        confidence=decision.confidence,
        suggestions=[
            Suggestion(article_id=h.article.article_id, question=h.article.text.question, confidence=h.confidence)
            for h in decision.suggestions
        ],
        follow_ups=list(decision.follow_ups),
        candidates=[
            Candidate(
                article_id=h.article.article_id,
                external_id=h.article.text.external_id,
                question=h.article.text.question,
                confidence=h.confidence,
            )
            for h in decision.candidates
        ],
        epoch=answer.publication.epoch,
        scorer=answer.publication.scorer,
        as_of=answer.publication.published_at,
        degraded=_degraded(answer.publication.degraded),
    )


def _degraded(is_degraded: bool) -> list[str]:  # noqa: FBT001 - it reads as what it is
    """The capabilities a reply had to do without."""
    return ["knowledge"] if is_degraded else []


def _headers(degraded: Sequence[str]) -> dict[str, str]:
    return {"Degraded": ", ".join(degraded)} if degraded else {}
