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
        found = next((item for item in shells if item.name == name), None)
        if found is None:
            abort(404)
        return jsonify(name=found.name, colour=found.colour, height_m=found.height_m)

    @app.get("/health")
    def health():
        return jsonify(status="ok", shells=len(shells))

    return app
