# One image for the worker, the web page and the command line; PostgreSQL and Redis are services of their own.
FROM python:3.12-slim

RUN useradd --create-home clipgres
WORKDIR /srv/clipgres
COPY constraints.txt pyproject.toml README.md LICENSE ./
RUN pip install --no-cache-dir -c constraints.txt torch
COPY clipgres clipgres
COPY worker worker
COPY webapp webapp
COPY migrations migrations
COPY demo demo
RUN pip install --no-cache-dir -c constraints.txt . && install -d -o clipgres /var/lib/clipgres

USER clipgres
ENV CLIPGRES_HOME=/var/lib/clipgres HF_HOME=/var/lib/clipgres/huggingface
ENTRYPOINT ["clipgres"]
CMD ["--help"]
