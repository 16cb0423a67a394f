"""What the worker does: draw covers and sign them."""

import base64
import hashlib
import io

from celery import Celery
from cryptography.fernet import Fernet
from PIL import Image, ImageDraw

from bookshelf import settings

app = Celery("bookshelf")
app.conf.update(settings.broker(), task_track_started=True, broker_connection_retry_on_startup=True)


@app.task(resultrepr_maxsize=60)
def draw_cover(title: str) -> dict[str, str]:
    shade = hashlib.sha256(title.encode()).digest()[:3]
    picture = Image.new("RGB", (120, 180), tuple(shade))
    ImageDraw.Draw(picture).text((10, 80), title[:16], fill="white")
    body = io.BytesIO()
    picture.save(body, "PNG")
    seal = Fernet(base64.urlsafe_b64encode(hashlib.sha256(shade).digest())).encrypt(title.encode())
    return {"title": title, "png": base64.b64encode(body.getvalue()).decode(), "seal": seal.decode()}
