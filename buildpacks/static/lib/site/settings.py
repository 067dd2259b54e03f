"""What static.json says about a site.

All settings are optional: root, clean_urls, https_only, error_page, routes {pattern: file},
redirects {pattern: {"url", "status"}}, headers {pattern: {name: value}}. In a pattern `*` is one path
segment and `**` any number; the longest pattern that matches counts.
"""

import json
import os
import re


class SettingsError(Exception):
    """static.json says something that cannot be served."""


class Settings:
    KNOWN = {
        "root": str, "clean_urls": bool, "https_only": bool, "error_page": str,
        "routes": dict, "redirects": dict, "headers": dict,
    }

    def __init__(self, app):
        given = self.read(os.path.join(app, "static.json"))
        default = "public" if os.path.isfile(os.path.join(app, "public/index.html")) else "."
        if os.path.isfile(os.path.join(app, "static.json")):
            default = "public_html"
        self.root = os.path.realpath(os.path.join(app, given.get("root", default)))
        if os.path.commonpath([self.root, os.path.realpath(app)]) != os.path.realpath(app):
            raise SettingsError("root is outside the app")
        if not os.path.isdir(self.root):
            raise SettingsError(f"root {given.get('root', default)!r} is not a folder")
        self.clean_urls = given.get("clean_urls", True)
        self.https_only = given.get("https_only", False)
        self.error_page = given.get("error_page", "404.html")
        self.routes = patterns(given.get("routes", {}), str)
        self.headers = patterns(given.get("headers", {}), dict)
        self.redirects = patterns(given.get("redirects", {}), dict)

    def read(self, path):
        try:
            with open(path, encoding="utf-8") as file:
                given = json.load(file)
        except FileNotFoundError:
            return {}
        except (ValueError, UnicodeDecodeError) as error:
            raise SettingsError(f"it is not valid JSON: {error}") from error
        if not isinstance(given, dict):
            raise SettingsError("it is not a JSON object")
        for name, value in given.items():
            kind = self.KNOWN.get(name)
            if kind is None:
                print(f" !     static.json: {name!r} is not known here and has no effect")
            elif not isinstance(value, kind):
                raise SettingsError(f"{name!r} must be a {kind.__name__}")
        return given


def patterns(table, kind):
    """(expression, value) pairs, the longest pattern first."""
    for pattern, value in table.items():
        if not isinstance(value, kind):
            raise SettingsError(f"what {pattern!r} maps to must be a {kind.__name__}")
    longest_first = sorted(table, key=len, reverse=True)
    return [(re.compile(expression(pattern)), table[pattern]) for pattern in longest_first]


def expression(pattern):
    parts = re.split(r"(\*\*|\*)", pattern)
    return "".join({"**": ".*", "*": "[^/]*"}.get(part, re.escape(part)) for part in parts) + r"\Z"


def first_match(table, path):
    return next((value for expression, value in table if expression.match(path)), None)
