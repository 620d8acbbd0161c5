"""How the services say no."""

from __future__ import annotations

from starlette.responses import JSONResponse, Response


class Refusal(Exception):
    """An answer that is an error.

    Args:
        error: in short, as `{"error": …}` has it.
        message: more of it, where the server says more.
    """

    def __init__(self, status: int, error: str, message: str = "") -> None:
        super().__init__(message or error)
        self.status, self.error, self.message = status, error, message

    def answer(self, ingesting: bool) -> Response:
        """`/ingest/*` says 422 whatever it is (S routes/ingest.rs)."""
        if ingesting and self.status < 500:
            said = {"code": "PROCESSING_FAILED", "message": self.message or self.error}
            return JSONResponse(said, 422)
        body = {"error": self.error}
        return JSONResponse(body | ({"message": self.message} if self.message else {}), self.status)
