"""API tokens, the exchange for access tokens, their expiry and refresh.

As the clients have it: `NEPTUNE_API_TOKEN` is base64 JSON with `api_address`, `api_url` and
`api_key`; it is exchanged for a JWT whose claims `exp`, `azp` and `iss` are all required; near
its end the client asks `{iss}/protocol/openid-connect/token`. neptune-scale first reads the client
configuration and the OIDC discovery document. The 2.x client retries a 401 of
AUTHORIZATION_TOKEN_EXPIRED at once, with a new token only when the old one's `exp` is near.
"""

from __future__ import annotations

import base64
import json
import secrets
import time
from typing import Any

import jwt
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .types3 import ApiError

CLIENT_ID = "neptune-cli"
_REALM = "/auth/realms/neptune"


class Auth:
    """Issues and checks tokens of the users of one server; `user` is whose server it is.

    `lifetime` is in seconds; the clients refresh 30 s before the end, so anything up to 30 makes
    them refresh before every request.
    """

    def __init__(self, base_url: str, *, user: str = "owner", lifetime: float = 3600.0) -> None:
        self.base_url = base_url
        self.user = user
        self.lifetime = lifetime
        self.exchanges = 0
        self.refreshes = 0
        self._keys: dict[str, str] = {}
        self._secret = secrets.token_hex(32)
        self._generation = 0

    @property
    def api_token(self) -> str:
        """What goes into NEPTUNE_API_TOKEN."""
        return self.api_token_of(self.user)

    def api_token_of(self, user: str) -> str:
        """The same for another user."""
        key = self._keys.setdefault(user, secrets.token_hex(16))
        content = {"api_address": self.base_url, "api_url": self.base_url, "api_key": key}
        return base64.b64encode(json.dumps(content).encode()).decode()

    def expire_tokens(self) -> None:
        """Refuse every access token issued so far with 401; API and refresh tokens stay good."""
        self._generation += 1

    def check(self, request: Request) -> None:
        """ApiError 401 unless the request bears a valid access token.

        Whose it is goes into `request.state.user`.
        """
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        try:
            if scheme.lower() != "bearer":
                raise jwt.InvalidTokenError("no bearer token")
            claims = jwt.decode(token, self._secret, algorithms=["HS256"])
            if claims.get("gen") != self._generation:
                raise jwt.ExpiredSignatureError("expired")
        except jwt.ExpiredSignatureError as error:
            raise ApiError(401, "AUTHORIZATION_TOKEN_EXPIRED", str(error)) from error
        except jwt.InvalidTokenError as error:
            raise ApiError(401, "UNAUTHORIZED", str(error)) from error
        request.state.user = claims["sub"]

    def routes(self) -> list[Route]:
        """Token exchange and refresh, client configuration, OIDC discovery."""
        return [
            Route("/api/backend/v1/authorization/oauth-token", self._exchange),
            Route("/api/backend/v1/clients/config", self._config),
            Route(f"{_REALM}/.well-known/openid-configuration", self._discovery),
            Route(f"{_REALM}/protocol/openid-connect/token", self._refresh, methods=["POST"]),
        ]

    async def _exchange(self, request: Request) -> Response:
        try:
            content = json.loads(base64.b64decode(request.headers["x-neptune-api-token"]))
            given = str(content["api_key"])
            user = next((u for u, key in self._keys.items() if secrets.compare_digest(given, key)))
        except (KeyError, TypeError, ValueError, StopIteration) as error:
            message = "The API token is not known to this server."
            raise ApiError(401, "INVALID_API_TOKEN", message) from error
        self.exchanges += 1
        access, refresh = self._pair(user)
        return JSONResponse({"accessToken": access, "refreshToken": refresh, "username": user})

    async def _refresh(self, request: Request) -> Response:
        form = dict(
            pair.split("=", 1) for pair in (await request.body()).decode().split("&") if "=" in pair
        )
        try:
            claims = jwt.decode(form.get("refresh_token", ""), self._secret, algorithms=["HS256"])
        except jwt.InvalidTokenError:
            return JSONResponse({"error": "invalid_grant"}, status_code=400)
        if claims.get("typ") != "Refresh":
            return JSONResponse({"error": "invalid_grant"}, status_code=400)
        self.refreshes += 1
        access, refresh = self._pair(claims["sub"])
        return JSONResponse(
            {
                "access_token": access,
                "refresh_token": refresh,
                "token_type": "bearer",
                "expires_in": int(self.lifetime),
            }
        )

    def _pair(self, user: str) -> tuple[str, str]:
        common: dict[str, Any] = {
            "azp": CLIENT_ID,
            "iss": self.base_url + _REALM,
            "sub": user,
            "jti": secrets.token_hex(8),
        }
        now = time.time()
        access = {**common, "exp": now + self.lifetime, "typ": "Bearer", "gen": self._generation}
        refresh = {**common, "exp": now + 30 * 86400, "typ": "Refresh"}
        return tuple(jwt.encode(claims, self._secret, "HS256") for claims in (access, refresh))  # type: ignore[return-value]

    async def _config(self, _: Request) -> Response:
        return JSONResponse(
            {
                "apiUrl": self.base_url,
                "applicationUrl": self.base_url,
                "pyLibVersions": {
                    "minRecommendedVersion": None,
                    "minCompatibleVersion": None,
                    "maxCompatibleVersion": None,
                },
                # From here on for 2.x. Sizes are those that its client was written for: parts of
                # 5 MiB to 1 GiB, not more than 1,000.
                "multiPartUpload": {
                    "enabled": True,
                    "minChunkSize": 5 << 20,
                    "maxChunkSize": 1 << 30,
                    "maxChunkCount": 1000,
                    "maxSinglePartSize": 5 << 20,
                },
                "artifacts": {"enabled": True, "apiVersion": 2},
                "sysNameSetByBackend": False,
                "security": {
                    "clientId": CLIENT_ID,
                    "openIdDiscovery": f"{self.base_url}{_REALM}/.well-known/openid-configuration",
                },
            }
        )

    async def _discovery(self, _: Request) -> Response:
        realm = self.base_url + _REALM
        return JSONResponse(
            {
                "issuer": realm,
                "authorization_endpoint": f"{realm}/protocol/openid-connect/auth",
                "token_endpoint": f"{realm}/protocol/openid-connect/token",
            }
        )
