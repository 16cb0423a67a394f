"""The factory and the routes."""

import base64
import os

from flask import Flask, Response, abort, jsonify, render_template

from bookshelf import books


def create_app() -> Flask:
    app = Flask(__name__)
    engine = books.connect()

    @app.get("/")
    def index():
        books.prepare(engine)
        return render_template("index.html", titles=books.titles(engine), process=os.environ.get("DYNO", "local"))

    @app.get("/centuries")
    def centuries():
        books.prepare(engine)
        return jsonify(books.by_century(engine))

    @app.post("/covers/<title>")
    def order(title: str):
        from bookshelf.tasks import draw_cover

        return jsonify(id=draw_cover.delay(title).id), 202

    @app.get("/covers/<task>")
    def cover(task: str):
        from bookshelf.tasks import app as queue

        result = queue.AsyncResult(task)
        if not result.ready():
            return jsonify(state=result.state), 202
        if result.failed():
            abort(500)
        return Response(base64.b64decode(result.get(timeout=1)["png"]), mimetype="image/png")

    return app
