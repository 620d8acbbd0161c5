"""What is taken of the client: the only place that imports it."""

from __future__ import annotations

import importlib
import logging
import re
import warnings
from collections.abc import Callable
from typing import Any

import requests

PASSING = frozenset({408, 429, 500, 502, 503, 504})
"""Answers that may be others when the request is repeated."""


class ClientParts:
    """What is taken of the client. Nothing of it is imported before it is needed."""

    def __init__(self, package: str) -> None:
        for library in ("bravado", "oauthlib", "requests_oauthlib"):
            logging.getLogger(library).setLevel(logging.INFO)  # below that they log tokens
        with warnings.catch_warnings(record=True):  # its libraries announce their end

            def module(name: str) -> Any:
                return importlib.import_module(f"{package}.{name}")

            self._exceptions = module("common.exceptions")
            self._oauth = module("common.oauth")
            self._hosted = module("internal.backends.hosted_client")
            self._wrapper = module("internal.backends.swagger_client_wrapper")
            self._utils = module("internal.backends.utils")
            self._config = module("internal.backends.api_model").ClientConfig
            self._too_old = module("exceptions").NeptuneClientUpgradeRequiredError
            self.version = module("version").version
            self._bravado = importlib.import_module("bravado.client")
            self._http_errors = importlib.import_module("bravado.exception")
            self._oauth2 = importlib.import_module("oauthlib.oauth2")
            self.serving_url = importlib.import_module("bravado_core.spec").build_api_serving_url
            self._jwt = importlib.import_module("jwt")
            self._version = importlib.import_module("packaging.version").Version
        self.documents: dict[str, str] = {
            "backend": self._hosted.BACKEND_SWAGGER_PATH,
            "leaderboard": self._hosted.LEADERBOARD_SWAGGER_PATH,
            "artifacts": self._hosted.ARTIFACTS_SWAGGER_PATH,
        }

    def http_client(self, mount: Callable[[requests.Session], None]) -> Any:
        http = self._hosted.create_http_client(self._utils.ssl_verify(), None)
        options = self._hosted.DEFAULT_REQUEST_KWARGS["_request_options"]
        http.session.headers.update(options["headers"])
        http.session.headers["X-Neptune-Artifact-Api-Version"] = "2"
        # It would tell the system and the versions of the machine that loads.
        http.session.headers["User-Agent"] = f"neptune-client/{self.version}"
        mount(http.session)
        return http

    def backend(self, document: dict[str, Any], origin: str, http: Any) -> Any:
        unchecked = {f"validate_{w}": False for w in ("swagger_spec", "requests", "responses")}
        made = self._bravado.SwaggerClient.from_spec(document, origin, http, unchecked)
        return self._wrapper.SwaggerClientWrapper(made)

    def places(self, backend: Any, token: str) -> tuple[str, str]:
        """Where the server says that its API and its pages are.

        Raises:
            NeptuneClientUpgradeRequiredError: it does not take this version; see
                `refused_version`.
        """
        asked = {"X_Neptune_Api_Token": token, "alpha": "true"}
        options = self._hosted.DEFAULT_REQUEST_KWARGS
        answer = backend.api.getClientConfig(**asked, **options).response().result
        config = self._config.from_api_response(answer)
        self._utils.verify_client_version(config, self.version)
        return config.api_url.rstrip("/"), config.display_url.rstrip("/")

    def refused_version(self, error: BaseException) -> str:
        """In words, where it says that; else empty."""
        if not isinstance(error, self._too_old):
            return ""
        plain = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
        return " ".join(line.strip() for line in plain.splitlines() if re.search(r"\d\.\d", line))

    def authenticator(self, token: str, backend: Any) -> Any:
        return self._oauth.NeptuneAuthenticator(token, backend, self._utils.ssl_verify(), None)

    def end_of(self, token: str) -> float:
        """Until when a token is good, seconds since 1970."""
        claims = self._jwt.decode(token, options={"verify_signature": False})
        return float(claims["exp"])

    def older_than(self, version: str) -> bool:
        return bool(self._version(str(self.version)) < self._version(version))

    def refuses_token(self, error: BaseException) -> bool:
        if isinstance(error, self._exceptions.NeptuneInvalidApiTokenException):
            return True
        http = self._http_errors.HTTPClientError
        return isinstance(error, http) and error.status_code in (401, 403)

    def may_pass(self, error: BaseException) -> bool:
        http = self._http_errors
        if isinstance(error, http.HTTPError):
            return error.status_code in PASSING
        unreachable = (http.BravadoConnectionError, http.BravadoTimeoutError)
        passing = (requests.RequestException, ConnectionError, TimeoutError, *unreachable)
        return isinstance(error, (*passing, self._oauth2.OAuth2Error)) and not isinstance(
            error, requests.exceptions.JSONDecodeError
        )
