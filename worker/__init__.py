"""The Celery worker: claims jobs, downloads and embeds their pictures, and writes what it found."""
