from pathlib import Path

SECRET_KEY = "only a test"
INSTALLED_APPS = ["django.contrib.staticfiles"]
STATIC_URL = "static/"
STATIC_ROOT = Path(__file__).parent / "collected"
STATICFILES_DIRS = [Path(__file__).parent / "site"]
