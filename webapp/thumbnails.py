"""The small pictures of the results."""

from __future__ import annotations

import hashlib

from flask import Blueprint, Response, request

from clipgres.database import transaction
from clipgres.items import thumbnail
from webapp.routing import MAX_ID
from webapp.services import services

thumbnails = Blueprint("thumbnails", __name__)

DAY_S = 86_400


@thumbnails.get(f"/thumbnails/<int(max={MAX_ID}):image_id>")
def show(image_id: int) -> Response:
    """One WebP; a picture that was fetched anew has another ETag."""
    with transaction(services().engine) as connection:
        webp = thumbnail(connection, image_id)
    response = Response(webp, mimetype="image/webp")
    response.set_etag(hashlib.sha256(webp).hexdigest()[:32])
    response.cache_control.private = True
    response.cache_control.max_age = DAY_S
    response.make_conditional(request)
    return response
