"""``POST /hooks/{id}``: a signed call from another system starts a run."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from app.errors import DomainError, ErrorCode, NotFound
from app.notifications.notifier import Notifier
from app.services.webhooks import Call, receive

_DELIVERY_HEADERS = ("x-delivery-id", "idempotency-key", "x-github-delivery")


class Hooks:
    """Receives webhook calls. Each is authenticated by its signature, so no bearer token is needed."""

    def __init__(self, engine: AsyncEngine, notifier: Notifier, environment: str | None) -> None:
        self._engine = engine
        self._notifier = notifier
        self._environment = environment

    def routes(self) -> list[Route]:
        return [Route("/hooks/{webhook_id:uuid}", self.call, methods=["POST"])]

    async def call(self, request: Request) -> JSONResponse:
        """202 with the id of the run; repeating a delivery returns the same run."""
        headers = request.headers
        call = Call(
            body=await request.body(),
            signature=headers.get("x-hub-signature-256", ""),
            delivery=next((headers[name] for name in _DELIVERY_HEADERS if headers.get(name)), ""),
            timestamp=headers.get("x-hook-timestamp"),
        )
        webhook_id = request.path_params["webhook_id"]
        try:
            run_id = await receive(self._engine, self._notifier, webhook_id, call, self._environment)
        except NotFound:
            raise HTTPException(404) from None
        except DomainError as error:
            status = 409 if error.code is ErrorCode.CONFLICT else 422
            return JSONResponse({"error": {"code": error.code, "message": error.message}}, status)
        return JSONResponse({"runId": str(run_id)}, 202)
