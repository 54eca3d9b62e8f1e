"""Yardstick: a bare FastAPI endpoint with one Redis GET, and nothing else. Run by uvicorn as `bare:app`."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from redis.asyncio import Redis


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.redis = Redis.from_url(os.environ["YARDSTICK_REDIS_URL"])
    await app.state.redis.set("yardstick", "hello")
    yield
    await app.state.redis.aclose()


app = FastAPI(lifespan=lifespan)


@app.get("/")
async def hello() -> dict[str, str]:
    return {"hello": (await app.state.redis.get("yardstick")).decode()}
