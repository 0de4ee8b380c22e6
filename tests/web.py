"""The web application over a real database, with the fake encoder and a few pictures in plain colours."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from PIL import Image
from sqlalchemy import Engine

from clipgres.database import create_engine
from clipgres.settings import Settings
from tests.decoding import shared_decoders
from tests.fakes import FakeEncoder
from tests.seed import FixedEncoders, seed_collection, seed_picture
from webapp import create_app

NOWHERE = "postgresql://nobody@127.0.0.1:1/nothing"
HTML = {"Accept": "text/html"}


@dataclass(frozen=True, slots=True)
class Site:
    """An application with its client, and what it stands on."""

    app: Flask
    client: FlaskClient
    engine: Engine
    encoder: FakeEncoder

    def add(self, colour: str, caption: str = "", *, name: str = "default", **more: Any) -> int:
        """Put one picture of a colour into a collection."""
        collection = seed_collection(self.engine, self.encoder, name)
        more = {
            "url": f"https://pictures.example/{name}/{colour}.png",
            "captions": [caption or f"a {colour} field"],
        } | more
        return seed_picture(self.engine, collection, self.encoder, picture(colour), **more)

    def csrf(self, page: str = "/add") -> str:
        """The token of a form, as a browser finds it."""
        found = re.search(r'name="csrf_token" value="([^"]+)"', self.client.get(page).text)
        assert found
        return found[1]


def site(settings: Settings, engine: Engine, **more: Any) -> Site:
    """An application without pictures; errors come out as answers, as they do for people."""
    encoder = FakeEncoder()
    app = create_app(settings, engine=engine, encoders=FixedEncoders(encoder), decoders=shared_decoders(), **more)
    return Site(app, app.test_client(), engine, encoder)


def offline_site(**more: Any) -> Site:
    """An application whose database and queue are away."""
    settings = Settings(database_url=NOWHERE, redis_url="redis://127.0.0.1:1", **more.pop("settings", {}))
    return site(settings, create_engine(NOWHERE), **more)


def picture(colour: str) -> Image.Image:
    """A small picture in one colour."""
    return Image.new("RGB", (64, 48), colour)


def upload(colour: str) -> tuple[io.BytesIO, str]:
    """A picture as a form sends it."""
    return io.BytesIO(png(colour)), f"{colour}.png"


def png(colour: str) -> bytes:
    """A picture's bytes."""
    stream = io.BytesIO()
    picture(colour).save(stream, "PNG")
    return stream.getvalue()


def captions(page: str) -> list[str]:
    """The captions of a page's results, in their order."""
    return re.findall(r'<p class="caption">([^<]*)</p>', page)
