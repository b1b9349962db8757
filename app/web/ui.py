"""The pages for browsers: GraphiQL, built from app/ui, or a short page that says how to build it."""

from __future__ import annotations

import os
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

STATIC_FOLDER = Path(__file__).parent.parent / "static"
PAGE_NOT_BUILT = Path(__file__).with_name("page_not_built.html")

CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "worker-src 'self'",
        "connect-src 'self'",
        # The Monaco editor positions lines and colours tokens by style elements.
        "style-src 'self' 'unsafe-inline'",
        "font-src 'self' data:",
        "img-src 'self' data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
PAGE_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
ASSET_HEADERS = {
    "Cache-Control": "public, max-age=31536000, immutable",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


def graphiql_response(request: Request, *, static_folder: Path = STATIC_FOLDER) -> Response:
    """The page for a browser's ``GET /graphql``; it loads nothing from other hosts."""
    page = static_folder / "graphiql.html"
    return FileResponse(page if page.is_file() else PAGE_NOT_BUILT, headers=PAGE_HEADERS)


def static_routes(*, static_folder: Path = STATIC_FOLDER) -> list[BaseRoute]:
    """The page's assets, and the redirect from ``/`` to the page."""
    return [
        Route("/", redirect_to_page),
        Mount("/assets", HashedFiles(directory=static_folder / "assets", check_dir=False), name="assets"),
    ]


def redirect_to_page(request: Request) -> Response:
    """Redirect by a relative URL, which works behind a proxy with a path prefix too."""
    return RedirectResponse("graphql", headers={"Cache-Control": "no-cache"})


class HashedFiles(StaticFiles):
    """Files whose names change with their content, so that browsers may cache them permanently."""

    async def check_config(self) -> None:
        """Accept a missing folder: the page may be built while the server runs."""

    def file_response(
        self,
        full_path: str | os.PathLike[str],
        stat_result: os.stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers.update(ASSET_HEADERS)
        return response
