"""The factory and the routes."""

import os

from flask import Flask, abort, jsonify, render_template

from blasto import catalogue


def create_app() -> Flask:
    app = Flask(__name__)
    shells = catalogue.load()

    @app.get("/")
    def index():
        return render_template("index.html", shells=shells, process=os.environ.get("DYNO", "local"))

    @app.get("/shells/<name>")
    def shell(name: str):
        for item in shells:
            if item.name == name:
                return jsonify(name=item.name, colour=item.colour, height_m=item.height_m)
        abort(404)

    @app.get("/health")
    def health():
        return jsonify(status="ok", shells=len(shells))

    return app
