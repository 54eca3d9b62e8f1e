"""Yardstick: what nginx's auth_request would ask to verify a bearer token with PyJWT. Run as `verifier:app`."""

import os

import jwt
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

keys = jwt.PyJWKSet.from_json(os.environ["YARDSTICK_JWKS"])


async def verify(request: Request) -> Response:
    """204 for a valid token, 401 for any other."""
    token = request.headers.get("authorization", "").removeprefix("Bearer ")
    try:
        key = keys[jwt.get_unverified_header(token)["kid"]]
        jwt.decode(token, key, algorithms=["EdDSA"], options={"verify_aud": False})
    except (jwt.PyJWTError, KeyError):
        return Response(status_code=401)
    return Response(status_code=204)


app = Starlette(routes=[Route("/verify", verify)])
